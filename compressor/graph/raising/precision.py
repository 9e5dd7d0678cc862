"""Networks are computed and trained in single precision: others are converted when captured, and it is said."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import torch
from torch import Tensor

from compressor.graph.traced.program import Program

_OTHERS: Final = frozenset({torch.float16, torch.bfloat16, torch.float64})


def in_single_precision(program: Program) -> tuple[Program, tuple[str, ...]]:
    """The program with all real numbers in float32, where its parameters are not; and what to tell people."""
    weights = {program.tensors[path].dtype for path in program.parameters} & _OTHERS
    taken = {program.dtypes[name] for name in program.inputs if name in program.dtypes} & _OTHERS
    if not weights and not taken:
        return program, ()
    held: dict[int, Tensor] = {}
    for tensor in program.tensors.values():
        if tensor.dtype in _OTHERS and id(tensor) not in held:
            held[id(tensor)] = tensor.detach().float().requires_grad_(tensor.requires_grad)
    converted = dataclasses.replace(
        program,
        ops=tuple(dataclasses.replace(op, arguments=_converted(dict(op.arguments))) for op in program.ops),
        tensors={path: held.get(id(tensor), tensor) for path, tensor in program.tensors.items()},
        dtypes={name: torch.float32 if kind in _OTHERS else kind for name, kind in program.dtypes.items()},
    )
    if not weights:
        return converted, (f"it takes {_named(taken)}: the network takes float32 and computes in it",)
    return converted, (f"its weights are in {_named(weights)}: they are computed with, trained and written in float32",)


def _named(kinds: set[torch.dtype]) -> str:
    return " and ".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))


def _converted(argument: Any) -> Any:
    if isinstance(argument, dict):
        return {name: _converted(item) for name, item in argument.items()}
    if isinstance(argument, list | tuple):
        return [_converted(item) for item in argument]
    return torch.float32 if isinstance(argument, torch.dtype) and argument in _OTHERS else argument
