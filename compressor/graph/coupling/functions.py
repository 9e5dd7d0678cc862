"""What function and method calls do to the channels that pass them, by the name of the operation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from compressor.graph.coupling import moves, places
from compressor.graph.coupling.moves import argument_of
from compressor.graph.flow.flow import NEIGHBOURS, Differing, Flow, is_opaque, tensors_in
from compressor.graph.flow.values import TRACE_BATCH, broadcast, core, slices
from compressor.graph.layers import shuffle
from compressor.graph.shape_rules.functions import BINARY, UNARY, argument, operation

FunctionFlow = Callable[[Flow, fx.Node, tuple[Any, ...], dict[str, Any]], Any]

WEIGHING = ("softmax", "log_softmax", "softmin", "cumsum", "cumprod", "logcumsumexp", "normalize")
"""Each value is changed by all that lie beside it along one dimension; the shape stays."""
PRODUCTS = frozenset({
    "mul", "multiply", "imul", "div", "divide", "truediv", "true_divide", "itruediv", "floor_divide", "logical_and",
    "bitwise_and", "and", "__and__", "masked_fill", "where",
})  # fmt: skip
"""Of one value on all channels they make nothing where a channel is nothing."""
TOGETHER = PRODUCTS | (set(UNARY) - set(WEIGHING)) | set(BINARY) | {
    "iadd", "isub", "subtract", "ipow", "eq", "ne", "or", "xor", "__or__", "__xor__", "invert", "rsub", "negative",
    "absolute", "log_sigmoid", "softsign", "tanhshrink", "zeros_like", "ones_like", "full_like",
    "isclose", "feature_alpha_dropout",
}  # fmt: skip
"""Value by value, beside what torch itself declares so; what stands at one place belongs together."""
REDUCTIONS = frozenset({
    "mean", "sum", "amax", "amin", "max", "min", "prod", "std", "var", "norm", "logsumexp", "linalg_vector_norm", "any",
    "all", "argmax", "argmin", "nanmean", "nansum", "aminmax", "std_mean", "var_mean", "median",
    "count_nonzero", "linalg_norm",
})  # fmt: skip
SUMS = frozenset({"sum", "nansum", "linalg_vector_norm", "norm"})
"""Of them, those that a value of nothing does not change."""
PAIRED = frozenset({"std_mean", "var_mean", "aminmax"})
SPATIAL = frozenset({
    "max_pool1d", "max_pool2d", "max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "lp_pool1d", "lp_pool2d", "interpolate", "upsample", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa", "reflection_pad2d", "replication_pad2d",
})  # fmt: skip


def call(flow: Flow, node: fx.Node) -> Any:
    """The value of a function or method call."""
    args, kwargs = flow.arguments(node)
    given = [*args, kwargs]
    if not tensors_in(given) and not is_opaque([*args, *kwargs.values()]):
        return moves.perform(node, args, kwargs)  # arithmetic on sizes
    name = operation(node)
    rule = _rule(name)
    if rule is None or (is_opaque([*args, *kwargs.values()]) and name != "cat"):
        return flow.opaque(node, given, f"pass {node.name}, which mixes them in a way that is not known")
    return rule(flow, node, args, kwargs)


def has_rule(node: fx.Node) -> bool:
    """Whether a function or method call does something known to the channels that pass it."""
    return node.op in ("call_function", "call_method") and _rule(operation(node)) is not None


def _rule(name: str) -> FunctionFlow | None:
    return RULES.get(name) or (_together if _is_pointwise(name) else None)


@functools.cache
def _is_pointwise(name: str) -> bool:
    """Whether torch itself declares an operation to work value by value, and to have one result."""
    packet = getattr(torch.ops.aten, name, None) if name.isidentifier() and not name.startswith("__") else None
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        return False
    names: list[str] = packet.overloads()  # type: ignore[no-untyped-call]
    operators = [getattr(packet, overload) for overload in names if not overload.endswith("out")]
    on_tensors = [each for each in operators if any("Tensor" in str(given.type) for given in each._schema.arguments)]
    results = {len(each._schema.returns) if torch.Tag.pointwise in each.tags else 0 for each in on_tensors}
    return results == {1}


def _together(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Value by value: what meets at one place goes together, and broadcasting spreads what has one place."""
    values = tensors_in([*args, kwargs])
    result = values[0]
    for other in values[1:]:
        result = _met(flow, node, result, other)
    return result


