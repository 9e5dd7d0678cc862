"""Growth: more depth or width at one place, while the network goes on computing what it did.

    depth   x → x + F(x) with F = 0, or x → φ(BN(I ∗ x)) behind a ReLU            growth_depth: residual, dirac
    width   units split in two, or new silent units that point where the loss falls     growth_width: copy, gradmax

The promise is ``EXACT``: what a network gains by growing it gains in training. Which places are worth it the engine
measures: a rewrite that saves nothing is ranked by the gradient it opens up, ‖∇L after‖² − ‖∇L before‖², per share of
the network it adds. For a gated block this is |∂L/∂gate|², the score of Firefly (Wu et al., arXiv:2102.08574); for new
units it is what GradMax makes large.

Places depend on the structure alone, so a plan with training between its rounds can be carried out again without it.
A place grows again as often as it is chosen. Source: Lee, "Self-Optimizing Networks".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import fx

from compressor.errors import Refusal
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.leaf import Cost
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices, Knob
from compressor.plugin import Plugin, Promise, Refused, Site
from compressor_plugins.self_grow.depth import depth_growths
from compressor_plugins.self_grow.growth import AMOUNTS, Growth
from compressor_plugins.self_grow.places import DepthPlace, WidthPlace, depth_places, width_layers, width_place
from compressor_plugins.self_grow.width import width_growths

OPERATOR, AMOUNT = "operator", "amount"

_Place = tuple[DepthPlace | WidthPlace, list[Growth]]


@dataclass(frozen=True)
class SelfGrow(Plugin):
    """Grow: add blocks and channels that at first change nothing, where the loss would gain most from them."""

    promise: ClassVar[Promise] = Promise.EXACT

    grow: Literal["all", "depth", "width"] = "all"
    """Blocks behind feature maps, channels of layers, or both."""
    noise: float = 0.1
    """How far outgoing weights of copied units are moved apart, as a share of the weights; it cancels in the sum."""
    max_params: int = 0
    """Parameters the network may have after growing; 0: no limit."""
    max_macs: int = 0
    """Multiply-accumulates for one sample it may take after growing; 0: no limit."""

    def __post_init__(self) -> None:
        if min(self.noise, self.max_params, self.max_macs) < 0:
            raise ValueError("noise, max_params and max_macs cannot be negative")

    def sites(self, network: Network) -> Iterator[Site | Refused]:
        order = {node: index for index, node in enumerate(network.graph.nodes)}
        now = self._now(network)
        found = sorted(self._places(network), key=lambda entry: order[entry[1]])
        for path, node, place in found:
            choice = place if isinstance(place, str) else self._knobs(network, now, place[1])
            if isinstance(place, str) or isinstance(choice, str):
                yield Refused(path, str(choice))
            else:
                yield Site(path, choice, (node.name,), _about(*place))

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        network = editor.network
        try:
            _, ways = next(self._own(network, site.path))
        except StopIteration:
            raise Refusal("no such place in the network as it is now", path=site.path) from None
        now = self._now(network)
        fitting, amounts = self._offer(network, now, ways)
        if not fitting:
            raise Refusal(self._why_not(network, now, ways), path=site.path)
        wanted = choice.get(OPERATOR, fitting[0].name)
        way = next((way for way in fitting if way.name == wanted), None)
        if way is None:
            raise Refusal(f"operator {wanted!r} does not fit here", path=site.path)
        amount = float(choice.get(AMOUNT, amounts[0]))
        if amount not in amounts:
            raise Refusal(self._over(now, way.added(network, amount)) or f"amount cannot be {amount}", path=site.path)
        way.carry_out(editor, amount)

    def _places(self, network: Network) -> Iterator[tuple[str, fx.Node, _Place | str]]:
        """Path, node, and a place with the ways to grow it, or why there is none."""
        if self.grow != "width":
            for depth, ways in depth_growths(network, list(depth_places(network))):
                yield f"{depth.name}+depth", depth.node, (depth, ways)
        if self.grow != "depth":
            for name in width_layers(network):
                try:
                    place: _Place | str = self._wide(network, name)
                except Refusal as refusal:
                    place = refusal.reason
                yield f"{name}+width", network.calls_of(name)[0], place

    def _own(self, network: Network, path: str) -> Iterator[_Place]:
        """The place of one site, if the network as it is now has it. Raises ``Refusal`` where it cannot grow."""
        name, _, grow = path.rpartition("+")
        if grow == "depth" and self.grow != "width":
            depth = [place for place in depth_places(network) if place.name == name]
            yield from depth_growths(network, depth)
        if grow == "width" and self.grow != "depth" and name in width_layers(network):
            yield self._wide(network, name)

    def _wide(self, network: Network, name: str) -> _Place:
        place = width_place(network, name)
        ways = width_growths(network, place, self.noise)
        if not ways:
            raise Refusal("a single channel cannot be told from its copy")
        return place, ways

    def _now(self, network: Network) -> Cost:
        """What the network costs, where there are limits to hold it against."""
        return network_cost(network) if self._limited else Cost()

    def _knobs(self, network: Network, now: Cost, ways: Sequence[Growth]) -> dict[str, Knob] | str:
        """The knobs of a place, without what the limits rule out; the reason where nothing is left."""
        fitting, amounts = self._offer(network, now, ways)
        if not fitting:
            return self._why_not(network, now, ways)
        knobs: dict[str, Knob] = {}
        if len(fitting) > 1:
            knobs[OPERATOR] = Choice(tuple(way.name for way in fitting))
        if len(amounts) > 1:
            knobs[AMOUNT] = Choice(tuple(amounts))
        return knobs

    def _offer(self, network: Network, now: Cost, ways: Sequence[Growth]) -> tuple[list[Growth], list[float]]:
        """The ways within the limits, and the amounts all of them allow."""
        within = {
            way: [a for a in way.amounts if not self._limited or not self._over(now, way.added(network, a))]
            for way in ways
        }
        fitting = [way for way in ways if within[way]]
        scaled = [within[way] for way in fitting if way.scaled] or [list(AMOUNTS[:1])]
        return fitting, [amount for amount in AMOUNTS if all(amount in amounts for amounts in scaled)]

    @property
    def _limited(self) -> bool:
        return bool(self.max_params or self.max_macs)

    def _why_not(self, network: Network, now: Cost, ways: Sequence[Growth]) -> str:
        return self._over(now, ways[0].added(network, min(ways[0].amounts)))

    def _over(self, now: Cost, added: Cost) -> str:
        """Which limit the network would overstep; empty when none."""
        for what, limit, count in (
            ("parameters", self.max_params, now.parameter_count + added.parameter_count),
            ("multiply-accumulates", self.max_macs, now.mac_count + added.mac_count),
        ):
            if limit and count > limit:
                return f"the network would have {count:,} {what}, more than the {limit:,} it may have"
        return ""


def _about(place: DepthPlace | WidthPlace, ways: Sequence[Growth]) -> str:
    names = " or ".join(way.name for way in ways)
    if isinstance(place, DepthPlace):
        return f"behind {'×'.join(map(str, Network.shape(place.node)))}: {names}"
    return f"{place.channels} channels, read by {place.taker.target}: {names}"
