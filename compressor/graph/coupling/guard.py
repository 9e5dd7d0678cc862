"""Where the channels of a leaf travel, and whether they may change in number on the way.

Follows the values that carry a leaf's output channels: forward to everything that takes them, and backward through
sums to everything that must have the same ones. Along the way every operation has to be one whose channels keep their
places; channels that reach the network's output or come from its input, or that pass an operation which mixes channels
or has their number written into it (channel shuffle, a reshape to constants), are refused with that reason.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import fx, nn

from compressor.errors import Refusal
from compressor.graph.coupling.kinds import is_channelwise, is_transparent, why_no_inputs, why_no_outputs
from compressor.graph.network import Network
from compressor.graph.shape_rules.functions import BINARY, UNARY, argument, operation
from compressor.graph.span import SIZE_READERS

Step = tuple[fx.Node, fx.Node | None]
"""A value, and the one among its inputs that the channels came from; None when they were reached from a user."""

SPATIAL_FUNCTIONS = (
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "interpolate",
    "upsample_nearest2d", "upsample_bilinear2d",
)  # fmt: skip


def check_free(network: Network, path: str) -> None:
    """Raises ``Refusal`` when the output channels of the leaf at ``path`` cannot change in number."""
    root = network.leaf(path)
    reason = why_no_outputs(root)
    if reason is None and is_channelwise(root):
        reason = "makes no channels of its own: name the layer that does"
    if reason is not None:
        raise Refusal(reason, path=path)
    waiting: list[Step] = [(call, None) for call in network.calls_of(path)]
    seen = set(waiting)
    while waiting:
        for step in _coupled_values(network, *waiting.pop(), path):
            if step not in seen:
                seen.add(step)
                waiting.append(step)


def _coupled_values(network: Network, node: fx.Node, origin: fx.Node | None, path: str) -> list[Step]:
    """Values with the same channels as ``node``: what is made of it, and what it was made of besides ``origin``."""
    steps: list[Step] = [(user, node) for user in node.users if _carries_on(network, node, user, path)]
    if node.op == "placeholder":
        raise Refusal("its channels are tied to those of the network's input", path=path)
    if node.op == "get_attr":
        raise Refusal(f"its channels are tied to the constant {node.target}", path=path)
    leaf = network.leaf(str(node.target)) if node.op == "call_module" else None
    if leaf is not None and not (is_channelwise(leaf) or is_transparent(leaf) or isinstance(leaf, nn.Flatten)):
        if (reason := why_no_outputs(leaf)) is not None:
            raise Refusal(f"its channels are tied to those of {node.target}: {reason}", path=path)
        return steps
    if origin is not None and (isinstance(leaf, nn.Flatten) or (leaf is None and operation(node) in JOINS)):
        return steps  # what stands beside them is not coupled to them
    if isinstance(leaf, nn.Flatten) or (leaf is None and operation(node) in FLATTENINGS):
        raise Refusal(f"its channels are tied to single values that {node.name} flattens", path=path)
    return steps + [(source, None) for source in node.all_input_nodes if source is not origin]


def _carries_on(network: Network, node: fx.Node, user: fx.Node, path: str) -> bool:
    """Whether ``user`` passes the channels of ``node`` on (True) or takes them in (False); else raises ``Refusal``."""
    if user.op == "output":
        raise Refusal("its channels are the network's output", path=path)
    if user.op != "call_module":
        if operation(user) in SIZE_READERS:
            return False  # a number that follows when the network runs
        reason = _why_function_blocks(node, user)
        if reason is not None:
            raise Refusal(f"its channels pass {user.name}, which {reason}", path=path)
        return True
    leaf = network.leaf(str(user.target))
    if is_transparent(leaf) or isinstance(leaf, nn.Flatten):
        if isinstance(leaf, nn.Flatten) and not _whole(node, leaf.start_dim, leaf.end_dim):
            raise Refusal(f"its channels pass {user.target}, which flattens some dimensions only", path=path)
        return True
    if (reason := why_no_inputs(leaf)) is not None:
        raise Refusal(f"its channels reach {user.target}: {reason}", path=path)
    if isinstance(leaf, nn.Linear) and len(network.shape(user)) != 1:
        raise Refusal(f"{user.target} is applied along another dimension than the channels", path=path)
    return is_channelwise(leaf)


def _why_function_blocks(node: fx.Node, user: fx.Node) -> str | None:
    check = BLOCKED_BY.get(operation(user))
    return "mixes channels or has their number written into it" if check is None else check(node, user)


def _never(node: fx.Node, user: fx.Node) -> None:
    """Every channel stays where it is."""


def _by_softmax(node: fx.Node, user: fx.Node) -> str:
    return "weighs channels against each other"


def _by_sum(node: fx.Node, user: fx.Node) -> str | None:
    shapes = [source.meta.get("shape") for source in user.all_input_nodes]
    if any(shape is None for shape in shapes):
        return "combines them with a constant of fixed size"
    channels = {shape[0] for shape in shapes if shape is not None}
    return None if len(channels) == 1 else "spreads a single channel over them"


def _by_concatenation(node: fx.Node, user: fx.Node) -> str | None:
    along_channels = argument(user, 1, "dim", 0) in (1, -len(Network.shape(node)))
    return None if along_channels else "joins along another dimension"


def _by_flatten(node: fx.Node, user: fx.Node) -> str | None:
    whole = _whole(node, argument(user, 1, "start_dim", 0), argument(user, 2, "end_dim", -1))
    return None if whole else "flattens some dimensions only"


def _whole(node: fx.Node, start: int, end: int) -> bool:
    """Whether flattening from ``start`` to ``end`` turns the whole sample into one row."""
    return start == 1 and end in (-1, len(Network.shape(node)))


def _by_view(node: fx.Node, user: fx.Node) -> str | None:
    flattens = len(user.args) == 3 and user.args[2] == -1 and len(Network.shape(user)) == 1
    return None if flattens else "has their number written into it"


def _by_reduction(node: fx.Node, user: fx.Node) -> str | None:
    rank = len(Network.shape(node)) + 1
    dims = argument(user, 1, "dim", None)
    listed = [dims] if isinstance(dims, int) else dims
    spatial = isinstance(listed, list | tuple) and all(isinstance(d, int) and d % rank > 1 for d in listed)
    return None if spatial else "reduces over channels"


def _by_padding(node: fx.Node, user: fx.Node) -> str | None:
    return None if len(argument(user, 1, "pad", ())) <= 2 * (len(Network.shape(node)) - 1) else "pads channels"


FLATTENINGS = ("flatten", "view", "reshape")
"""Behind these a channel is a run of values."""
JOINS = ("cat", "concat", "concatenate", *FLATTENINGS)
"""Behind these, channels stand beside others."""

BLOCKED_BY: dict[str, Callable[[fx.Node, fx.Node], str | None]] = {
    **dict.fromkeys(UNARY, _never),
    **dict.fromkeys(SPATIAL_FUNCTIONS, _never),
    **dict.fromkeys(("softmax", "log_softmax"), _by_softmax),
    **dict.fromkeys((*BINARY, "iadd", "isub", "imul", "itruediv"), _by_sum),
    **dict.fromkeys(("cat", "concat", "concatenate"), _by_concatenation),
    **dict.fromkeys(("view", "reshape"), _by_view),
    "flatten": _by_flatten,
    **dict.fromkeys(("mean", "sum", "amax", "amin"), _by_reduction),
    "pad": _by_padding,
}
"""Operation → why channels of ``node`` cannot change in number on their way through ``user``; None if they can."""