def _met(flow: Flow, node: fx.Node, left: Tensor, right: Tensor) -> Tensor:
    rank = max(left.dim(), right.dim())
    left, right = (value[(None,) * (rank - value.dim())] for value in (left, right))
    shape = broadcast(left, right)
    swapped, over, settled = flow.ask(lambda differing: _meeting(differing, left, right))
    wide, spread = (right, left) if swapped else (left, right)
    if over:
        flow.pin(spread, f"its channels are spread over others by {node.name}")
        if not settled:
            flow.pin(wide, f"its channels pass {node.name}, which lays them across others")
        elif operation(node) not in PRODUCTS and not flow.is_nothing(spread):
            flow.pin(wide, f"its channels pass {node.name}, which spreads a single channel over them")
        return wide.expand(shape)
    one, other = core(wide), core(spread)
    met = broadcast(one, other)
    if flow.is_nothing(spread) or flow.is_nothing(wide):
        wide, spread = (spread, wide) if flow.is_nothing(wide) else (wide, spread)
        if any(spread.size(dim) > 1 for dim in flow.varying(wide)):
            flow.pin(wide, f"its channels pass {node.name}, which combines them with a constant of fixed size")
        return wide.expand(shape)
    flow.unite(one.expand(met), other.expand(met), node)
    return (wide if wide.shape == shape else spread).expand(shape)


def _meeting(differing: Differing, left: Tensor, right: Tensor) -> list[int]:
    """Whether the right value is the wide one, whether the other is spread over it, and whether that is all."""

    def over(wide: Tensor, other: Tensor) -> list[int]:
        return [dim for dim in differing(wide) if other.size(dim) == 1]

    swapped = bool(over(right, left))
    wide, spread = (right, left) if swapped else (left, right)
    settled = all(spread.size(dim) == 1 for dim in differing(wide)) and not over(spread, wide)
    return [swapped, bool(over(wide, spread)), settled]


