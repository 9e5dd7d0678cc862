"""Whether a leaf has output channels that can change in number at all."""

from __future__ import annotations

from compressor.errors import Refusal
from compressor.graph.coupling.groups import free_channels
from compressor.graph.coupling.trace import ChannelTrace, trace_of
from compressor.graph.network import Network


def check_free(network: Network, path: str) -> None:
    """Raises ``Refusal`` when the output channels of the leaf at ``path`` cannot change in number."""
    network.leaf(path)
    trace = trace_of(network)
    reason = why_not_free(trace, path)
    if reason:
        raise Refusal(reason, path=path)


def why_not_free(trace: ChannelTrace, path: str) -> str:
    """Why none of a leaf's channels can be dropped; empty where some can."""
    if path not in trace.made:
        return trace.blocked.get(path, "makes no channels of its own")
    classes = trace.classes_of(trace.made[path]).tolist()
    if not free_channels(trace, path):
        return trace.pinned[classes[0]]
    if len(set(classes)) == 1 and len(classes) > 1:
        return f"its channels go only all together: {trace.tied.get(classes[0], 'they meet in one place')}"
    return ""
