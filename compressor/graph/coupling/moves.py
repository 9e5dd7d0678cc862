"""Operations that move values about: torch runs them on identities, so that positions are right whatever they are.

What a move has written into it (the sizes of a view, where a slice starts, which entry is selected) must hold for other
numbers of channels too. Sizes can be rewritten (``refit``); a channel picked by its number is pinned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from compressor.graph.flow.flow import Flow, is_opaque, tensors_in
from compressor.graph.flow.values import collapsed
from compressor.graph.shape_rules.functions import argument, operation

END = 2**63 - 1
RESHAPES = frozenset({"view", "reshape", "_unsafe_view", "unflatten", "flatten", "reshape_as", "view_as"})
SPLITS = frozenset({"chunk", "split", "split_with_sizes", "unsafe_chunk", "unsafe_split", "unsafe_split_with_sizes"})
EXPANSIONS = frozenset({"expand", "broadcast_to"})
SAME = frozenset({
    "contiguous", "clone", "detach", "alias", "to", "type_as", "_to_copy", "float", "half", "double", "lift_fresh_copy",
})  # fmt: skip
"""The same values in another form of storage."""
PLAIN = frozenset({
    "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "squeeze", "unsqueeze", "expand_as",
    "flip", "fliplr", "rot90", "repeat", "tile", "repeat_interleave", "size", "shape", "dim", "sym_size", "getattr",
})  # fmt: skip
"""Nothing in them knows how many channels there are."""
MOVES = RESHAPES | SPLITS | EXPANSIONS | SAME | PLAIN


def moved(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The value of a node that moves values about."""
    name = operation(node)
    if name in SAME:
        return args[0]
    value = flow.run(node, args, kwargs)
    if name in RESHAPES | {"repeat_interleave", "repeat", "tile"} and isinstance(value, Tensor):
        return flow.rectangular(value, node)
    return value


