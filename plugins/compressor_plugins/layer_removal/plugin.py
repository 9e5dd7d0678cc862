"""Layer removal: cut a span out and let its users take what entered it, straight or through a fitted linear map.

    y = g(f(x))   →   y = g(x)          shapes agree: layers with as many inputs as outputs, residual branches
    y = g(f(x))   →   y = g(M x + b)    M, b = argmin ‖f(x) − M x − b‖² over calibration activations

Removal rules (after Lee, "Self-Optimizing Networks"):
    1. as many channels, same size: layer, normalisation and activation go, users take the input;
    2. residual block: the branch goes and the identity stays, for that one an exact linear map;
    3. other channels: a 1×1 map fitted by least squares, composed into the next layer where that is cheaper;
    4. smaller size: average pooling before the map;
    5. two convolutions, what lies between them gone or linear: one convolution, where it runs faster (``compose``).
A linear layer in the head goes into the next one: W₂ σ(W₁ x) becomes one fitted matrix. What would not shrink is
refused, as a 1×1 convolution replaced by a 1×1 map.

The promise is ``TRAINED``: without its layer the network computes something else. How much a span matters is measured
by the engine (loss increase of this very rewrite per saving), which the document found most reliable; where there are
many spans, a cheap score chooses those worth measuring. BatchNorm is recalibrated by the engine after the edits.
Sources: Lee, "Self-Optimizing Networks"; Gabbasov et al., "Coordinated optimization of neural network parameters for a
given set of images". Spans: ``spans``, ways to remove one: ``removal``, cheap scores: ``span_scores``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import fx, nn

from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices
from compressor.plugin import Plugin, Promise, Refused, Site, Suggestion
from compressor_plugins.common.layout import channels_last, meets, width
from compressor_plugins.common.neighbours import PASSIVE, leaf_at, only_user, source_of
from compressor_plugins.common.spans import Obstacle, Span, find_spans, is_sum
from compressor_plugins.layer_removal.removal import Way, ways
from compressor_plugins.layer_removal.span_scores import span_scores

KNOB = "repair"
POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)


@dataclass(frozen=True)
class LayerRemoval(Plugin):
    """Cut layers, bottlenecks and whole blocks out; bridge the gap by identity, pooling or a fitted linear map."""

    promise: ClassVar[Promise] = Promise.TRAINED

    repair: Literal["auto", "identity", "map", "merge", "compose", "choose"] = "auto"
    """Preferred way to bridge the gap: the cheapest that fits, a certain one where it fits, or a knob of each site."""
    spans: Literal["all", "layers", "blocks"] = "all"
    """Which kinds of span to offer: single layers, blocks (with bottlenecks), or both."""
    score: Literal["bypass", "gamma", "influence", "angle", "probe", "taylor"] = "bypass"
    """What tells dispensable spans: each one's bypass, measured, or a cheap score that chooses which to measure."""
    shortlist: int = 8
    """How many spans a cheap score leaves to be measured, beside those it cannot judge."""

    def __post_init__(self) -> None:
        if self.shortlist < 1:
            raise ValueError("shortlist has to be at least 1")

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        calls = _calls(network)
        for path, found in self._spans(network).items():
            place = self._place(network, found, calls)
            if isinstance(place, str):
                yield Refused(path, place)
            else:
                span = place[0].span
                yield Site(path, self._knobs(place), tuple(node.name for node in span.nodes), _about(network, place))

    def suggest(self, network: Network, sites: Sequence[Site]) -> Suggestion | None:
        return Suggestion("structure", f"{len(sites)} layers or blocks could go")

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        network = editor.network
        found = self._spans(network).get(site.path)
        if found is None:
            raise Refusal("no such span in the network as it is now", path=site.path)
        place = self._place(network, found, _calls(network))
        if isinstance(place, str):
            raise Refusal(place, path=site.path)
        wanted = choice.get(KNOB, place[0].name)
        way = next((way for way in place if way.name == wanted), None)
        if way is None:
            raise Refusal(f"repair {wanted!r} does not fit here", path=site.path)
        way.carry_out(editor)

    def worth_measuring(self, network: Network, sites: Sequence[Site], evidence: Evidence) -> Sequence[Site]:
        """The most dispensable per saving, and those the score says nothing of; all of them for "bypass"."""
        if self.score == "bypass":
            return sites
        spans, calls = self._spans(network), _calls(network)
        places = {site.path: self._place(network, spans[site.path], calls) for site in sites}
        preferred = {path: place[0] for path, place in places.items() if isinstance(place, list)}
        found = span_scores(self.score, network, [way.span for way in preferred.values()], evidence)
        least = 1e-3 * max(found.values(), default=0.0) + 1e-12
        whole = network_cost(network)
        ranked = sorted(
            (path for path, way in preferred.items() if way.span in found),
            key=lambda path: max(found[preferred[path].span], least) / preferred[path].saving(whole),
        )
        passed_over = set(ranked[self.shortlist :])
        return [site for site in sites if site.path not in passed_over]

    def _knobs(self, place: list[Way]) -> dict[str, Choice]:
        offered = self.repair == "choose" and len(place) > 1
        return {KNOB: Choice(tuple(way.name for way in place))} if offered else {}

    def _spans(self, network: Network) -> dict[str, Span | Obstacle]:
        """What could be removed, or why not, by the path of its site."""
        found: dict[str, Span | Obstacle] = {}
        for span in find_spans(network):
            if isinstance(span, Obstacle) or self._admits(span):
                found[span.path if span.path not in found else _by_nodes(span)] = span
        return found

    def _place(self, network: Network, found: Span | Obstacle, calls: Counter[str]) -> list[Way] | str:
        """The ways to remove a span, the preferred one first, or why there is none."""
        if isinstance(found, Obstacle):
            return found.reason
        span = _with_idle_activation(network, found)
        fitting = sorted(ways(network, span, calls), key=lambda way: way.name != self.repair)
        return _why_not(network, span) or fitting or _why_none(network, span)

    def _admits(self, span: Span) -> bool:
        return self.spans == "all" or (span.kind == "layer") == (self.spans == "layers")


