"""Structured pruning: the least important channels of a coupled group go, and with them all that is coupled to them.

Widths stay multiples of a block, since the kernels work on 16 channels at a time: 64 channels cut to 49…63 run at
0.94–0.97× the speed of 64, to 33…48 at 1.25×, to 32 at 1.87× (ONNX Runtime, AVX-512).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Knob
from compressor.plugin import Refused, Site
from compressor_plugins.magnitude_prune.groups import Group, Importance, find_group, find_groups, importances

KNOB = "ratio"
RATIOS = (0.5, 0.25, 0.75)
"""Shares of the channels that go; the first is the default."""


def places(network: Network, block: int) -> Iterator[Site | Refused]:
    """Groups that are wider than a block, with the ratios that lead to different widths."""
    for group in find_groups(network):
        if isinstance(group, Refused):
            yield group
            continue
        reason = _too_narrow(group, block)
        if reason:
            yield Refused(group.path, reason)
            continue
        widths = _widths(group, block)
        knobs: dict[str, Knob] = {KNOB: Choice(tuple(widths))} if len(widths) > 1 else {}
        nodes = tuple(node.name for path in group.producers for node in network.calls_of(path))
        listed = ", ".join(str(width) for width in sorted(set(widths.values()), reverse=True))
        with_others = f", with {', '.join(group.producers[1:])}" if len(group.producers) > 1 else ""
        yield Site(group.path, knobs, nodes, f"{group.width} → {listed} channels{with_others}")


def prune(editor: Editor, path: str, ratio: float, importance: Importance, block: int) -> None:
    """Keep the most important channels of the group at ``path``. Raises ``Refusal``."""
    group = find_group(editor.network, path)
    reason = _too_narrow(group, block)
    if reason:
        raise Refusal(reason, path=path)
    editor.keep_channels(path, strongest(editor.network, group, snapped(group, ratio, block), importance))


def strongest(network: Network, group: Group, width: int, importance: Importance) -> list[int]:
    """The ``width`` most important channels, as many of each segment; of equals the first."""
    scores = importances(network, group, importance).view(group.segments, -1)
    order = torch.sort(scores, dim=1, descending=True, stable=True).indices[:, : width // group.segments]
    offsets = torch.arange(group.segments, device=order.device)[:, None] * scores.shape[1]
    return sorted((order + offsets).flatten().tolist())


def snapped(group: Group, ratio: float, block: int) -> int:
    """The width nearest to (1 − ratio) · width that keeps whole blocks: at least one, and fewer than there are."""
    unit = unit_of(group, block)
    most = (group.width - 1) // unit
    return unit * min(max(math.floor((1 - ratio) * group.width / unit + 0.5), 1), most)


def unit_of(group: Group, block: int) -> int:
    """Widths are multiples of this many channels."""
    return math.lcm(max(block, 1), group.segments)


def _widths(group: Group, block: int) -> dict[float, int]:
    """Ratios that are worth a trial and the widths they lead to, no width twice."""
    found: dict[float, int] = {}
    for ratio in RATIOS:
        width = snapped(group, ratio, block)
        if width not in found.values():
            found[ratio] = width
    return found


def _too_narrow(group: Group, block: int) -> str:
    unit = unit_of(group, block)
    if group.width > unit:
        return ""
    if unit == 1:
        return "has one channel"
    return f"has {group.width} channels, and fewer than {unit} run no faster (option block)"