def perform(node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What torch makes of identities: views that strides forbid become copies."""
    name = operation(node)
    if name in ("view", "_unsafe_view", "reshape") and not isinstance(args[1], torch.dtype):
        sizes = args[1:] or (kwargs.get("size", kwargs.get("shape")),)
        return args[0].reshape(*sizes)
    target: Any = getattr(args[0], str(node.target)) if node.op == "call_method" else node.target
    return target(*(args[1:] if node.op == "call_method" else args), **kwargs)


# --- what is written into an operation -------------------------------------------------------------------------------


def refit(node: fx.Node, before: Any, after: Callable[[Tensor, int], int]) -> tuple[Any, ...] | None:
    """New arguments of a move: (target, args, kwargs); None where nothing is written into it.

    ``before``: its value, as identities; ``after``: how long a dimension of a value will be.
    """
    name = operation(node)
    if name in SPLITS and isinstance(before, list | tuple):
        dim = int(argument(node, 2, "dim", 0))
        sizes = [after(part, dim) for part in before]
        return torch.ops.aten.split_with_sizes.default, (node.args[0], sizes, dim), {}
    if not isinstance(before, Tensor):
        return None
    if name in ("view", "reshape", "_unsafe_view") or name in EXPANSIONS:
        return _resized(node, before, after, offset=0)
    if name == "unflatten":
        return _unflattened(node, before, after)
    return None


def _resized(node: fx.Node, before: Tensor, after: Callable[[Tensor, int], int], offset: int) -> tuple[Any, ...] | None:
    written = node.args[1:] if len(node.args) > 1 else (node.kwargs.get("size", node.kwargs.get("shape")),)
    listed = isinstance(written[0], list | tuple)
    first: Any = written[0]
    sizes: list[Any] = list(first if listed else written)
    fixed = [dim for dim, size in enumerate(sizes) if isinstance(size, int) and size >= 0 and dim]
    for dim in fixed:
        sizes[dim] = after(before, dim)
    args = (node.args[0], tuple(sizes)) if listed else (node.args[0], *sizes)
    return node.target, args, {}


def _unflattened(node: fx.Node, before: Tensor, after: Callable[[Tensor, int], int]) -> tuple[Any, ...]:
    dim, sizes = argument(node, 1, "dim", 0), list(argument(node, 2, "sizes", ()))
    first = dim % (before.dim() - len(sizes) + 1)
    fresh = [after(before, first + place) if size >= 0 else size for place, size in enumerate(sizes)]
    return node.target, (node.args[0], dim, tuple(fresh)), {}


# --- picking ---------------------------------------------------------------------------------------------------------


def sliced(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``slice`` and ``narrow``: a run along one dimension."""
    x, dim = args[0], int(argument(node, 1, "dim", 0))
    start, end = argument(node, 2, "start", 0), argument(node, 3, "end", END)
    if operation(node) == "narrow":
        end = start + argument(node, 3, "length", 0)
    step = argument(node, 4, "step", 1) if operation(node) == "slice" else 1
    return flow.run_slices(node, x, {dim % x.dim(): slice(start, end, step)})


def selected(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``select``, ``unbind`` and ``index_select``: entries by their number."""
    x, name = args[0], operation(node)
    dim = int(argument(node, 1, "dim", 0))
    if dim % x.dim() in flow.varying(x):
        flow.pin(x, f"its channels pass {node.name}, which picks them by their number")
    if name == "index_select":
        index = argument(node, 2, "index", None)
        if not (isinstance(index, fx.Node) and index.op == "get_attr"):
            return flow.opaque(node, x, f"pass {node.name}, which picks by a computed index")
        return x.index_select(dim, flow.held(index).cpu())
    return perform(node, args, kwargs)


def got(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``value[index]``: of several results one, or slices and entries of a tensor."""
    x, index = args
    if not isinstance(x, Tensor):
        return x[index]
    picks = index if isinstance(index, tuple) else (index,)
    if all(isinstance(pick, slice) for pick in picks) and len(picks) <= x.dim():
        return flow.run_slices(node, x, dict(enumerate(picks)))
    if tensors_in(list(picks)):
        return flow.opaque(node, x, f"pass {node.name}, which picks by a computed index")
    result = x[index]
    if set(flow.varying(x)) - _untouched(picks, x.dim()):
        flow.pin(x, f"its channels pass {node.name}, which picks them by their number")
    return result


def _untouched(picks: tuple[Any, ...], rank: int) -> set[int]:
    """Dimensions that an index leaves whole."""
    named = [pick for pick in picks if pick is not None and pick is not Ellipsis]
    tail, whole, dim = rank - len(named), set(), 0
    spread = Ellipsis in [pick for pick in picks if not isinstance(pick, slice)]
    for pick in picks:
        if pick is Ellipsis:
            whole |= set(range(dim, dim + tail))
            dim += tail
        elif pick is not None:
            whole |= {dim} if pick == slice(None) else set()
            dim += 1
    return whole if spread else whole | set(range(dim, rank))


def resliced(node: fx.Node, picks: dict[int, slice]) -> tuple[Any, ...]:
    """``slice``, ``narrow`` or ``[…]`` with other runs: (target, args, kwargs)."""
    name = operation(node)
    if name == "getitem":
        index = tuple(picks[dim] for dim in range(len(picks)))
        return node.target, (node.args[0], index), {}
    ((_, run),) = picks.items()
    dim = argument(node, 1, "dim", 0)
    if name == "narrow":
        return node.target, (node.args[0], dim, run.start, run.stop - run.start), {}
    return node.target, (node.args[0], dim, run.start, run.stop, run.step), {}


# --- joining ---------------------------------------------------------------------------------------------------------


def joined(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """``cat`` and ``stack``: values side by side."""
    parts = list(argument_of(args, kwargs, 0, "tensors", ()))
    dim = int(argument_of(args, kwargs, 1, "dim", 0))
    if is_opaque(parts) or not all(isinstance(part, Tensor) for part in parts):
        return flow.opaque(node, parts, f"pass {node.name}, which joins them with something unknown")
    if operation(node) == "stack":
        dim %= parts[0].dim() + 1
        parts = [part.unsqueeze(dim) for part in parts]
    return beside(parts, dim % parts[0].dim())


def beside(parts: list[Tensor], dim: int) -> Tensor:
    """What ``torch.cat`` gives, in no more memory than it needs."""
    shape = list(parts[0].shape)
    shape[dim] = sum(part.size(dim) for part in parts)
    cores = [part.narrow(dim, 0, part.size(dim)) for part in parts]
    for other in range(len(shape)):
        if other != dim and all(part.stride(other) == 0 or part.size(other) == 1 for part in parts):
            cores = [part.narrow(other, 0, 1) for part in cores]
    return torch.cat(cores, dim).expand(shape)


def padded(flow: Flow, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Padding; along the channels it adds places that nothing makes."""
    x, pads = args[0], list(argument_of(args, kwargs, 1, "pad", ()))
    dims = [x.dim() - 1 - place // 2 for place, size in enumerate(pads) if size]
    if not set(dims) & set(flow.varying(x)):
        sizes = list(x.shape)  # as they are now: channels, which are not padded, may be others than when captured
        for place, size in enumerate(pads):
            sizes[x.dim() - 1 - place // 2] += size
        kept = collapsed(x, dims)
        return kept[tuple(slice(1) if dim in dims else slice(None) for dim in range(x.dim()))].expand(sizes)
    if argument_of(args, kwargs, 2, "mode", "constant") not in ("constant", 0, 0.0) and operation(node) == "pad":
        return flow.opaque(node, x, f"pass {node.name}, which repeats some of them as padding")
    if min(pads) < 0:
        flow.pin(x, f"its channels pass {node.name}, which cuts them off by their number")
    filling = int(flow.fixed(node, f"its channels are tied to those that {node.name} adds"))
    return F.pad(x, pads, value=filling)


def argument_of(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str, default: Any) -> Any:
    """An evaluated argument given by position or by name."""
    return args[place] if len(args) > place else kwargs.get(name, default)
