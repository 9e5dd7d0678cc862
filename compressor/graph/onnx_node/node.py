"""One ONNX operator as the rule sees it that reads it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.leaf import Shape
from compressor.graph.onnx_node.quantities import Quantity
from compressor.graph.onnx_node.sizes import BATCH, UNKNOWN, Size, vector

if TYPE_CHECKING:
    from compressor.graph.onnx_in.state import State


@dataclass(frozen=True)
class Node:
    """An operator with its attributes and inputs; what it computes is added through the methods below."""

    operator: str
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    attributes: Mapping[str, Any]
    state: State

    # --- inputs --------------------------------------------------------------------------------------------------

    def given(self, position: int) -> bool:
        return position < len(self.inputs) and bool(self.inputs[position])

    def tensor(self, position: int = 0) -> fx.Node:
        """An input that depends on the data."""
        name = self.inputs[position] if self.given(position) else ""
        if name not in self.state.nodes:
            raise CaptureError(f"its input {position} is a constant or missing, where a batch of samples is expected")
        return self.state.nodes[name]

    def is_constant(self, position: int) -> bool:
        return self.given(position) and self.inputs[position] in self.state.constants

    def constant(self, position: int) -> Tensor:
        """An input that does not depend on the data."""
        if not self.is_constant(position):
            raise CaptureError(f"its input {position} must be a constant")
        return self.state.constants[self.inputs[position]]

    def integers(self, position: int, attribute: str) -> list[int] | None:
        """Integers that are an input in newer operator sets and an attribute in older ones."""
        if self.given(position) and self.inputs[position] in self.state.sizes:
            raise CaptureError(f"its {attribute} are calculated from the batch size")
        if self.given(position):
            return [int(value) for value in self.constant(position).reshape(-1).tolist()]
        value = self.attributes.get(attribute)
        return None if value is None else [int(item) for item in value]

    def sizes(self, position: int, attribute: str) -> list[Size]:
        """Sizes that are an input in newer operator sets and an attribute in older ones; the batch may be in them."""
        if self.given(position):
            return vector(self.state.sizes_in(self.inputs[position]))
        return list(self.attributes[attribute])

    def number(self, position: int, attribute: str, default: float) -> float:
        """A number that is an input in newer operator sets and an attribute in older ones."""
        if not self.given(position):
            return float(self.attributes.get(attribute, default))
        value = self.constant(position)
        if value.numel() != 1:
            raise CaptureError(f"{value.numel()} numbers for its {attribute}")
        return float(value.item())

    def quantity(self, position: int = 0) -> Quantity | None:
        """How an input is quantized; None for plain numbers."""
        return self.state.quantities.get(self.inputs[position])

    def derived(self, position: int, tensor: Tensor, about: str) -> str:
        """The name of a constant made of one of the inputs."""
        name = f"{self.inputs[position]} {about}"
        while name in self.state.constants and not torch.equal(self.state.constants[name], tensor):
            name += "'"
        self.state.constants.setdefault(name, tensor.contiguous())
        return name

    def fresh_constant(self, values: Sequence[float] | Tensor, about: str) -> str:
        """The name of a constant made for this node."""
        name = f"{self.outputs[0]} {about}"
        self.state.constants[name] = values if isinstance(values, Tensor) else torch.tensor(values)
        return name

    def named(self, value: fx.Node, about: str) -> str:
        """The name of a value made for this node."""
        name = f"{self.outputs[0]} {about}"
        self.state.nodes[name] = value
        return name

    def replaced(self, inputs: Sequence[str]) -> Node:
        """The same node with other inputs."""
        return replace(self, inputs=inputs)

    def sample(self, position: int = 0) -> Shape:
        """Shape of one sample of an input."""
        shape: Shape | None = self.tensor(position).meta.get("shape")
        if shape is None:
            raise CaptureError(f"its input {position} holds no batch of samples")
        return shape

    def whole(self, position: int = 0) -> list[Size]:
        """All sizes of an input as the file has it, the batch where it is there."""
        sample, batch = self.sample(position), self.batch_axis(position)
        if joined := self.joined(position):
            return [*sample[:batch], UNKNOWN, *sample[batch + len(joined) - 1 :]]
        return [*sample[:batch], BATCH, *sample[batch:]]

    def batch_axis(self, position: int = 0) -> int:
        """Which dimension of an input is the batch, as the file has it; its node has the batch first, always."""
        return self.state.batch_axes.get(self.inputs[position], 0)

    def joined(self, position: int = 0) -> tuple[Size, ...]:
        """The sizes that an input has joined into one dimension, the batch among them; mostly none."""
        return self.state.joined.get(self.inputs[position], ())

    def axis(self, value: int, position: int = 0) -> int:
        """A dimension of an input, counted from the front, as its node has it; the batch is refused."""
        rank, batch = len(self.whole(position)), self.batch_axis(position)
        if not -rank <= value < rank or value % rank == batch:
            raise CaptureError(f"it works along dimension {value}, which is the batch or not there")
        apart = max(len(self.joined(position)) - 1, 0)
        return value % rank + 1 if value % rank < batch else value % rank + apart

    def aligned(self, position: int, rank: int, batch: int) -> fx.Node | float:
        """An operand of arithmetic, between values of this rank whose batch is dimension ``batch``."""
        if batch == 0 or not self.is_constant(position) or self.constant(position).numel() == 1:
            return self.state.operand(self.inputs[position])
        value = self.constant(position)
        full = value.reshape(*[1] * (rank - value.dim()), *value.shape)
        if full.shape[batch] != 1:
            raise CaptureError("a constant that differs between samples")
        return self.state.operand(self.derived(position, full.movedim(batch, 0), "with the batch first"))

    # --- results -------------------------------------------------------------------------------------------------

    def leaf(self, module: nn.Module, *inputs: fx.Node, **tensors: int) -> fx.Node:
        """A call of a module; ``tensors`` say which input each of its attributes is, unchanged."""
        return self.state.leaf(
            (self.name, self.operator), module, inputs, {name: self.inputs[at] for name, at in tensors.items()}
        )

    def apply(self, function: Callable[..., Any], *arguments: Any) -> fx.Node:
        """A call of a function."""
        return self.state.apply(function, arguments)

    def rows(self, value: fx.Node) -> fx.Node:
        """Each sample as one row."""
        return self.leaf(nn.Flatten(1), value)

    def reshaped(self, value: fx.Node, sample: Shape) -> fx.Node:
        """The values of each sample in another shape."""
        before: Shape = value.meta["shape"]
        if math.prod(before) != math.prod(sample):
            raise CaptureError(f"it moves values between samples, from {before} to {sample}")
        if before == sample:
            return value
        return self.rows(value) if before and len(sample) == 1 else self.apply(torch.reshape, value, (-1, *sample))
