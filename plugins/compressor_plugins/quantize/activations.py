"""Smooth activations in integers: each as a gate times its input, both held to steps.

    hard-sigmoid(x) = g / 6        hard-swish(x) = x · (g / 6)        g = clip(x + 3, 0, 6)        SiLU(x) = x · σ(x)

The gate of the hard ones is nothing but other steps: with s = 6/255

    q = clip(round(x / s) + 128, 0, 255),    g ≈ q · s

which is x + 3 clipped to 0…6, up to half a step, since 3 = 127.5 · s. In the file that is a LeakyRelu of slope 1
between two kinds of steps, which ONNX Runtime does by a table of 256 bytes; σ is a table, too, and the product one of
integers. As floats each would cost two conversions of every value.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence

from torch import Tensor, fx, nn

from compressor.graph.editor import Editor
from compressor.graph.leaf import OnnxBuilder, OnnxValue
from compressor_plugins.quantize.value import SteppedValue

_CENTRE = 128
_WIDTH = 6.0


class HardGate(SteppedValue):
    """clip(x + 3, 0, 6) / 6 in 256 steps, which are fixed."""

    def __init__(self) -> None:
        super().__init__(trainable=False)
        self.fix(_WIDTH, _CENTRE)

    @property
    def handed_on(self) -> float:
        """1/255, to the bit as ``alike`` has it: only then does ONNX Runtime move bytes."""
        return self.alike().handed_on

    def alike(self) -> SteppedValue:
        return SigmoidGate()

    def forward(self, x: Tensor) -> Tensor:
        if self.paused:
            return (x + 3).clamp(0, _WIDTH) / _WIDTH
        return (super().forward(x) / self.step.detach() + _CENTRE) * self.handed_on

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        passed = builder.op("LeakyRelu", [inputs[0]], alpha=1.0)
        whole = builder.op("QuantizeLinear", [passed, *self.grid(builder, float(self.step.detach()), _CENTRE)])
        return builder.op("DequantizeLinear", [whole, *self.grid(builder, self.handed_on, 0)])


class SigmoidGate(SteppedValue):
    """A value between 0 and 1 in 256 steps, which are fixed."""

    def __init__(self) -> None:
        super().__init__(trainable=False)
        self.fix(1.0, 0)


def opens(leaf: nn.Module | None) -> bool:
    """Whether an activation is one of these."""
    return type(leaf) in (nn.Hardsigmoid, nn.Hardswish, nn.SiLU)


def open_up(editor: Editor, node: fx.Node, leaf: nn.Module, fresh: Callable[[], SteppedValue]) -> None:
    """Put the integer form in the place of the activation that ``node`` calls; ``fresh`` makes a holder of values."""
    (value,) = node.all_input_nodes
    if type(leaf) is nn.SiLU:
        gate = editor.append(SigmoidGate(), [editor.append(nn.Sigmoid(), [value], "sigmoid")], "gate")
    else:
        gate = editor.append(HardGate(), [value], "gate")
    if type(leaf) is nn.Hardsigmoid:
        editor.redirect(node, gate)
        return
    product = editor.append(operator.mul, [value, gate], "gated")
    editor.redirect(node, editor.append(fresh(), [product], "steps"))