def _reduced(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, name = args[0], operation(node)
    if len(args) > 1 and isinstance(args[1], Tensor):  # the larger of two values
        return _together(flow, node, args, kwargs)
    place = 2 if name in ("linalg_vector_norm", "linalg_norm", "norm") else 1
    dims = argument_of(args, kwargs, place, "dim", kwargs.get("axis"))
    rest = [value for value in args[place + 1 :] if isinstance(value, bool)]
    if name in ("var", "std") and isinstance(dims, bool):  # the old form: unbiased
        dims = None
    keep = bool(kwargs.get("keepdim", rest[-1] if rest else False))
    listed = [dims] if isinstance(dims, int) else list(dims or range(x.dim()))
    listed = sorted({int(dim) % x.dim() for dim in listed})
    if 0 in listed:
        return flow.opaque(node, x, f"pass {node.name}, which reduces over the first dimension")
    if name in SUMS and _adds_up(node, name) and (varying := flow.varying(x)) and set(varying) <= set(listed):
        flow.add_up(node, 0)
        return flow.fixed_value(node, f"its channels are tied to what {node.name} makes")
    x = flow.mix(x, listed, node, f"{node.name} reduces over channels")
    for dim in reversed(listed):
        x = x.narrow(dim, 0, 1) if keep else x.select(dim, 0)
    several = (name in ("max", "min", "median") and isinstance(dims, int)) or name in PAIRED
    return (x, x) if several else x


def _adds_up(node: fx.Node, name: str) -> bool:
    """Whether the reduction is a sum of what grows with a value's size, or the largest of it; not so other norms."""
    order = argument(node, 1, "ord", 2) if name == "linalg_vector_norm" else argument(node, 1, "p", 2)
    return name in ("sum", "nansum") or order is None or (isinstance(order, int | float) and order > 0)


def _weighed(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, dim = args[0], argument_of(args, kwargs, 1, "dim", None)
    if not isinstance(dim, int):
        return flow.opaque(node, x, f"pass {node.name}, which weighs channels against each other")
    flow.mix(x, [dim], node, f"{node.name} weighs channels against each other")
    return x


def _image(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    x, shape = args[0], node.meta.get("shape")
    if shape is None or tensors_in([*args[1:], kwargs]):
        return flow.opaque(node, [*args, kwargs], f"pass {node.name}, which mixes them in a way that is not known")
    x = flow.mix(x, range(2, x.dim()), node, f"{node.name} {NEIGHBOURS}")
    return x[(slice(None), slice(None), *[slice(1)] * (x.dim() - 2))].expand(TRACE_BATCH, -1, *shape[1:])


def _halved(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``glu``: one half weighs the other."""
    x, dim = args[0], int(argument_of(args, kwargs, 1, "dim", -1))
    left, right = x.chunk(2, dim)
    flow.unite(core(left), core(right), node, f"{node.name} weighs halves by halves")
    return left


def _product(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Matrix products: what is summed over meets there, and goes together; what is not keeps its place."""
    left, right = args[0], args[1]
    if left.dim() < 3 or right.dim() < 3 or node.meta.get("shape") is None:
        return flow.opaque(node, [left, right], f"pass {node.name}, which mixes them in a way that is not known")
    summed = [dim for value, place in ((left, -1), (right, -2)) if (dim := place % value.dim()) in flow.varying(value)]
    if summed:
        rows, columns = left.dim() - 1, right.dim() - 2
        reason = f"{node.name} sums over them"
        left = flow.mix(left, [dim for dim in range(left.dim()) if dim != rows], node, reason)
        right = flow.mix(right, [dim for dim in range(right.dim()) if dim != columns], node, reason)
        flow.unite(slices(left, rows), slices(right, columns), node, reason)
        flow.add_up(node, 0, 1)
        return flow.fixed_value(node, f"its channels are tied to what {node.name} makes")
    rows, columns = left.narrow(-1, 0, 1), right.narrow(-2, 0, 1)
    outer = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    for one, other in ((rows, columns), (columns, rows)):
        if flow.varying(one):
            if flow.varying(other):
                break
            flow.pin(other, f"its channels are spread over others by {node.name}")
            return one.expand(*outer, left.size(-2), right.size(-1))
    else:
        return flow.fixed_value(node, f"its channels are tied to what {node.name} makes")
    return flow.opaque(node, [left, right], f"pass {node.name}, which multiplies matrices of them")


def _sampled(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Every channel's image is read at the same points."""
    flow.pin([*args[1:], kwargs], f"its channels are the points that {node.name} reads")
    return _image(flow, node, args[:1], {})


def _binned(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    flow.pin([*args[1:], kwargs], f"its channels are the steps of {node.name}")
    return args[0]


def _sloped(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``prelu``: a slope for each channel, or one for all."""
    x, slopes = args
    return _met(flow, node, x, slopes.reshape(-1, *[1] * (x.dim() - 2)))


def _overwritten(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``slice_scatter`` and ``select_scatter``: a part is another value's."""
    x, part, dim = args[0], args[1], int(argument_of(args, kwargs, 2, "dim", 0)) % args[0].dim()
    if operation(node) == "select_scatter":
        part = part.unsqueeze(dim)
    if dim in flow.varying(x) or dim in flow.varying(part):
        flow.pin([x, part], f"its channels pass {node.name}, which picks them by their number")
        return moves.perform(node, args, kwargs)
    return _met(flow, node, x.narrow(dim, 0, 1), part.narrow(dim, 0, 1)).expand(x.shape)


def _shuffled(rule: Callable[[Flow, fx.Node, Tensor, int], Tensor]) -> FunctionFlow:
    """A function of one number that a layer is called for, too."""
    return lambda flow, node, args, kwargs: rule(flow, node, args[0], int([*args[1:], *kwargs.values()][0]))


RULES: dict[str, FunctionFlow] = {
    **dict.fromkeys(TOGETHER, _together),
    **dict.fromkeys(REDUCTIONS, _reduced),
    **dict.fromkeys(WEIGHING, _weighed),
    **dict.fromkeys(SPATIAL, _image),
    **dict.fromkeys(moves.MOVES, moves.moved),
    **dict.fromkeys(("slice", "narrow"), moves.sliced),
    **dict.fromkeys(("select", "unbind", "index_select"), moves.selected),
    "getitem": moves.got,
    **dict.fromkeys(("cat", "concat", "concatenate", "stack"), moves.joined),
    **dict.fromkeys(("pad", "constant_pad_nd"), moves.padded),
    "pixel_shuffle": _shuffled(shuffle.to_space),
    "pixel_unshuffle": _shuffled(shuffle.from_space),
    **dict.fromkeys(("channel_shuffle", "native_channel_shuffle"), _shuffled(shuffle.exchanged)),
    **dict.fromkeys(("roll", "tril", "triu"), places.fixed),
    "diagonal": places.diagonal,
    "unfold": places.windows,
    "im2col": places.patches,
    **dict.fromkeys(("col2im", "fold"), places.folded),
    "diff": places.differences,
    **dict.fromkeys(("sort", "argsort", "topk", "cummax", "cummin"), places.ordered),
    **dict.fromkeys(("slice_scatter", "select_scatter"), _overwritten),
    "prelu": _sloped,
    "bucketize": _binned,
    **dict.fromkeys(("grid_sample", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d"), _sampled),
    "glu": _halved,
    **dict.fromkeys(("matmul", "linalg_matmul", "bmm"), _product),
}
"""Operation → what it does. Any other pins what goes in."""
