"""What a network takes and what it returns: names, shapes and types that its owner knows, kept in every file.

Inputs and outputs are flat and in order. How the owner's network nested its outputs (in tuples, dicts, records) is kept
beside them as a ``Nesting``, so that a loss written for that network sees what it was written for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from compressor.errors import InputError
from compressor.graph.leaf import Shape
from compressor.graph.nested import Inputs
from compressor.graph.nesting import TENSOR, Nesting
from compressor.graph.normalisation import Normalisation


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, and the shape of one sample (without the batch dimension)."""

    name: str
    shape: Shape
    dtype: torch.dtype = torch.float32

    @property
    def type(self) -> str:
        """Name of the type: ``float32``."""
        return str(self.dtype).removeprefix("torch.")

    def zeros(self, batch: int, device: torch.device | str = "cpu") -> Tensor:
        """A batch ``(batch, *shape)`` of zeros."""
        return torch.zeros((batch, *self.shape), dtype=self.dtype, device=device)

    def random(self, batch: int, generator: torch.Generator, device: torch.device | str = "cpu") -> Tensor:
        """A batch ``(batch, *shape)`` as such inputs may be: normal values, bytes over their range, 0 and 1 otherwise.

        Whole numbers may be places in a table of any length, flags or counts: 0 and 1 are fit for all.
        """
        size = (batch, *self.shape)
        if self.dtype.is_floating_point:
            return torch.randn(size, generator=generator).to(device, self.dtype)
        highest = {torch.uint8: 256, torch.int8: 128}.get(self.dtype, 2)
        return torch.randint(0, highest, size, generator=generator).to(device, self.dtype)


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a network."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    """Flat, in order; not described yet where there are none. No two names of inputs and outputs are the same."""
    nesting: Nesting = TENSOR
    """How the flat outputs were nested."""
    normalisation: Normalisation | None = None
    """How pixels become the first input; None where that is not known."""

    @classmethod
    def of(cls, name: str, shape: Shape) -> Signature:
        """One input of real numbers, one output that ``propagate`` describes."""
        return cls((TensorSpec(name, tuple(shape)),))

    @property
    def input(self) -> TensorSpec:
        """The only input, or the first: the image, for code that is about images."""
        return self.inputs[0]

    @property
    def output(self) -> TensorSpec:
        """The only output. Raises ``InputError`` where there are several."""
        if len(self.outputs) != 1:
            names = ", ".join(spec.name for spec in self.outputs)
            raise InputError(f"the network has {len(self.outputs)} outputs ({names}) where one is expected")
        return self.outputs[0]

    # --- inputs --------------------------------------------------------------------------------------------------

    def tensors(self, inputs: Inputs) -> tuple[Tensor, ...]:
        """The inputs in order. Raises ``InputError`` where there are not as many as the network takes."""
        found = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
        if len(found) != len(self.inputs):
            names = ", ".join(spec.name for spec in self.inputs)
            raise InputError(f"{len(found)} tensors given where the network takes {len(self.inputs)} ({names})")
        return found

    def inputs_of(self, tensors: Sequence[Tensor]) -> Inputs:
        """Tensors in order as the network takes them: one alone, several as a tuple."""
        return tensors[0] if len(self.inputs) == 1 else tuple(tensors)

    def inputs_in(self, batch: Any) -> Inputs:
        """The inputs of a batch: what the network takes, alone or first in a pair with targets."""
        if isinstance(batch, Tensor):
            return batch
        several = len(self.inputs) > 1 and all(isinstance(part, Tensor) for part in batch)
        return tuple(batch) if several and len(batch) == len(self.inputs) else batch[0]

    def zeros(self, batch: int, device: torch.device | str = "cpu") -> Inputs:
        """A batch of zeros."""
        return self.inputs_of([spec.zeros(batch, device) for spec in self.inputs])

    def random(self, batch: int, seed: int = 0, device: torch.device | str = "cpu") -> Inputs:
        """A batch of seeded random inputs; see ``TensorSpec.random``."""
        generator = torch.Generator().manual_seed(seed)
        return self.inputs_of([spec.random(batch, generator, device) for spec in self.inputs])

    # --- outputs -------------------------------------------------------------------------------------------------

    def flatten(self, outputs: Any) -> tuple[Tensor, ...]:
        """What the network returned, as tensors in order. Raises ``InputError`` where it is nested otherwise."""
        return tuple(self.nesting.flatten(outputs))

    def nested(self, flat: Sequence[Any]) -> Any:
        """Tensors (or arrays) in order, nested as the owner's network returns them."""
        if len(flat) != self.nesting.count:
            raise InputError(f"{len(flat)} outputs given where the network has {self.nesting.count}")
        return self.nesting.build(iter(flat))


def unique(names: Sequence[str], taken: Sequence[str] = ()) -> Iterator[str]:
    """The names, with a number behind those that were there before: output, output_1, output_2."""
    used = set(taken)
    for name in names:
        number, fresh = 0, name
        while fresh in used:
            number += 1
            fresh = f"{name}_{number}"
        used.add(fresh)
        yield fresh
