"""Values that the network rounds to steps already, as one read from a quantized file does.

The reader makes torch's fake quantization of QuantizeLinear. Where that has 256 steps it is what ``SteppedValue``
computes, whatever the bytes were called: int8 from −128 and uint8 from 0 differ by 128 in the zero point alone. So the
steps that somebody else calibrated stay, and the file gets the form that is fast.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import fx

from compressor.graph.editor import Editor
from compressor_plugins.quantize.ranges import STEPS
from compressor_plugins.quantize.value import SteppedValue

_FAKE = torch.ops.aten.fake_quantize_per_tensor_affine.default


def take_over(editor: Editor, fresh: Callable[[], SteppedValue]) -> None:
    """Put a held value in the place of every fake quantization to 256 steps."""
    for node in list(editor.network.graph.nodes):
        if node.op != "call_function" or node.target is not _FAKE:
            continue
        value, step, zero, low, high = node.args
        numbers = all(isinstance(number, int | float) for number in (step, zero, low, high))
        if isinstance(value, fx.Node) and numbers and high - low == STEPS:
            held = fresh()
            held.hold(float(step), int(zero) - int(low))
            editor.redirect(node, editor.append(held, [value], "steps"))
