"""Padding layers, and padding as a step of other layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from compressor.errors import ExportError
from compressor.export.rules.registry import per_axis, rule
from compressor.graph.leaf import OnnxValue
from compressor.graph.onnx_out.builder import GraphBuilder, Operand

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


def _layers(mode: str, *kinds: type[nn.Module]) -> None:
    @rule(*kinds)
    def padding(b: GraphBuilder, layer: nn.ConstantPad2d, x: Operand) -> OnnxValue:
        axes = len(x.sample) - 1
        begin, end = split_pads(per_axis(layer.padding, 2 * axes), axes)
        return pad_value(b, x.value, begin, end, mode, float(getattr(layer, "value", 0) or 0))


_layers("constant", nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d, nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d)
_layers("reflect", nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d)
_layers("replicate", nn.ReplicationPad1d, nn.ReplicationPad2d, nn.ReplicationPad3d)
_layers("circular", nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d)
