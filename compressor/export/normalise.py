"""The normalisation of the input as part of the exported file, where ``signature.normalisation.folded`` asks for it.

A convolution of a = f·p + s (per channel of pixels p) is one of p with other weights,

    W ∗ (f·p + s) + b = (W·f) ∗ p + (b + Σ W·s),

where nothing is padded. With zeros around the image that is not exact, and a multiplication and an addition stand in
front instead.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from compressor.graph.layers import conv
from compressor.graph.layers.affine import with_weights
from compressor.graph.leaf import OnnxValue
from compressor.graph.network import Network
from compressor.graph.onnx_out.builder import GraphBuilder

_CONVOLUTIONS = tuple(conv.BY_RANK.values())


def normalised_input(
    builder: GraphBuilder, network: Network, modules: dict[fx.Node, nn.Module], entry: OnnxValue
) -> OnnxValue:
    """The value that stands for the network's input where the file takes ``entry``.

    Convolutions in ``modules`` that read it take the normalisation up where that is exact.
    """
    known = network.signature.normalisation
    if known is None or not known.folded or _is_identity(*known.affine):
        return entry
    factor, summand = known.affine
    readers = list(network.input_nodes[0].users)
    folded = {node: _folded(modules[node], factor, summand) for node in readers if node in modules}
    ready = {node: module for node, module in folded.items() if module is not None}
    if readers and len(ready) == len(readers):
        modules.update(ready)
        return entry
    column = (-1, *[1] * (len(network.signature.input.shape) - 1))
    with builder.scope("/normalise"):
        scaled = builder.op("Mul", [entry, builder.weight(factor.view(column))])
        return builder.op("Add", [scaled, builder.weight(summand.view(column))])


def _folded(module: nn.Module, factor: Tensor, summand: Tensor) -> nn.Module | None:
    """The convolution that reads pixels and gives what ``module`` gives for normalised ones; None: not exactly."""
    if type(module) not in _CONVOLUTIONS or not isinstance(module, _CONVOLUTIONS) or module.groups != 1:
        return None
    if module.padding != "valid" and any(module.padding):
        return None
    with torch.no_grad():
        weight = module.weight.detach().double()
        column = (1, -1, *[1] * (weight.dim() - 2))
        moved = (weight * summand.to(weight).view(column)).flatten(1).sum(1)
        bias = moved if module.bias is None else moved + module.bias.double()
        return with_weights(module, weight * factor.to(weight).view(column), bias)


def _is_identity(factor: Tensor, summand: Tensor) -> bool:
    return bool((factor == 1).all() and (summand == 0).all())
