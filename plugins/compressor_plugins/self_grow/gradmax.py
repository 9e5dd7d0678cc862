"""The outgoing weights of GradMax, without ever building the matrix they are singular vectors of.

With new units X (incoming) and Y (outgoing) between x and y, and δ = ∂L/∂y, the loss changes at first order by

    s(X, Y) = Σ ⟨δ, B_Y(A_X(x))⟩ = ⟨Y, M X⟩        M X = ∂s/∂Y,   Mᵀ Y = ∂s/∂X

where A_X and B_Y are the two layers with these weights and M is the gradient of a zero probe convolution between x and
y. Subspace iteration with these two products finds its first left singular vectors: for X = 0 the gradient that
reaches the new units is Mᵀ Y, and no other orthonormal Y makes it larger (Evci et al., arXiv:2201.05125).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from compressor.evidence import Evidence
from compressor.graph.nested import samples
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import operation
from compressor_plugins.common.neighbours import PASSIVE, leaf_at, source_of
from compressor_plugins.self_grow.growth import seeded
from compressor_plugins.self_grow.places import WidthPlace

SMOOTH = (nn.Tanh, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.Mish, nn.Hardswish)
"""φ(0) = 0 and φ'(0) ≠ 0."""
KINKED = (nn.ReLU, nn.ReLU6)
"""φ(0) = 0, and torch takes φ'(0) = 0."""
AVERAGES = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
)  # fmt: skip

ITERATIONS = 4
SPARE = 8
"""Directions followed beyond those wanted, of which the best are taken at the end."""
MOST_SAMPLES = 256

Step = Callable[[Tensor], Tensor]


def steepest_outputs(evidence: Evidence, network: Network, place: WidthPlace, count: int) -> Tensor:
    """Outgoing weights of ``count`` new units, as columns for the taker's weight; orthonormal as vectors."""
    layer, taker = network.leaf(place.name), network.leaf(str(place.taker.target))
    between = linear_between(network, place)
    assert between is not None
    pairs = inputs_and_gradients(evidence, network, place)

    def change(incoming: Tensor, outgoing: Tensor) -> Tensor:
        total = incoming.new_zeros(())
        for x, delta in pairs:
            hidden = _with_weight(layer, incoming, x)
            for step in between:
                hidden = step(hidden)
            total = total + (delta * _with_weight(taker, outgoing, hidden)).sum()
        return total

    kernels = [leaf.get_parameter("weight").detach() for leaf in (layer, taker)]
    tried = min(count + SPARE, kernels[0][0].numel(), kernels[1].numel() // (kernels[1].shape[1] // place.run))
    incoming = torch.randn(tried, *kernels[0].shape[1:], generator=seeded(place.name)).to(kernels[0])
    outgoing = kernels[1].new_zeros(len(kernels[1]), tried * place.run, *kernels[1].shape[2:])
    for _ in range(ITERATIONS):
        outgoing = orthonormal(_derivative(change, incoming, outgoing, 1), tried)
        incoming = orthonormal(_derivative(change, incoming, outgoing, 0)[None], tried)[0]
    outgoing = orthonormal(_derivative(change, incoming, outgoing, 1), tried)
    reached = _derivative(change, incoming, outgoing, 0).flatten(1)
    best = leading(reached, count)
    turned = torch.einsum("otw,tc->ocw", outgoing.reshape(len(outgoing), tried, -1), best)
    return turned.reshape(len(outgoing), count * place.run, *kernels[1].shape[2:])


def linear_between(network: Network, place: WidthPlace) -> list[Step] | None:
    """What lies between layer and taker with activations left out; None where something is no linear map per channel.

    Activations are taken for the identity, up to a factor: that is what they are to first order at 0.
    """
    steps: list[Step] = []
    for node in place.between:
        leaf = leaf_at(network, node)
        if isinstance(leaf, (*AVERAGES, nn.Flatten)):
            steps.append(leaf)
        elif leaf is None:
            if operation(node) != "flatten":
                return None
            steps.append(nn.Flatten())
        elif not isinstance(leaf, (*PASSIVE, *SMOOTH, *KINKED)):
            return None
    return steps


def inputs_and_gradients(evidence: Evidence, network: Network, place: WidthPlace) -> list[tuple[Tensor, Tensor]]:
    """By batch, in eval mode: what the layer takes, and the gradient of the mean loss at what the taker gives."""
    evidence = evidence.first(MOST_SAMPLES)
    task = evidence.task.fitted(network)
    pairs: list[tuple[Tensor, Tensor]] = []
    training, home = network.module.training, network.device
    network.eval()
    try:
        with evidence.at_work(network) as batches:
            for inputs, target in batches:
                recorder = _Recorder(network, source_of(place.layer), place.taker)
                with torch.enable_grad():
                    outputs = recorder.run(*network.signature.tensors(inputs))
                    loss = task.loss(outputs, target) * samples(inputs) / evidence.count
                gradient = torch.autograd.grad(loss, recorder.given)[0]
                pairs.append((recorder.taken.to(home), gradient.to(home)))
    finally:
        network.train(training)
    return pairs


def leading(rows: Tensor, count: int) -> Tensor:
    """The first left singular vectors ``(rows, count)``, by the products of rows: a row of a dense layer is long."""
    long = rows.double()
    vectors: Tensor = torch.linalg.eigh(long @ long.T).eigenvectors.flip(1)[:, :count]
    return vectors.to(rows)


def orthonormal(weight: Tensor, count: int) -> Tensor:
    """An orthonormal basis of the span of ``count`` runs of columns of a weight ``(outputs, inputs, …)``."""
    outputs, _, *window = weight.shape
    rows = weight.reshape(outputs, count, -1).transpose(0, 1)
    basis: Tensor = torch.linalg.qr(rows.flatten(1).T).Q
    return basis.T.reshape(rows.shape).transpose(0, 1).reshape(outputs, -1, *window)


class _Recorder(fx.Interpreter):
    """Runs a graph up to ``cut`` without gradients, and on from its value with them."""

    taken: Tensor
    given: Tensor

    def __init__(self, network: Network, source: fx.Node, cut: fx.Node) -> None:
        super().__init__(network.root)
        self.source, self.cut = source, cut
        self.past = False

    def run_node(self, n: fx.Node) -> object:
        with torch.set_grad_enabled(self.past):
            value: object = super().run_node(n)
        if n is self.source and isinstance(value, Tensor):
            self.taken = value
        if n is self.cut and isinstance(value, Tensor):
            self.given = value = value.detach().requires_grad_()
            self.past = True
        return value


def _derivative(
    change: Callable[[Tensor, Tensor], Tensor], incoming: Tensor, outgoing: Tensor, which: Literal[0, 1]
) -> Tensor:
    with torch.enable_grad():
        weights = [incoming.detach().requires_grad_(), outgoing.detach().requires_grad_()]
        gradient: Tensor = torch.autograd.grad(change(*weights), weights[which])[0]
    return gradient


def _with_weight(leaf: nn.Module, weight: Tensor, x: Tensor) -> Tensor:
    """The layer with another weight and no bias."""
    tensors = {"weight": weight}
    if leaf.bias is not None:
        tensors["bias"] = weight.new_zeros(len(weight))
    value: Tensor = functional_call(leaf, tensors, (x,))
    return value
