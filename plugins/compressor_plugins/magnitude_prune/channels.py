"""Structured pruning: the least important channels of a coupled group go, and with them all that is coupled to them.

Widths stay multiples of a block, since the kernels work on 16 channels at a time: 64 channels cut to 49…63 run at
0.94–0.97× the speed of 64, to 33…48 at 1.25×, to 32 at 1.87× (ONNX Runtime, AVX-512).
"""

from __future__ import annotations

from collections.abc import Iterator

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Knob
from compressor.plugin import Refused, Site
from compressor_plugins.magnitude_prune.groups import Group, Importance, find_group, find_groups, importances
from compressor_plugins.magnitude_prune.unit_choice import chosen, why_no_width, widths

KNOB = "ratio"
RATIOS = (0.5, 0.25, 0.75)
"""Shares of the channels that go; the first is the default."""


def places(network: Network, block: int) -> Iterator[Site | Refused]:
    """Groups that are wider than a block, with the ratios that lead to different widths."""
    for group in find_groups(network):
        if isinstance(group, Refused):
            yield group
            continue
        if not widths(group, block):
            yield Refused(group.path, why_no_width(group, block))
            continue
        offered = _offered(group, block)
        knobs: dict[str, Knob] = {KNOB: Choice(tuple(offered))} if len(offered) > 1 else {}
        nodes = tuple(node.name for path in group.producers for node in network.calls_of(path))
        listed = ", ".join(str(width) for width in sorted(offered.values(), reverse=True))
        with_others = f", with {', '.join(group.producers[1:])}" if len(group.producers) > 1 else ""
        yield Site(group.path, knobs, nodes, f"{group.width} → {listed} channels{with_others}")


def prune(editor: Editor, path: str, ratio: float, importance: Importance, block: int) -> None:
    """Keep the most important channels of the group at ``path``. Raises ``Refusal``."""
    group = find_group(editor.network, path)
    if not widths(group, block):
        raise Refusal(why_no_width(group, block), path=path)
    editor.keep_channels(path, strongest(editor.network, group, snapped(group, ratio, block), importance))


def strongest(network: Network, group: Group, width: int, importance: Importance) -> list[int]:
    """The channels that stay: ``width`` of them, those of the most important units, of equals the first."""
    return group.kept(chosen(group, importances(network, group, importance).tolist(), width))


def snapped(group: Group, ratio: float, block: int) -> int:
    """The width nearest to (1 − ratio) · width that the group can have; of two as near the larger."""
    wanted = (1 - ratio) * group.width
    return min(widths(group, block), key=lambda width: (abs(width - wanted), -width))


def _offered(group: Group, block: int) -> dict[float, int]:
    """Ratios that are worth a trial and the widths they lead to, no width twice."""
    found: dict[float, int] = {}
    for ratio in RATIOS:
        width = snapped(group, ratio, block)
        if width not in found.values():
            found[ratio] = width
    return found
