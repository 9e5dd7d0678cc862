"""Linear and convolutional leaves whose weights are integers of 8 or 4 bits, with a scale per output channel.

    q = clip(round(w / s), −m, m),  m = 2^(bits−1) − 1        backward: dŵ/dw := g  (straight-through estimator)
    ŵ = q · (g · s)                                           s step, fixed at the rewrite; g gain, trained from 1

The step says what is rounded to what, and stays; the gain lets a channel grow or shrink as a whole. A BatchNorm that
follows is absorbed by gain and bias.

Sources: Bengio et al., straight-through estimator (arXiv:1308.3432); Jacob et al., integer weights with float scales
and training that knows of them (arXiv:1712.05877); Banner et al., clipping by mean squared error (arXiv:1810.05723).
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.graph.leaf import Cost, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.common.geometry import Geometry
from compressor_plugins.common.nibbles import pack_nibbles, unpack_nibbles
from compressor_plugins.common.weight_steps import integers, least_error_steps, whole_range_steps
from compressor_plugins.common.weighted import WeightedLayer, output_rows

_FLOAT = 1
"""``TensorProto.FLOAT``."""


class _Rounded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, w: Tensor, step: Tensor, largest: int) -> Tensor:
        ctx.save_for_backward(step)
        return integers(w, step, largest)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        step: Tensor = ctx.saved_tensors[0]
        return grad / step, None, None


class QuantizedLayer(WeightedLayer):
    """A linear or convolutional layer with integer weights; ``step`` and ``gain`` are (N,), one per output."""

    per_output: ClassVar[tuple[str, ...]] = ("bias", "step", "gain")
    step: Tensor

    def __init__(
        self,
        weight: Tensor,
        step: Tensor,
        gain: Tensor,
        bias: Tensor | None,
        bits: int,
        geometry: Geometry | None,
        tokens: bool = False,
    ) -> None:
        super().__init__(weight, bias, geometry, tokens)
        self.bits = bits
        self.gain = nn.Parameter(gain.detach().clone())
        self.register_buffer("step", step.detach().clone())

    def reset_parameters(self) -> None:
        """Weight and bias anew, the steps from the new weight, the gains back to 1."""
        super().reset_parameters()
        with torch.no_grad():
            self.step.copy_(channel_steps(self.rows(self.weight), self.bits, optimal_clip=True))
            self.gain.fill_(1.0)

    @property
    def largest(self) -> int:
        """The largest integer a weight can be."""
        return _largest(self.bits)

    def effective_weight(self) -> Tensor:
        rounded: Tensor = _Rounded.apply(self.weight, self.spread(self.step), self.largest)  # type: ignore[no-untyped-call]
        return rounded * self.spread(self.gain * self.step)

    def whole_weight(self) -> NDArray[np.int8]:
        """The integers, shaped as the weight."""
        with torch.no_grad():
            whole: NDArray[np.int8] = integers(self.weight, self.spread(self.step), self.largest).cpu().numpy()
        return whole.astype(np.int8)

    def emit_weight(self, builder: OnnxBuilder) -> OnnxValue:
        whole = self.whole_weight()
        if self.bits == 4:
            value = unpack_nibbles(builder, pack_nibbles(whole), whole.shape)
        else:
            value = builder.op("Cast", [builder.constant(whole, "q")], to=_FLOAT)
        scale = self.spread((self.gain * self.step).detach()).float()
        return builder.op("Mul", [value, builder.constant(scale, "scale")])

    def cost(self, *inputs: Shape) -> Cost:
        floats = len(self.gain) + (0 if self.bias is None else len(self.bias))
        return Cost({32: floats, self.bits: self.weight.numel()}, {self.bits: self.mac_count(*inputs)})

    def fold_affine(self, scale: Tensor, shift: Tensor) -> QuantizedLayer | None:
        if self.tokens:  # a BatchNorm counts the tokens, not their features
            return None
        bias = shift if self.bias is None else self.bias.detach() * scale + shift
        return QuantizedLayer(self.weight, self.step, self.gain.detach() * scale, bias, self.bits, self.geometry)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.bits} bits"


def quantized_layer(
    source: nn.Linear | _ConvNd, bits: int, *, optimal_clip: bool = True, tokens: bool = False
) -> QuantizedLayer:
    """The quantized form of a trained layer. A convolution must pad with zeros, equally on both sides."""
    weight, geometry = source.weight.detach(), Geometry.of(source)
    step = channel_steps(output_rows(weight, geometry), bits, optimal_clip=optimal_clip)
    layer = QuantizedLayer(weight, step, torch.ones_like(step), source.bias, bits, geometry, tokens)
    return layer.to(weight.device)


def channel_steps(rows: Tensor, bits: int, *, optimal_clip: bool) -> Tensor:
    """The step (N,) of each row of weights (N, …): max|w| / m, or the clipped range of least error."""
    steps = least_error_steps if optimal_clip else whole_range_steps
    return steps(rows, _largest(bits))


def _largest(bits: int) -> int:
    return int(2 ** (bits - 1) - 1)
