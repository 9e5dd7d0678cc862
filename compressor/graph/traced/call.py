"""One operation as the raising rules see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from compressor.graph.leaf import Shape
from compressor.graph.traced.program import Op, Program, Sizes, ValueRef, first_value, sample_sizes, values_in


@dataclass(frozen=True)
class Call:
    """An operation in its program."""

    op: Op
    program: Program

    def get(self, name: str, default: Any = None) -> Any:
        """An argument, by its name in the schema; a default where the program leaves it out."""
        return self.op.arguments.get(name, default)

    def has(self, *names: str) -> bool:
        """Whether one of these arguments is given and is not None."""
        return any(self.get(name) is not None for name in names)

    @property
    def source(self) -> ValueRef | None:
        """The tensor worked on: the first argument."""
        return first_value(self.op)

    @property
    def sizes(self) -> Sizes:
        """Sizes of the tensor worked on; empty where unknown."""
        return self.program.sizes_of(self.source) or ()

    @property
    def rank(self) -> int:
        return len(self.sizes)

    @property
    def sample(self) -> Shape | None:
        """Shape of one sample of the tensor worked on."""
        return sample_sizes(self.sizes)

    @property
    def result_sample(self) -> Shape | None:
        """Shape of one sample of the result."""
        return sample_sizes(self.program.sizes.get(self.op.result))

    @property
    def is_plain(self) -> bool:
        """Whether the first argument is the only value: all others are numbers and words."""
        rest = list(self.op.arguments.values())[1:]
        return self.source is not None and not any(True for argument in rest for _ in values_in(argument))


def spread(value: Any, count: int) -> tuple[Any, ...]:
    """A setting per dimension: one value stands for all of them."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    return values * count if len(values) == 1 else values
