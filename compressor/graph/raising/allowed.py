"""Which operators have a place in a network: those with a rule, and those that are pure functions."""

from __future__ import annotations

from compressor.errors import CaptureError
from compressor.graph.layers.table import CAPTURED
from compressor.graph.raising.functions import ARITHMETIC, CASTS, DROPPED, SAME, SIZE_ARITHMETIC
from compressor.graph.raising.pure import pure
from compressor.graph.traced.program import Op, Program, split_target

_FUNCTIONS = frozenset({"aten.cat.default", "aten.sym_size.int"}) | DROPPED | SAME | CASTS
_RANDOM = ("aten.rand", "aten.bernoulli", "aten.normal", "aten.multinomial", "aten.poisson", "aten.uniform")
_FAMILIES = frozenset({*CAPTURED, *ARITHMETIC})


def refuse_unknown(op: Op, program: Program) -> None:
    """Raise ``CaptureError`` for an operator that is on no list, before anything is looked up by its name."""
    base, _, plain = split_target(op.target)
    if base in _FAMILIES or plain in _FUNCTIONS or op.target in SIZE_ARITHMETIC or pure(plain) is not None:
        return
    if any(name in base for name in _RANDOM):
        raise CaptureError(f"operator {op.target[:80]}{source_place(op)} draws random numbers even in eval mode")
    state = program.path_of(next(iter(op.arguments.values()), None))
    writes = op.target.rpartition(".")[0] == f"{base}_"
    if writes and state:
        raise CaptureError(f"it changes its own state {state!r} in place ({op.target})")
    reason = "changes a tensor in place, which a network cannot hold" if writes else "has no place in a network"
    raise CaptureError(f"operator {op.target[:80]}{source_place(op)} {reason}")


def source_place(op: Op) -> str:
    """Where in the source, for ends of messages."""
    return f" (in {op.scope.path})" if op.scope.path else ""
