"""Tensors made in ``forward``: what depends on neither input nor weights is computed once, and kept as a constant.

``zeros``, ``ones``, ``full``, ``arange``, ``eye``, ``linspace`` and whatever is made of them become buffers of the
network. One value per sample of the batch, as ``zeros_like(x)``, is kept for one sample and spread over the batch.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.raising.aliasing import overload
from compressor.graph.raising.functions import SAME
from compressor.graph.raising.pure import pure
from compressor.graph.traced.program import BATCH, Op, Program, ValueRef

MAX_CONSTANT: Final = 2**26
"""Numbers in the largest constant."""

_MAKERS: Final[Mapping[str, str]] = {
    **{name: name for name in ("arange", "eye", "full", "linspace", "ones", "scalar_tensor", "zeros")},
    **{name: name for name in ("hann_window", "hamming_window", "logspace", "tril_indices", "triu_indices")},
    **{f"{name}_like": name for name in ("zeros", "ones", "full")},
    **{f"new_{name}": name for name in ("zeros", "ones", "full")},
}
"""Operators that make a tensor out of sizes and numbers → the one that makes it for known sizes."""
_FILLED: Final[Mapping[str, Callable[[Op], float]]] = {
    "zeros": lambda op: 0,
    "ones": lambda op: 1,
    "full": lambda op: op.arguments["fill_value"],
}
"""Those that hold one number everywhere."""
_PLACING: Final = ("device", "layout", "pin_memory", "memory_format", "requires_grad")


def makes(target: str) -> str | None:
    """What an operator makes out of sizes and numbers alone: ``aten.zeros_like.default`` → ``zeros``."""
    space, _, rest = target.partition(".")
    return _MAKERS.get(rest.partition(".")[0]) if space == "aten" else None


def with_constants(program: Program) -> Program:
    """The program with such tensors as state. Raises ``CaptureError`` where one would be too large."""
    if not any(makes(op.target) for op in program.ops):
        return program
    return _Constants(program).program()


class _Constants:
    def __init__(self, program: Program) -> None:
        self.source = program
        self.known: dict[str, Tensor] = {}
        self.ops: list[Op] = []

    def program(self) -> Program:
        for op in self.source.ops:
            self._visit(op)
        read = {value.name for op in self.ops for value in op.values} | set(self.source.outputs)
        kept = {name: tensor for name, tensor in self.known.items() if name in read}
        taken = {*self.source.tensors, *self.source.state.values()}
        paths = {name: _free(f"constant_{name}", taken) for name in kept}
        return dataclasses.replace(
            self.source,
            ops=tuple(self.ops),
            state={**self.source.state, **paths},
            tensors={**self.source.tensors, **{paths[name]: tensor for name, tensor in kept.items()}},
            sizes={**self.source.sizes, **{name: tuple(tensor.shape) for name, tensor in kept.items()}},
            dtypes={**self.source.dtypes, **{name: tensor.dtype for name, tensor in kept.items()}},
        )

    def _visit(self, op: Op) -> None:
        kind, sizes = makes(op.target), self.source.sizes.get(op.result)
        fillable = kind in _FILLED and sizes is not None and all(size >= BATCH for size in sizes)
        if fillable and kind is not None and sizes is not None:
            self._fill(op, kind, sizes)
        elif kind is not None and not any(True for _ in op.values):
            self.known[op.result] = self._run(op, _maker(op))
        elif any(True for _ in op.values) and all(value.name in self.known for value in op.values):
            self._follow(op)
        else:
            self.ops.append(op)

    def _follow(self, op: Op) -> None:
        """An operation on constants alone."""
        operator = torch.ops.aten.clone.default if op.target in SAME else pure(op.target)
        result = None if operator is None else self._run(op, operator)
        if isinstance(result, Tensor):
            self.known[op.result] = result
        else:
            self.ops.append(op)

    def _dtype(self, op: Op) -> torch.dtype:
        return self.source.dtypes.get(op.result, torch.float32)

    def _filled(self, op: Op, kind: str, sizes: tuple[int, ...]) -> Tensor:
        _bounded(math.prod(sizes), op)
        number: Any = _FILLED[kind](op)
        return torch.full(sizes, number, dtype=self._dtype(op))

    def _fill(self, op: Op, kind: str, sizes: tuple[int, ...]) -> None:
        """One sample of it, expanded to the number of samples of the batch where it has one."""
        if BATCH not in sizes:
            self.known[op.result] = self._filled(op, kind, sizes)
            return
        one, count = f"{op.result}_one", f"{op.result}_batch"
        self.known[one] = self._filled(op, kind, tuple(1 if size == BATCH else size for size in sizes))
        wanted = [ValueRef(count) if size == BATCH else size for size in sizes]
        self.ops.append(Op("aten.sym_size.int", {"self": ValueRef(self.source.inputs[0]), "dim": 0}, count, op.scope))
        self.ops.append(Op("aten.expand.default", {"self": ValueRef(one), "size": wanted}, op.result, op.scope))

    def _run(self, op: Op, operator: torch._ops.OpOverload) -> Any:
        """The result of an operation on constants; its size is found first, which takes no memory."""
        given = {name: self._resolved(value) for name, value in op.arguments.items() if name not in _PLACING}
        leading = []
        for argument in operator._schema.arguments:
            if argument.kwarg_only or argument.name not in given:
                break
            leading.append(given.pop(argument.name))
        place = {"device": "meta"} if makes(op.target) else {}
        try:
            with torch.no_grad():
                expected = operator(*_on_meta(leading), **_on_meta(given), **place)
                for part in expected if isinstance(expected, list | tuple) else [expected]:
                    _bounded(part.numel() if isinstance(part, Tensor) else 0, op)
                return operator(*leading, **given)
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise CaptureError(f"operator {op.target} on constants fails ({reason})") from error

    def _resolved(self, argument: Any) -> Any:
        if isinstance(argument, ValueRef):
            return self.known[argument.name]
        if isinstance(argument, list | tuple):
            return [self._resolved(item) for item in argument]
        return argument


def _maker(op: Op) -> torch._ops.OpOverload:
    """The operator that makes a tensor. Raises ``CaptureError`` for an overload that torch does not have."""
    operator = overload(op.target)
    if operator is None or "out" in op.target.rpartition(".")[2]:
        raise CaptureError(f"operator {op.target[:80]} has no place in a network")
    return operator


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta")
    if isinstance(value, dict):
        return {name: _on_meta(item) for name, item in value.items()}
    return [_on_meta(item) for item in value] if isinstance(value, list) else value


def _bounded(count: int, op: Op) -> None:
    if count > MAX_CONSTANT:
        raise CaptureError(f"{op.target} makes a constant of {count} numbers; up to {MAX_CONSTANT} are kept")


def _free(path: str, taken: set[str]) -> str:
    """``path``, with underscores behind it where a tensor has that name."""
    for length in range(len(taken) + 1):
        candidate = path + "_" * length
        if candidate not in taken:
            taken.add(candidate)
            return candidate
    raise AssertionError("more names taken than there are")
