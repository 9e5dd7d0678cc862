"""Fake quantization: a value rounded to what bytes of one scale can say, written as the two operators it stands for."""

from __future__ import annotations

import numpy as np

from compressor.errors import ExportError
from compressor.export.rules.call import CallSite, function
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder

_BYTES: dict[tuple[int, int], type[np.generic]] = {(0, 255): np.uint8, (-128, 127): np.int8}
"""Types by the numbers they hold."""


@function("fake_quantize_per_tensor_affine")
def fake_quantize(b: GraphBuilder, call: CallSite) -> OnnxValue:
    scale, zero = float(call.argument(1, "scale")), int(call.argument(2, "zero_point"))
    bounds = int(call.argument(3, "quant_min")), int(call.argument(4, "quant_max"))
    if bounds not in _BYTES:
        raise ExportError(f"a quantization to the numbers {bounds[0]} to {bounds[1]}")
    numbers = [b.scalar(scale), b.constant(np.array(zero, dtype=_BYTES[bounds]))]
    return b.op("DequantizeLinear", [b.op("QuantizeLinear", [call.operand().value, *numbers]), *numbers])
