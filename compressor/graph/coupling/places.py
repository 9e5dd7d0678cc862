"""Operations to which it matters where along a dimension a value stands: a channel there is picked by its number."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, fx

from compressor.graph.coupling.moves import argument_of, perform
from compressor.graph.flow.flow import NEIGHBOURS, Flow, tensors_in
from compressor.graph.flow.values import TRACE_BATCH, core
from compressor.graph.shape_rules.functions import operation

Args = tuple[Any, ...]
Keywords = dict[str, Any]


def _pinned(flow: Flow, node: fx.Node, x: Tensor, dims: list[int], what: str) -> None:
    if {dim % x.dim() for dim in dims} & set(flow.varying(x)):
        flow.pin(x, f"its channels pass {node.name}, which {what}")


def fixed(flow: Flow, node: fx.Node, args: Args, kwargs: Keywords) -> Any:
    """``roll``, ``tril`` and ``triu``: by a number of places that is written down; the shape stays."""
    x, dims = args[0], [-2, -1]
    if operation(node) == "roll":
        given = argument_of(args, kwargs, 2, "dims", ())
        dims = [given] if isinstance(given, int) else list(given) or list(range(x.dim()))
    _pinned(flow, node, x, dims, "moves or silences them by a fixed number")
    return x if operation(node) != "roll" else perform(node, args, kwargs)


def diagonal(flow: Flow, node: fx.Node, args: Args, kwargs: Keywords) -> Any:
    dims = [int(argument_of(args, kwargs, 2, "dim1", 0)), int(argument_of(args, kwargs, 3, "dim2", 1))]
    _pinned(flow, node, args[0], dims, "picks them by their number")
    return perform(node, args, kwargs)


def windows(flow: Flow, node: fx.Node, args: Args, kwargs: Keywords) -> Any:
    """``Tensor.unfold``: runs along one dimension; as ``functional.unfold`` it is ``patches``."""
    if callable(node.target) and node.target.__module__ == "torch.nn.functional":
        return patches(flow, node, args, kwargs)
    _pinned(flow, node, args[0], [int(argument_of(args, kwargs, 1, "dimension", 0))], "picks them by their number")
    return perform(node, args, kwargs)


def patches(flow: Flow, node: fx.Node, args: Args, kwargs: Keywords) -> Any:
    """Patches of an image as columns (N, C · k², L): every channel becomes k² rows, side by side."""
    x, shape, kernel = args[0], node.meta.get("shape"), argument_of(args, kwargs, 1, "kernel_size", 1)
    if x.dim() != 4 or shape is None:
        return flow.opaque(node, x, f"pass {node.name}, which mixes them in a way that is not known")
    x = flow.mix(x, [2, 3], node, f"{node.name} {NEIGHBOURS}")
    size = kernel**2 if isinstance(kernel, int) else math.prod(kernel)
    rows = core(x).expand(-1, x.size(1), 1, 1)[:, :, 0].repeat_interleave(size, 1)
    return rows.expand(TRACE_BATCH, -1, shape[1])


def folded(flow: Flow, node: fx.Node, args: Args, kwargs: Keywords) -> Any:
    """The way back: k² rows side by side become one channel's image."""
    x, shape, kernel = args[0], node.meta.get("shape"), argument_of(args, kwargs, 2, "kernel_size", 1)
    if x.dim() != 3 or shape is None:
        return flow.opaque(node, x, f"pass {node.name}, which mixes them in a way that is not known")
    x = flow.mix(x, [2], node, f"{node.name} {NEIGHBOURS}")
    size = kernel**2 if isinstance(kernel, int) else math.prod(kernel)
    rows = core(x).expand(-1, x.size(1), 1)
    rows = flow.mix(rows.reshape(rows.size(0), -1, size, 1), [2], node, f"{node.name} makes one of {size} channels")
    return rows[:, :, :1].expand(TRACE_BATCH, -1, *shape[1:])


def differences(flow: Flow, node: fx.Node, args: Args, kwargs: Keywords) -> Any:
    """``diff``: each value less the one before it, along one dimension."""
    x, times, dim = args[0], int(argument_of(args, kwargs, 1, "n", 1)), int(argument_of(args, kwargs, 2, "dim", -1))
    if tensors_in([*args[1:], kwargs]) or dim % x.dim() in flow.varying(x):
        return flow.opaque(node, [*args, kwargs], f"pass {node.name}, which sets them against their neighbours")
    return x.narrow(dim, 0, x.size(dim) - times)


def ordered(flow: Flow, node: fx.Node, args: Args, kwargs: Keywords) -> Any:
    """``sort``, ``topk``, ``cummax`` …: what lies along one dimension is compared; values and their places."""
    x, name = args[0], operation(node)
    known = argument_of(args, kwargs, 2 if name == "topk" else 1, "dim", -1)
    if isinstance(known, bool):  # ``stable`` comes first
        known = argument_of(args, kwargs, 2, "dim", -1)
    dim = int(known) % x.dim()
    x = flow.mix(x, [dim], node, f"{node.name} compares channels with each other")
    if name == "topk":
        x = x.narrow(dim, 0, int(argument_of(args, kwargs, 1, "k", 1)))
    return x if name == "argsort" else (x, x)
