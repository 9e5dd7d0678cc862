"""Binarization: one bit per weight, and where wanted one bit per activation.

Weights alone — the layer is replaced, its surroundings stay:

    w ∗ x + b   →   α ⊙ (q(V) ∗ x) + b          V = w / max|w|,  α = mean|w| per output channel

Weights and activations — the form of Dziadek et al.; the scale is the second normalisation's γ, the bias its β:

    w ∗ x + b   →   BN(q(V) ∗ q(BN(x)))

The first BN is what makes q(x) say anything: after a ReLU every sign would be +1. It is left out where x comes from a
BN already, and the second where a BN follows already. Between two binary layers BN∘ReLU∘BN∘q is a threshold on a sum
of signs, and so is BN∘q: the ReLU and the second BN between them go. This form is made for rows and images; of layers
over tokens, lines and volumes, and of transposed ones, the weights alone are binarized.

α is trained with the weights. The promise is ``TRAINED``: of a Gaussian weight vector α·q(w) keeps 2/π = 64 % of the
energy, which is a start for training and not a network to be used as it stands.

Sources: Dziadek et al., "Optimization of Neural Networks"; BinaryNet (arXiv:1602.02830), XNOR-Net (arXiv:1603.05279).
The layers themselves: ``layers``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices, Knob
from compressor.plugin import Plugin, Promise, Refused, Site
from compressor_plugins.binarize.block import binarize_with_input
from compressor_plugins.binarize.layers import BinaryLayer, binary_layer
from compressor_plugins.binarize.weights import binary_weights
from compressor_plugins.common.replaceable import (
    WeightLayer,
    foreign_layers,
    is_weight_layer,
    takes_tokens,
    weight_layers,
)
from compressor_plugins.common.weighted import WeightedLayer

KNOB = "activations"


@dataclass(frozen=True)
class Binarize(Plugin):
    """Store weights at one bit each, with a scale per output channel; optionally binarize activations too."""

    promise: ClassVar[Promise] = Promise.TRAINED

    activations: Literal["float", "binary", "choose"] = "float"
    """What enters the layer: left as it is, one bit, or a knob of each site."""
    layers: Literal["both", "linear", "conv"] = "both"
    min_weights: int = 100
    """Smaller layers are left alone: packing costs about 300 bytes per layer."""
    first_activations: bool = False
    """Whether pixels may become one bit."""
    last: bool = True
    """Whether the last layer, the one that gives the classes, may be binarized."""

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        last = _last_layer(network)
        reads_pixels = _layers_reading_pixels(network)
        for layer in weight_layers(network):
            path, leaf, calls = layer.path, layer.leaf, layer.calls
            if self.layers == ("conv" if isinstance(leaf, nn.Linear) else "linear"):
                continue
            reason = self._why_not(leaf, path == last) or layer.obstacle
            binary = _why_not_binary_input(layer, path in reads_pixels and not self.first_activations)
            if reason or (binary and self.activations == "binary"):
                yield Refused(path, reason or binary)
                continue
            about = f"{leaf.weight.numel()} weights at one bit"
            yield Site(path, self._knobs(not binary), tuple(node.name for node in calls), about)
        for path, _, why in foreign_layers(network):
            yield Refused(path, why)

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        network = editor.network
        leaf = network.leaf(site.path)
        if not is_weight_layer(leaf):
            raise Refusal(f"is a {type(leaf).__name__}, not a linear or convolutional layer", path=site.path)
        tokens = isinstance(leaf, nn.Linear) and takes_tokens(network, network.calls_of(site.path))
        if tokens or not isinstance(leaf, nn.Linear | nn.Conv2d):
            editor.replace(site.path, binary_weights(leaf, tokens=tokens))
        elif choice.get(KNOB, "binary" if self.activations == "binary" else "float") == "float":
            editor.replace(site.path, binary_layer(leaf))
        else:
            binarize_with_input(editor, network.calls_of(site.path)[0], leaf)

    def _knobs(self, binary_makes_sense: bool) -> dict[str, Knob]:
        return {KNOB: Choice(("float", "binary"))} if self.activations == "choose" and binary_makes_sense else {}

    def _why_not(self, leaf: nn.Linear | _ConvNd, is_last: bool) -> str:
        count = leaf.weight.numel()
        if count < self.min_weights:
            return f"{count} weights: below {self.min_weights}, packing costs more than it saves"
        if is_last and not self.last:
            return "the last layer, and the option last is false"
        return ""


def _why_not_binary_input(layer: WeightLayer, is_first: bool) -> str:
    if layer.unplain:
        return f"{layer.unplain}: its input can only stay as it is (option activations)"
    if len(layer.calls) > 1:
        return "is called more than once, and each input would need a normalisation of its own"
    return "reads the image, of which one bit would be left (option first_activations)" if is_first else ""


# --- where layers stand ----------------------------------------------------------------------------------------------

_WEIGHTED = (nn.Linear, _ConvNd, BinaryLayer, WeightedLayer)


def _last_layer(network: Network) -> str:
    paths = [path for path, leaf in network.leaves() if isinstance(leaf, _WEIGHTED)]
    return paths[-1] if paths else ""


def _layers_reading_pixels(network: Network) -> set[str]:
    """Layers to which the image comes through no other layer."""
    weighted = {node for node, leaf in network.calls() if isinstance(leaf, _WEIGHTED)}
    behind: set[fx.Node] = set()
    first: set[str] = set()
    for node in network.graph.nodes:
        if any(source in behind or source in weighted for source in node.all_input_nodes):
            behind.add(node)
        elif node in weighted:
            first.add(str(node.target))
    return first