def _calls(network: Network) -> Counter[str]:
    """How often each leaf is called."""
    return Counter(str(node.target) for node in network.graph.nodes if node.op == "call_module")


def _about(network: Network, place: list[Way]) -> str:
    """``layer of Conv2d, BatchNorm2d, ReLU: identity``"""
    span = place[0].span
    leaves = [type(leaf).__name__ for leaf in (leaf_at(network, node) for node in span.nodes) if leaf is not None]
    shown = ", ".join(leaves) if len(leaves) <= 3 else f"{len(leaves)} leaves"
    return f"{span.kind} of {shown}: {' or '.join(way.name for way in place)}"


def _why_not(network: Network, span: Span) -> str:
    """What speaks against removing the span at all; empty when nothing does."""
    if span.last in network.output_nodes:
        return "gives the output of the network"
    user = only_user(span.last)
    if span.kind != "block" and user is not None and span.source in user.all_input_nodes:
        return f"is all there is between {span.source.name} and {user.name}: remove that block instead"
    return ""


def _why_none(network: Network, span: Span) -> str:
    given, wanted = network.shape(span.source), network.shape(span.last)
    if len(given) != len(wanted) or channels_last(network, span.source) != channels_last(network, span.last):
        return f"turns samples of shape {given} into {wanted}, which no map bridges"
    if not meets(network, span.source, span.last):
        return "changes the size of the image in a way that pooling and a map cannot"
    channels = width(network, span.source), width(network, span.last)
    if len(given) == 1:
        return f"turns {given[0]} features into {wanted[0]}, and no linear layer follows that could take its part"
    return f"a map from {channels[0]} to {channels[1]} channels would cost as much as the span"


def _with_idle_activation(network: Network, span: Span) -> Span:
    """A residual block with the ReLU behind it, where what is left of the block has passed that ReLU already."""
    user = only_user(span.last)
    if span.kind != "block" or user is None or span.source not in span.last.all_input_nodes:
        return span
    idle = (nn.ReLU, nn.ReLU6)
    leaf = leaf_at(network, user)
    if not (is_sum(network, span.last) and isinstance(leaf, idle) and _passed(network, span.source, type(leaf))):
        return span
    return Span(span.kind, span.source, (*span.nodes, user))


def _passed(network: Network, node: fx.Node, kind: type[nn.Module]) -> bool:
    """Whether the value is a ReLU's, or a maximum or an average of such values."""
    while isinstance(leaf_at(network, node), (*POOLS, *PASSIVE)):
        node = source_of(node)
    return isinstance(leaf_at(network, node), kind)


def _by_nodes(span: Span | Obstacle) -> str:
    return f"{span.nodes[0].name}..{span.last.name}" if isinstance(span, Span) else f"{span.path} again"
