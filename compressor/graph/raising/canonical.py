"""One word for one operation: what torch calls by several names, or spells with two operators, is written one way.

Every rewriting here computes the same bit for bit, so that all that follows (layers, shapes, ONNX) knows one form.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch

from compressor.graph.traced.program import UNKNOWN, Op, Program, ValueRef

_ALIASES: Final[Mapping[str, str]] = {
    "__and__": "bitwise_and", "__or__": "bitwise_or", "__xor__": "bitwise_xor",
    "absolute": "abs", "arccos": "acos", "arccosh": "acosh", "arcsin": "asin", "arcsinh": "asinh", "arctan": "atan",
    "arctanh": "atanh", "broadcast_to": "expand", "clip": "clamp", "concat": "cat", "concatenate": "cat",
    "divide": "div", "fix": "trunc", "greater": "gt", "greater_equal": "ge", "less": "lt", "less_equal": "le",
    "moveaxis": "movedim", "multiply": "mul", "negative": "neg", "not_equal": "ne", "special_erf": "erf",
    "special_exp2": "exp2", "special_expit": "sigmoid", "special_expm1": "expm1", "special_log1p": "log1p",
    "special_log_softmax": "log_softmax", "special_softmax": "softmax", "subtract": "sub", "true_divide": "div",
    "unsafe_chunk": "chunk", "unsafe_split": "split",
}  # fmt: skip
"""Operators that are others by another name, with the same overloads and arguments."""

_WITH_PLACES: Final = (
    "adaptive_max_pool1d.default", "adaptive_max_pool2d.default", "adaptive_max_pool3d.default",
    "max_pool1d_with_indices.default", "max_pool2d_with_indices.default", "max_pool3d_with_indices.default",
)  # fmt: skip
"""Operators that return the values and the places they were found at."""
_EXPANSIONS: Final = ("aten.expand.default", "aten.expand_as.default")
_OF_TWO: Final = tuple(f"aten.{name}.Tensor" for name in ("add", "div", "mul", "sub"))


def canonical(program: Program) -> Program:
    """The same program in fewer words."""
    ops = (_rewritten(_renamed(op), program) for op in _without_places(program))
    return _without_expansions(dataclasses.replace(program, ops=tuple(ops)))


def _renamed(op: Op) -> Op:
    space, _, rest = op.target.partition(".")
    name, _, variant = rest.partition(".")
    in_place = name.endswith("_") and not name.endswith("__")
    plain = name[:-1] if in_place else name
    if space != "aten" or plain not in _ALIASES:
        return op
    return dataclasses.replace(op, target=f"aten.{_ALIASES[plain]}{'_' if in_place else ''}.{variant}")


def _without_places(program: Program) -> list[Op]:
    """Pooling whose places nobody takes returns its values alone."""
    pools = {op.result for op in program.ops if op.target.removeprefix("aten.") in _WITH_PLACES}
    read = Counter(value.name for op in program.ops for value in op.values)
    values: dict[str, list[str]] = defaultdict(list)
    for op in program.ops:
        source = op.arguments.get("0")
        if op.target == "operator.getitem" and isinstance(source, ValueRef) and source.name in pools:
            read[source.name] -= 1
            if op.arguments["1"] == 0:
                values[source.name].append(op.result)
            elif read[op.result] or op.result in program.outputs:
                values[source.name] += ["", ""]  # the places are taken
    alone = {name: found[0] for name, found in values.items() if len(found) == 1 and not read[name]}
    result: list[Op] = []
    for op in program.ops:
        source = op.arguments.get("0")
        if op.result in alone:
            target = op.target.replace("_with_indices", "")
            result.append(dataclasses.replace(op, target=target, result=alone[op.result]))
        elif op.target != "operator.getitem" or not isinstance(source, ValueRef) or source.name not in alone:
            result.append(op)
    return result


def _without_expansions(program: Program) -> Program:
    """What is spread to the sizes of what it meets meets it as it is: arithmetic spreads it itself.

    ``x / norm.expand_as(x)`` is ``x / norm``, and no size of ``x`` is written into it.
    """
    readers: dict[str, list[Op]] = defaultdict(list)
    for op in program.ops:
        for value in op.values:
            readers[value.name].append(op)
    spread = {
        op.result: op.arguments["self"]
        for op in program.ops
        if op.target in _EXPANSIONS
        and op.result not in program.outputs
        and program.sizes.get(op.result)
        and all(_spreads_itself(reader, op.result, program) for reader in readers[op.result])
    }
    if not spread:
        return program
    ops = [
        dataclasses.replace(op, arguments={name: _put(value, spread) for name, value in op.arguments.items()})
        for op in program.ops
        if op.result not in spread
    ]
    return dataclasses.replace(program, ops=tuple(ops))


def _spreads_itself(op: Op, name: str, program: Program) -> bool:
    """Whether an operation of two values takes, beside the one of this name, one that has its sizes already."""
    others = [value for value in op.values if value.name != name]
    sizes = program.sizes[name]
    return (
        op.target in _OF_TWO
        and UNKNOWN not in sizes
        and len(others) == 1
        and program.sizes.get(others[0].name) == sizes == program.sizes.get(op.result)
    )


def _put(value: Any, instead: Mapping[str, Any]) -> Any:
    return instead.get(value.name, value) if isinstance(value, ValueRef) else value


# --- operators spelt with others ---------------------------------------------------------------------------------


def _rewritten(op: Op, program: Program) -> Op:
    base, _, variant = op.target.rpartition(".")
    rewrite = _REWRITES.get(base)
    return op if rewrite is None else rewrite(op, program, variant)


def _rank(program: Program, value: Any) -> int | None:
    sizes = program.sizes_of(value)
    return None if sizes is None else len(sizes)


def _to(op: Op, target: str, **arguments: Any) -> Op:
    return dataclasses.replace(op, target=target, arguments=arguments)


def _swap(op: Op, program: Program, variant: str) -> Op:
    """``swapaxes`` and ``swapdims``, whose arguments have names of their own."""
    source, first, second = op.arguments.values()
    return _to(op, "aten.transpose.int", self=source, dim0=first, dim1=second)


def _turned(op: Op, program: Program, variant: str) -> Op:
    """The last two dimensions exchanged: ``mT``, and of real numbers ``mH`` and ``adjoint``."""
    return _to(op, "aten.transpose.int", self=op.arguments["self"], dim0=-2, dim1=-1)


def _side_by_side(dimension: int) -> Callable[[Op, Program, str], Op]:
    def rewrite(op: Op, program: Program, variant: str) -> Op:
        """Of rows, ``hstack`` joins the first dimension; of all else, the second."""
        tensors = op.arguments["tensors"]
        rank = _rank(program, tensors[0])
        return op if rank is None or rank <= dimension else _to(op, "aten.cat.default", tensors=tensors, dim=dimension)

    return rewrite


def _tile(op: Op, program: Program, variant: str) -> Op:
    source, counts = op.arguments["self"], list(op.arguments["dims"])
    rank = _rank(program, source)
    return (
        op if rank is None else _to(op, "aten.repeat.default", self=source, repeats=[1] * (rank - len(counts)) + counts)
    )


def _like_another(op: Op, program: Program, variant: str) -> Op:
    """``view_as`` and ``reshape_as``: the sizes are known."""
    sizes = program.sizes.get(op.result)
    if sizes is None or UNKNOWN in sizes:
        return op
    return _to(op, "aten.reshape.default", self=op.arguments["self"], shape=list(sizes))


def _indexed(op: Op, program: Program, variant: str) -> Op:
    """A list along one dimension picks from it."""
    source, indices = op.arguments["self"], op.arguments["indices"]
    given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    if len(given) != 1:
        return op
    ((dim, index),) = given
    whole = program.dtypes.get(index.name) in (torch.int32, torch.int64)
    return (
        _to(op, "aten.index_select.default", self=source, dim=dim, index=index)
        if whole and _rank(program, index) == 1
        else op
    )


def _cut(dimension: int | None) -> Callable[[Op, Program, str], Op]:
    def rewrite(op: Op, program: Program, variant: str) -> Op:
        """``tensor_split``, ``hsplit`` and ``dsplit`` into parts whose sizes are known."""
        source = op.arguments["self"]
        dim = op.arguments.get("dim", 0) if dimension is None else dimension
        sizes = program.sizes_of(source) or ()
        if not -len(sizes) <= dim < len(sizes) or (size := sizes[dim]) < 0:
            return op
        given = op.arguments.get("indices", op.arguments.get("sections"))
        if isinstance(given, int):
            small, larger = divmod(size, given)
            parts = [small + 1] * larger + [small] * (given - larger)
        elif isinstance(given, list | tuple) and all(isinstance(place, int) for place in given):
            places = [min(place % size if place < 0 else place, size) for place in given]
            parts = [max(end - start, 0) for start, end in zip([0, *places], [*places, size], strict=True)]
        else:
            return op
        return _to(op, "aten.split_with_sizes.default", self=source, split_sizes=parts, dim=dim)

    return rewrite


_REWRITES: Final[Mapping[str, Callable[[Op, Program, str], Op]]] = {
    "aten.adjoint": _turned,
    "aten.dsplit": _cut(2),
    "aten.dstack": _side_by_side(2),
    "aten.hsplit": _cut(1),
    "aten.hstack": _side_by_side(1),
    "aten.index": _indexed,
    "aten.mH": _turned,
    "aten.mT": _turned,
    "aten.reshape_as": _like_another,
    "aten.swapaxes": _swap,
    "aten.swapdims": _swap,
    "aten.tensor_split": _cut(None),
    "aten.tile": _tile,
    "aten.view_as": _like_another,
}
"""Operator without its overload → rewriting."""
