"""Quantization of weights: 8 or 4 bits per weight, symmetric, with a scale per output channel.

    w ∗ x + b   →   s ⊙ (q ∗ x) + b         q = clip(round(w / s), −m, m),  m = 127 or 7

Activations stay float, and so does the arithmetic: the file holds integers that ONNX Runtime turns into the float
weight at load, so a layer takes a quarter or an eighth of its bytes and runs at dense speed. Linear layers of rows,
tokens and channels-last images are quantized, and convolutions of any rank, grouped, depthwise and transposed ones too.

The promise is ``APPROXIMATE``. Within a channel's range no weight moves by more than half a step, max|w| / 254 at 8
bits and max|w| / 14 at 4; of a Gaussian channel that loses 0.01 % and about 1 % of the energy, and the output's
variance loses little more. Weights go on learning through the straight-through estimator unless the option
``trainable`` is false; without training it is post-training quantization.

A layer at 8 bits is offered again, to go to 4: a first phase brings all layers to 8 bits, and a second one with the
``spread`` policy brings those to 4 whose measured loss is smallest.

Sources: Jacob et al. (arXiv:1712.05877); Banner et al. (arXiv:1810.05723). The layer itself: ``layer``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from compressor.errors import Refusal
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices, Knob
from compressor.plugin import Plugin, Promise, Refused, Site, Suggestion
from compressor_plugins.common.replaceable import (
    WeightLayer,
    foreign_layers,
    is_weight_layer,
    takes_tokens,
    weight_layers,
)
from compressor_plugins.common.worth import WORTH_INTEGERS
from compressor_plugins.quantize_weights.layer import QuantizedLayer, channel_steps, quantized_layer

KNOB = "bits"
WIDTHS = (8, 4)


@dataclass(frozen=True)
class QuantizeWeights(Plugin):
    """Store weights as integers of 8 or 4 bits, with a scale per output channel."""

    promise: ClassVar[Promise] = Promise.APPROXIMATE

    clip: Literal["error", "largest"] = "error"
    """Range of a channel: the one of least squared error, or up to its largest weight."""
    trainable: bool = True
    """Whether the weights go on learning behind the rounding; if not, they stay as rounded here."""
    layers: Literal["both", "linear", "conv"] = "both"
    min_weights: int = 200
    """Smaller layers are left alone: the nodes that unpack take some 200 bytes per layer."""

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        layers = {layer.path: layer for layer in weight_layers(network)}
        foreign = {path: why for path, _, why in foreign_layers(network)}
        for path, leaf in network.leaves():
            if path in layers:
                yield from self._place(layers[path])
            elif isinstance(leaf, QuantizedLayer):
                yield _place_again(network, path, leaf)
            elif path in foreign:
                yield Refused(path, foreign[path])

    def suggest(self, network: Network, sites: Sequence[Site]) -> Suggestion | None:
        """Where integers would gain no time."""
        macs = network_cost(network).mac_count
        if macs >= WORTH_INTEGERS:
            return None
        return Suggestion(
            "bits", f"{macs / 1e6:.2g} million MACs: integers gain no time, small weights gain bytes", "all"
        )

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        leaf = editor.network.leaf(site.path)
        if isinstance(leaf, QuantizedLayer):
            bits = int(choice.get(KNOB, min(WIDTHS)))
            new = _narrower(leaf, bits, site.path, optimal_clip=self.clip == "error")
        elif is_weight_layer(leaf):
            bits = int(choice.get(KNOB, WIDTHS[0]))
            tokens = isinstance(leaf, nn.Linear) and takes_tokens(editor.network, editor.network.calls_of(site.path))
            new = quantized_layer(leaf, bits, optimal_clip=self.clip == "error", tokens=tokens)
        else:
            raise Refusal(f"is a {type(leaf).__name__}, not a linear or convolutional layer", path=site.path)
        if not self.trainable:
            new.weight.requires_grad_(False)
            new.gain.requires_grad_(False)
        editor.replace(site.path, new)

    def _place(self, layer: WeightLayer) -> Iterator[Site | Refused]:
        if self.layers == ("conv" if isinstance(layer.leaf, nn.Linear) else "linear"):
            return
        count = layer.leaf.weight.numel()
        small = f"{count} weights: below {self.min_weights}, unpacking costs what rounding saves"
        reason = layer.obstacle or (small if count < self.min_weights else "")
        if reason:
            yield Refused(layer.path, reason)
            return
        knobs: dict[str, Knob] = {KNOB: Choice(WIDTHS)}
        yield Site(layer.path, knobs, tuple(node.name for node in layer.calls), f"{count} weights at 8 or 4 bits")


def _place_again(network: Network, path: str, leaf: QuantizedLayer) -> Site | Refused:
    narrowest = min(WIDTHS)
    if leaf.bits <= narrowest:
        return Refused(path, f"is at {leaf.bits} bits already")
    about = f"{leaf.weight.numel()} weights from {leaf.bits} to {narrowest} bits"
    return Site(path, {}, tuple(node.name for node in network.calls_of(path)), about)


def _narrower(leaf: QuantizedLayer, bits: int, path: str, *, optimal_clip: bool) -> QuantizedLayer:
    """The layer at fewer bits, rounded anew from its latent weights."""
    if bits >= leaf.bits:
        raise Refusal(f"is at {leaf.bits} bits already", path=path)
    step = channel_steps(leaf.rows(leaf.weight), bits, optimal_clip=optimal_clip)
    return QuantizedLayer(leaf.weight, step, leaf.gain, leaf.bias, bits, leaf.geometry, leaf.tokens)
