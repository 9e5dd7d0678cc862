"""Integer arithmetic: 8-bit weights and activations, exported so that ONNX Runtime runs integer kernels.

    y = W ∗ x + b    →    ŷ = s_x s_w ⊙ (q_w ∗ (q_x − z_x)) + b        q_w, q_x, z_x 8-bit integers

A layer is a site. Rewritten, its weights are integers with a step per output channel, a BatchNorm behind it is folded
in, and the values around it are held to 256 steps (``regions`` says which); neighbouring layers share those values, so
that a run of rewritten layers, with the pooling, sums and concatenations between them, computes no floats.

Ranges come from the calibration data (``ranges``), where BatchNorm is re-estimated, in one pass for all layers
together: a rewrite looks at no data. Until then values pass as they are, and the promise, ``APPROXIMATE``, is that of
8-bit weights. Weights, and their steps and those of values, go on learning where there is training (``rounding``).

Whether integers pay is a question to the file on the machine: small layers are slower in integers, and layers between
float ones pay for the way in and out. The search decides by measurement, layer by layer.

Sources: Jacob et al. (arXiv:1712.05877); Nagel et al., bias correction (arXiv:1906.04721); Esser et al., learned steps
(arXiv:1902.08153).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import fx, nn

from compressor.errors import Refusal
from compressor.export.fold import fold_affine
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.layers.batch_norm import affine_of
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices, Knob
from compressor.plugin import Plugin, Promise, Refused, Site, Suggestion
from compressor_plugins.common.neighbours import is_batch_norm, leaf_at, only_user
from compressor_plugins.common.replaceable import foreign_layers
from compressor_plugins.common.worth import WORTH_INTEGERS
from compressor_plugins.quantize.geometry import KINDS, why_no_integers
from compressor_plugins.quantize.layer import PACKED_BITS, IntegerLayer, Rounding
from compressor_plugins.quantize.processor import saturates
from compressor_plugins.quantize.ranges import Method
from compressor_plugins.quantize.regions import settle
from compressor_plugins.quantize.value import SteppedValue

KNOB = "bits"
PACKED_FROM = 512
"""Weights of a layer from which halves of bytes are worth the nodes that unpack them."""


@dataclass(frozen=True)
class Quantize(Plugin):
    """Compute in 8-bit integers, weights and activations, where that is faster."""

    promise: ClassVar[Promise] = Promise.APPROXIMATE
    timed_together: ClassVar[bool] = True

    range: Method = "outputs"
    """How the range of a value is found."""
    weight_bits: Literal[8, 7] = 8
    """7 where the processor adds pairs of products in 16 bits (x86 without VNNI), which 8 bits would saturate."""
    rounding: Rounding = "compensated"
    """How calibration rounds weights: to the nearest step, or so that they make up for one another's errors."""
    correct_bias: bool = True
    """Whether calibration mends the mean error that rounding leaves in each output."""
    trainable: bool = True
    """Whether weights and steps go on learning behind the rounding."""

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        shared = _shared(network)
        foreign = {path: why for path, _, why in foreign_layers(network)}
        for path, leaf in network.leaves():
            if isinstance(leaf, IntegerLayer):
                yield Refused(path, "computes in integers already")
            elif path in foreign:
                yield Refused(path, foreign[path])
            elif type(leaf) in KINDS:
                why = shared.get(path) or why_no_integers(leaf) or self._saturated()
                nodes = tuple(node.name for node in network.calls_of(path))
                yield Refused(path, why) if why else Site(path, self._knobs(leaf), nodes, "in 8-bit integers")

    def suggest(self, network: Network, sites: Sequence[Site]) -> Suggestion | None:
        if network_cost(network).mac_count < WORTH_INTEGERS:
            return None
        return Suggestion("bits", f"{len(sites)} layers could compute in integers", "all")

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        network = editor.network
        leaf = network.leaf(site.path)
        if type(leaf) not in KINDS:
            raise Refusal(f"is a {type(leaf).__name__}, not a linear or convolutional layer", path=site.path)
        (call, *more) = network.calls_of(site.path)
        norm = None if more else _folding_norm(network, call)
        with torch.no_grad():
            layer = leaf if norm is None else _folded(network, leaf, call, norm)
        editor.replace(site.path, self._integer(layer, int(choice.get(KNOB, self.weight_bits)), self.trainable))
        if norm is not None:
            editor.remove_span(network.calls_of(site.path)[0], norm, [])
        settle(
            editor,
            lambda: SteppedValue(self.range, self.trainable),
            lambda layer, learns: self._integer(layer, self.weight_bits, self.trainable and learns),
        )

    def _integer(self, layer: nn.Module, bits: int, trainable: bool) -> IntegerLayer:
        return IntegerLayer(layer, bits, self.correct_bias, trainable, self.rounding)

    def _knobs(self, layer: nn.Module) -> dict[str, Knob]:
        """The bits a weight takes in the file; products are of 8 bits either way."""
        small = layer.weight.numel() < PACKED_FROM  # type: ignore[operator]
        return {} if small else {KNOB: Choice((self.weight_bits, PACKED_BITS))}

    def _saturated(self) -> str:
        if self.weight_bits == 8 and saturates():
            return "8-bit products are added in 16 bits here (x86 without VNNI), and saturate: set weight_bits = 7"
        return ""


def _shared(network: Network) -> dict[str, str]:
    """Layers that share a weight with another, and with which."""
    owners: dict[int, list[str]] = {}
    for path, leaf in network.leaves():
        if type(leaf) in KINDS:
            owners.setdefault(id(leaf.weight), []).append(path)
    return {
        path: f"shares its weight with {', '.join(other for other in paths if other != path)}"
        for paths in owners.values()
        if len(paths) > 1
        for path in paths
    }


def _folding_norm(network: Network, call: fx.Node) -> fx.Node | None:
    """The BatchNorm that alone reads the layer, where it is an affine map."""
    user = only_user(call)
    leaf = leaf_at(network, user)
    if user is None or not is_batch_norm(leaf) or leaf.running_mean is None:  # type: ignore[union-attr]
        return None
    return user if len(network.calls_of(str(user.target))) == 1 else None


def _folded(network: Network, leaf: nn.Module, call: fx.Node, norm: fx.Node) -> nn.Module:
    affine = affine_of(leaf_at(network, norm))  # type: ignore[arg-type]
    folded = fold_affine(leaf, *affine, rank=len(network.shape(call)))
    if folded is None:
        raise Refusal("its BatchNorm cannot be folded into it", path=str(call.target))
    return folded
