"""Padding as a step of layers and functions."""

from __future__ import annotations

from collections.abc import Sequence

from compressor.errors import ExportError
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder

MODES = {
    "zeros": "constant",
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}
"""torch's names of padding modes → ONNX's."""


def pad_value(
    b: GraphBuilder, value: OnnxValue, begin: Sequence[int], end: Sequence[int], mode: str = "constant", fill: float = 0
) -> OnnxValue:
    """Pad the spatial axes of an image batch ``(N, C, …)``; a negative width crops."""
    if not any([*begin, *end]):
        return value
    if mode not in MODES or (MODES[mode] == "wrap" and b.opset < 19):
        raise ExportError(f"padding mode {mode!r} has no form in opset {b.opset}")
    pads = b.integers([0, 0, *begin, 0, 0, *end])
    inputs = [value, pads] if fill == 0 or MODES[mode] != "constant" else [value, pads, b.scalar(fill)]
    return b.op("Pad", inputs, mode=MODES[mode])


def split_pads(pads: Sequence[int], axes: int) -> tuple[list[int], list[int]]:
    """torch's ``(last axis begin, last axis end, axis before it begin, …)`` as begins and ends, first axis first."""
    begin, end = list(pads[0::2]), list(pads[1::2])
    missing = [0] * (axes - len(begin))
    return [*missing, *reversed(begin)], [*missing, *reversed(end)]
