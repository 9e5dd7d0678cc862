"""Running one node on small real tensors, to learn what no rule tells: always in eval mode, leaving no trace.

A value is a batch of samples when its first dimension follows the batch size and nothing else does; two batch sizes
decide. Values that are no tensors (numbers read from a shape, tuples of chunks) are recomputed when someone needs them.
``node.meta["dtype"]`` is the type of a value that holds no real numbers: flags, and places; ``node.meta["sizes"]`` are
all sizes of a tensor that does not have the batch in front, with -1 for the one dimension that depends on the batch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import GraphError
from compressor.graph.leaf import Shape
from compressor.graph.shape_rules.functions import operation

BATCHES = (2, 3)
"""Two batch sizes above one: torch treats a dimension of size one specially."""


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Eval mode for a while; every part gets its own mode back."""
    with in_mode(module, training=False):
        yield


@contextmanager
def in_mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """A mode for a while, as the owner's ``train()`` sets it; every part gets its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.train(training)
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def undisturbed(module: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients, the random state kept: BatchNorm statistics and dropout seeds stay as they were."""
    with in_eval_mode(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        yield


def zeros(shapes: tuple[Shape, ...], batch: int, like: nn.Module) -> list[Tensor]:
    """Batches of zeros on the device and in the precision of the module's parameters."""
    reference = next((p for p in like.parameters() if p.is_floating_point()), torch.empty(0))
    return [torch.zeros((batch, *shape), dtype=reference.dtype, device=reference.device) for shape in shapes]


def dry_run_module(module: nn.Module, *inputs: Shape) -> Shape:
    """Shape of one output sample of a module, found by running it. Raises ``GraphError`` where it cannot be run."""
    with undisturbed(module):
        shape = _sample_shape(lambda batch: module(*zeros(inputs, batch, module)))
    if shape is None:
        raise GraphError(f"{type(module).__name__} does not turn a batch of samples into one")
    return shape


def dry_run_node(root: nn.Module, node: fx.Node) -> Shape | None:
    """Shape of one sample of a node's value, from the shapes its inputs carry; None when it is no batch of samples.

    Functions run on torch's meta device: no memory is taken, whatever the sizes.
    """
    meta = node.op != "call_module"

    def placed(tensor: Tensor) -> Tensor:
        return tensor.to("meta") if meta else tensor

    @functools.cache
    def value(of: fx.Node, batch: int) -> Any:
        shape: Shape | None = of.meta.get("shape")
        dry: dict[int, Shape] | None = of.meta.get("dry_run")
        if shape is None and dry is None:
            return compute(of, batch)
        sizes = (batch, *shape) if shape is not None else (dry or {})[batch]
        like = zeros(((),), 1, root)[0]
        dtype = of.meta.get("dtype", like.dtype)
        return torch.zeros(sizes, dtype=dtype, device="meta" if meta else like.device)

    def compute(of: fx.Node, batch: int) -> Any:
        args, kwargs = fx.node.map_arg((of.args, of.kwargs), lambda argument: value(argument, batch))
        match of.op:
            case "get_attr":
                held: Any = functools.reduce(getattr, str(of.target).split("."), root)
                return placed(held) if isinstance(held, Tensor) else held
            case "call_method":
                return getattr(args[0], str(of.target))(*args[1:], **kwargs)
            case "call_module":
                module = root.get_submodule(str(of.target))
                with undisturbed(module):
                    return module(*args, **kwargs)  # its tensors are real, and so must the arguments be
            case "call_function" if callable(of.target):
                if operation(of) == "index_select":
                    check_places(of, args)
                return of.target(*args, **kwargs)
        raise GraphError(f"node {of.name} cannot be run by itself")

    def check_places(of: fx.Node, args: Any) -> None:
        """Without memory there are no indices to look at; those that are kept in the network are looked at here."""
        size, index = args[0].shape[args[1]], of.args[2]
        if isinstance(index, fx.Node) and index.op == "get_attr":
            held: Any = functools.reduce(getattr, str(index.target).split("."), root)
            if held.numel() and int(held.max()) >= size:
                raise GraphError(f"it picks place {int(held.max())} of {size} along dimension {args[1]}")

    found: dict[int, Shape] = {}

    def run(batch: int) -> Any:
        result = compute(node, batch)
        if isinstance(result, Tensor):
            found[batch] = tuple(result.shape)
            if not result.is_floating_point():
                node.meta["dtype"] = result.dtype
        return result

    forget(node)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        shape = _sample_shape(run)
    if shape is None and len(found) == len(BATCHES):
        node.meta["dry_run"] = found
        if (sizes := _open_sizes(*found.values())) is not None:
            node.meta["sizes"] = sizes
    return shape


def forget(node: fx.Node) -> None:
    """What was found out about a node's value earlier, but for its shape."""
    for name in ("dtype", "sizes", "dry_run"):
        node.meta.pop(name, None)


def _open_sizes(first: Shape, second: Shape) -> Shape | None:
    """Sizes with -1 where two batch sizes differ; None where that is more than one dimension."""
    if len(first) != len(second):
        return None
    sizes = tuple(a if a == b else -1 for a, b in zip(first, second, strict=True))
    return sizes if sizes.count(-1) <= 1 else None


def _sample_shape(run: Callable[[int], Any]) -> Shape | None:
    try:
        results = [run(batch) for batch in BATCHES]
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        raise GraphError(str(error).strip().partition("\n")[0] or type(error).__name__) from error
    if not all(isinstance(result, Tensor) and result.dim() for result in results):
        return None
    sizes = [tuple(result.shape) for result in results]
    if any(size[0] != batch for size, batch in zip(sizes, BATCHES, strict=True)) or sizes[0][1:] != sizes[1][1:]:
        return None
    return sizes[0][1:]
