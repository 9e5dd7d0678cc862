"""Linear layers whose input has the batch elsewhere, as attention with the sequence first has it, taken batch first.

A linear layer looks at the last dimension alone, so that it commutes with whatever moves the others:

    linear(x)  of (L, N, E)                    transpose → linear of (N, L, E) → transpose
    linear(view(x))  of (L·N, E)               view of the linear layer of x, where x keeps E
    linear(relu(view(x)))                      the same, activations and dropout between them on x too
    view(linear(x))  from (L·N, E)             the linear layer of the view, where that keeps the outputs

The sums are those of the source. What is neither stays a call of a function, which plugins refuse with the reason.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from compressor.graph.traced.program import BATCH, Op, Program, Sizes, ValueRef, first_value, split_target

_LINEAR: Final = "aten.linear.default"
_VIEWS: Final = ("aten.view.default", "aten.reshape.default")
_POINTWISE: Final = frozenset(
    f"aten.{name}"
    for name in (
        "alpha_dropout", "celu", "dropout", "elu", "feature_dropout", "gelu", "hardsigmoid", "hardswish", "hardtanh",
        "leaky_relu", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softplus", "tanh",
    )
)  # fmt: skip
"""What may stand between two layers on rows: it takes each number alone."""


def batch_first(program: Program) -> Program:
    """The same program, with its linear layers on batches of samples wherever they can be."""
    if not any(op.target == _LINEAR for op in program.ops):
        return program
    return _Moving(program).moved()


class _Moving:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.makers = {op.result: op for op in program.ops}
        self.readers = Counter(value.name for op in program.ops for value in op.values)
        self.readers.update(program.outputs)
        self.only_reader = {value.name: op for op in program.ops for value in op.values}
        self.sizes, self.dtypes = dict(program.sizes), dict(program.dtypes)
        self.ops: list[Op] = []
        self.replaced: set[str] = set()

    def moved(self) -> Program:
        for op in self.program.ops:
            if op.result not in self.replaced:
                self.ops += self.linear(op) if op.target == _LINEAR else [op]
        return dataclasses.replace(self.program, ops=tuple(self.ops), sizes=self.sizes, dtypes=self.dtypes)

    def linear(self, op: Op) -> list[Op]:
        source, weight = first_value(op), op.arguments.get("weight")
        shape = self.program.tensors[path].shape if (path := self.program.path_of(weight)) else ()
        given = self.sizes.get(source.name, ()) if source else ()
        if source is None or len(shape) != 2 or not given or given[0] == BATCH:
            return [op]
        if place(given) is not None:
            return self.taken_first(op, source, given)
        return self.before_its_view(op, source, *shape) or self.behind_its_view(op, source, *shape) or [op]

    def taken_first(self, op: Op, source: ValueRef, given: Sizes) -> list[Op]:
        """Between two transpositions where the batch is not the first dimension."""
        if (batch := place(given)) == 0:
            return [dataclasses.replace(op, arguments={**op.arguments, _first(op): source})]
        outputs = self.program.tensors[self.program.state[op.arguments["weight"].name]].shape[0]
        moved = [*given]
        moved[0], moved[batch or 0] = moved[batch or 0], moved[0]
        there = self.made(op, "batch_first", tuple(moved))
        result = self.made(op, "batch_first_result", (*moved[:-1], outputs))
        turn = {"dim0": 0, "dim1": batch}
        return [
            Op("aten.transpose.int", {"self": source, **turn}, there.name, op.scope),
            dataclasses.replace(op, arguments={**op.arguments, _first(op): there}, result=result.name),
            Op("aten.transpose.int", {"self": result, **turn}, op.result, op.scope),
        ]

    def before_its_view(self, op: Op, source: ValueRef, outputs: int, inputs: int) -> list[Op]:
        """The view of what the layer makes of what the view was taken of."""
        between = self.pointwise_before(source)
        view = self.makers.get(_source(between[0]) if between else source.name)
        inner = first_value(view) if view is not None and view.target in _VIEWS else None
        given = self.sizes.get(inner.name, ()) if inner else ()
        if view is None or inner is None or place(given) is None or given[-1] != inputs:
            return []
        ops: list[Op] = []
        for step in between:
            before, inner = inner, self.made(step, "rows", given)
            ops.append(dataclasses.replace(step, arguments={**step.arguments, _first(step): before}, result=inner.name))
        result = self.made(op, "rows", (*given[:-1], outputs))
        layer = dataclasses.replace(op, arguments={**op.arguments, _first(op): inner}, result=result.name)
        again = self.makers[op.result] = Op(view.target, _ending(view, result, outputs), op.result, view.scope)
        return [*ops, *self.taken_first(layer, inner, given), again]

    def pointwise_before(self, source: ValueRef) -> list[Op]:
        """The activations just before a value which nothing else reads, the first one first."""
        found: list[Op] = []
        name = source.name
        while (op := self.makers.get(name)) and split_target(op.target)[0] in _POINTWISE and self.readers[name] == 1:
            found.insert(0, op)
            name = _source(op)
        return found

    def behind_its_view(self, op: Op, source: ValueRef, outputs: int, inputs: int) -> list[Op]:
        """The layer of the view that is taken of what the layer makes, where nothing else reads that."""
        view = self.only_reader.get(op.result)
        seen = self.sizes.get(view.result, ()) if view is not None and view.target in _VIEWS else ()
        if view is None or self.readers[op.result] != 1 or place(seen) is None or seen[-1] != outputs:
            return []
        if not self.known_before(view, op):
            return []
        given = (*seen[:-1], inputs)
        rows = self.made(op, "rows", given)
        self.replaced.add(view.result)
        layer = dataclasses.replace(op, arguments={**op.arguments, _first(op): rows}, result=view.result)
        early = Op(view.target, _ending(view, source, inputs), rows.name, view.scope)
        return [early, *self.taken_first(layer, rows, given)]

    def known_before(self, view: Op, op: Op) -> bool:
        """Whether the sizes that the view takes are computed before the layer."""
        order = {each.result: index for index, each in enumerate(self.program.ops)}
        own = [value.name for value in view.values if value.name != op.result]
        return all(order.get(name, -1) < order[op.result] for name in own)

    def made(self, op: Op, name: str, sizes: Sizes) -> ValueRef:
        value = f"{op.result}_{name}"
        self.sizes[value] = sizes
        if op.result in self.dtypes:
            self.dtypes[value] = self.dtypes[op.result]
        return ValueRef(value)


def place(sizes: Sizes) -> int | None:
    """The dimension that is the batch, in a value of at least two others whose sizes are fixed; not the last."""
    others = [size for size in sizes if size != BATCH]
    if len(sizes) < 3 or len(others) != len(sizes) - 1 or min(others) < 0 or sizes[-1] == BATCH:
        return None
    return sizes.index(BATCH)


def _first(op: Op) -> str:
    return next(iter(op.arguments))


def _source(op: Op) -> str:
    value = first_value(op)
    return value.name if value else ""


def _ending(view: Op, source: ValueRef, last: int) -> Mapping[str, Any]:
    """The view's arguments on another value, with another size of the last dimension."""
    (name, _), (sizes, listed), *rest = view.arguments.items()
    ended = [*listed[:-1], listed[-1] if listed[-1] == -1 else last]
    return {name: source, sizes: ended, **dict(rest)}
