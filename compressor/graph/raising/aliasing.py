"""Turning in-place operations into plain ones: which values are one tensor, and where that would change a result.

``y = relu_(x)`` makes ``y`` another name of ``x``: whoever reads ``x`` later reads the new value. With one name for
both, the plain ``relu`` computes the same, unless a view of ``x`` made before is read after: that is refused.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict

import torch

from compressor.errors import CaptureError
from compressor.graph.traced.program import Op, Program, first_value, renamed, split_target

_MAY_ALIAS = ("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout", "aten.feature_alpha_dropout")
"""Operators that hand their input through in eval mode, though their schemas do not say so."""


def overload(target: str) -> torch._ops.OpOverload | None:
    """The operator ``aten.name.overload``; None when it is not aten's. Call it for names on an allow-list only."""
    space, _, rest = target.partition(".")
    name, _, variant = rest.partition(".")
    packet = getattr(torch.ops.aten, name, None) if space == "aten" else None
    found = getattr(packet, variant, None)
    return found if isinstance(found, torch._ops.OpOverload) else None


def is_in_place(op: Op) -> bool:
    """Whether the operation writes into its first argument."""
    operator = overload(op.target)
    if operator is None or not operator._schema.arguments:
        return False
    alias = operator._schema.arguments[0].alias_info
    return alias is not None and alias.is_write


def _is_view(op: Op) -> bool:
    if op.target == "operator.getitem" or op.target.rpartition(".")[0] in _MAY_ALIAS:
        return True
    operator = overload(op.target)
    return operator is not None and any(returned.alias_info is not None for returned in operator._schema.returns)


def without_writes(program: Program) -> Program:
    """The same program of plain operations: who reads a tensor after a write reads what the operation returned.

    Raises ``CaptureError`` where a plain operation instead of an in-place one would change a result.
    """
    aliases = _Aliases(program)
    if not aliases.identity:
        return program
    newest: dict[str, str] = {}

    def now(name: str) -> str:
        tensor = aliases.tensor(name)
        return newest.get(tensor, tensor)

    ops = []
    for op in program.ops:
        arguments = {name: renamed(value, now) for name, value in op.arguments.items()}
        target = op.target
        if op.result in aliases.identity and (tensor := aliases.tensor(op.result)) not in program.state:
            newest[tensor] = op.result
            target = split_target(op.target)[2]
        ops.append(dataclasses.replace(op, target=target, arguments=arguments))
    return dataclasses.replace(program, ops=tuple(ops), outputs=tuple(map(now, program.outputs)))


class _Aliases:
    def __init__(self, program: Program) -> None:
        self.identity: dict[str, str] = {}
        self._storage: dict[str, str] = {}
        self._sharing: dict[str, list[str]] = defaultdict(list)
        self._born: dict[str, int] = {}
        self._last_read: dict[str, int] = {}
        writes = [index for index, op in enumerate(program.ops) if self._follow(index, op)]
        for output in program.outputs:
            self._last_read[self.tensor(output)] = len(program.ops)
        for index in writes:
            self._check(index, program.ops[index], program)

    def tensor(self, name: str) -> str:
        return self.identity.get(name, name)

    def _follow(self, index: int, op: Op) -> bool:
        """Note what the operation reads and makes; True where it writes."""
        for value in op.values:
            self._last_read[self.tensor(value.name)] = index
        source = first_value(op)
        if source is not None and is_in_place(op):
            self.identity[op.result] = self.tensor(source.name)
            return True
        self._born[op.result] = index
        if source is not None and _is_view(op):
            base = self.tensor(source.name)
            storage = self._storage.setdefault(base, base)
            if not self._sharing[storage]:
                self._sharing[storage].append(base)
            self._storage[op.result] = storage
            self._sharing[storage].append(op.result)
        return False

    def _check(self, index: int, op: Op, program: Program) -> None:
        name = self.tensor(op.result)
        if program.state.get(name, "").endswith("num_batches_tracked"):
            return  # BatchNorm's own counter
        if name in program.state:
            raise CaptureError(f"it changes its own state {program.state[name]!r} in place ({op.target})")
        for other in self._sharing.get(self._storage.get(name, name), ()):
            seen_after = self._last_read.get(other, -1) > index and self._born.get(other, -1) < index
            if other != name and seen_after:
                where = f" in {op.scope.path}" if op.scope.path else ""
                raise CaptureError(f"{op.target}{where} changes a tensor in place while a view of it is in use")
