"""The contract of a layer kind: all the toolkit must know of a kind of torch's own layers, said in one place.

A plugin's layer says the same of itself by deriving from ``Leaf``; torch's classes cannot, so a ``LayerKind`` speaks
for them. The engines (capture, shapes, cost, coupling, reading and writing ONNX) ask it and know no class by name.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, fx, nn

from compressor.graph.flow.treatments import Treatment
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer

Capture = Callable[[Call], Layer | None]
"""The layer that computes what an operation of ``torch.export`` computes, bit for bit; None where there is none."""
ShapeRule = Callable[[Any, Shape], Shape]
"""``rule(layer, sample)``: the shape of one output sample. Raises ``GraphError`` where the layer does not take it."""
MacRule = Callable[[Any, Shape], int]
"""``rule(layer, sample)``: multiply-accumulates for one sample."""
Emit = Callable[[GraphBuilder, Any, Operand], OnnxValue]
"""``rule(builder, layer, operand)`` writes what the layer computes in eval mode and returns the resulting value."""
Read = Callable[[Node], fx.Node]
"""What an ONNX operator becomes: a call of a layer, with functions around it where it says more than the layer can."""


class Integers(enum.Enum):
    """How a layer passes values that are held to steps, in ONNX Runtime."""

    MOVES = "every value it gives is one of those it takes, or 0"
    COMPUTES = "it has an integer form"
    WEIGHS = "it has an integer form once its weights are held to steps, too"


@dataclass(frozen=True)
class LayerKind:
    """One kind of layer. What has no default must be answered, with None where there is no such form.

    Invariant: shape, MACs, treatment and ONNX form describe exactly what the ``forward`` of the classes computes in
    eval mode.
    """

    classes: tuple[type[nn.Module], ...]
    """torch's classes of this kind. A subclass that inherits their ``forward`` is one of them."""
    captured: Mapping[str, Capture]
    """Operators of ``torch.export`` that become this kind, without their overload: ``aten.relu``."""
    shape: ShapeRule | None
    """None: the layer is run on zeros."""
    macs: MacRule | None
    """None: it has none, as biases, normalisation, activations and pooling."""
    treatment: Treatment | None
    """None: what it does to channels is not known, and none that reach it can be chosen."""
    emit: Emit | None
    """None: it has no ONNX form, and export refuses it."""
    read: Mapping[str, Read]
    """ONNX operators that become this kind."""
    tensors: tuple[str, ...] = ()
    """Attributes that hold weights and statistics."""
    keep_outputs: Callable[[Any, Tensor], None] | None = None
    """``keep(layer, index)`` leaves it with the output channels ``index``, some perhaps repeated; None: it has none to
    lose. Of channelwise layers the inputs follow. Raises ``Refusal``.
    """
    keep_inputs: Callable[[Any, Tensor, Tensor], None] | None = None
    """``keep(layer, index, share)`` leaves it with the input channels ``index``, the weights of each times its
    share.
    """
    fold_affine: Callable[[Any, Tensor, Tensor, int], nn.Module | None] | None = None
    """``fold(layer, scale, shift, rank)``: a layer equal to ``scale · layer(x) + shift`` per channel, where a sample of
    its output has ``rank`` dimensions.
    """
    affine: Callable[[Any], tuple[Tensor, Tensor] | None] | None = None
    """``affine(layer)``: scale and shift per channel, where that is all it does in eval mode."""
    integers: Integers | None = None
    clips: bool = False
    """Whether it is nothing more where steps hold what it makes: a rectifier cuts off at their end."""

    @property
    def name(self) -> str:
        return ", ".join(kind.__name__ for kind in self.classes)

    @property
    def vanishes(self) -> bool:
        """Whether it is the identity in eval mode."""
        return self.emit is nothing


def nothing(b: GraphBuilder, layer: nn.Module, x: Operand) -> OnnxValue:
    """The ONNX form of a layer that vanishes at inference."""
    return x.value


NOT_CAPTURED: Final[Mapping[str, Capture]] = {}
"""``torch.export`` has no operator of its own for it: it stays the functions that it is made of."""
NOT_READ: Final[Mapping[str, Read]] = {}
"""ONNX has no operator of its own for it."""
