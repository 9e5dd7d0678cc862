"""A 3-D convolution over channels, height and width in the place of a 2-D one: few weights, used at many channels.

``ValidConv3d``   (C, H, W) read as one volume of depth C, s kernels of depth u, no padding along the depth:

    y[a·s + j] = Σ_k w[j, k] ∗ x[a + k] + b[j],        a = 0 … C − u,   (C − u + 1)·s outputs

``SameConv3d``    (C, H, W) read as g volumes of depth C/g, g′ kernels of depth u, padded so that the depth stays:

    y[j·C/g + a] = Σ_i Σ_k w[j, i, k] ∗ x[i·C/g + a + k − (u−1)/2] + b[j],        g′·C/g outputs

The valid mode counts its outputs place by place rather than kernel by kernel: a fixed permutation of what
``flatten(1, 2)`` of the 3-D convolution gives, without which the forms below would need one. Trained channels have no
order that this could disturb.

PyTorch and ONNX Runtime run 3-D convolutions 2 to 9 times slower than the 2-D ones they replace; both run these as a
2-D convolution with the Toeplitz weight (``toeplitz``), or, in the file, where it was measured faster:

    u = 1          every channel convolved with the same s kernels: one depthwise convolution
    blocks         places in 2 or 4 blocks, each a smaller convolution of the channels it reads
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.errors import GraphError
from compressor.graph.leaf import Cost, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.common.affine_leaf import AffineLeaf
from compressor_plugins.common.geometry import Geometry
from compressor_plugins.conv3d.toeplitz import emit_toeplitz, places, toeplitz

Pair = tuple[int, int]


class ChannelConv3d(AffineLeaf):
    """What both modes share. ``weight``: (kernels, volumes, depth, kh, kw); ``bias``: (kernels,) or None."""

    depth_padding: int

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        channels: int,
        *,
        stride: Pair = (1, 1),
        padding: Pair = (0, 0),
        dilation: Pair = (1, 1),
        positions: int = 0,
    ) -> None:
        """``channels``: of the input; ``positions``: of an output image, by which the file chooses among equal forms;
        the rest as in ``nn.Conv2d``."""
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.channels, self.positions = channels, positions
        self.geometry = Geometry(stride, padding, dilation)

    @property
    def volume(self) -> int:
        """Channels in each volume."""
        return self.channels // self.weight.shape[1]

    @property
    def places(self) -> int:
        """Places of the kernel along the depth."""
        return places(self.volume, self.weight.shape[2], self.depth_padding)

    @property
    def outputs(self) -> int:
        return self.weight.shape[0] * self.places

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self._per_output(self.bias)
        g = self.geometry
        return self.affine(F.conv2d(x, self.weight2d(), bias, g.stride, g.padding, g.dilation))

    def reset_parameters(self) -> None:
        """Weights and bias anew, uniform within ±1/√(values each output reads)."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    @abstractmethod
    def weight2d(self) -> Tensor:
        """The weight of the equal 2-D convolution: (outputs, channels, kh, kw)."""

    @abstractmethod
    def _per_output(self, values: Tensor) -> Tensor:
        """One value per kernel as one per output."""

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or len(inputs[0]) != 3 or inputs[0][0] != self.channels:
            raise GraphError(f"a convolution over {self.channels} channels got {inputs}")
        return (self.outputs, *self.geometry.outputs(inputs[0][1:], self.weight.shape[3:]))

    def cost(self, *inputs: Shape) -> Cost:
        """Multiply-accumulates of the 3-D convolution, products with depth padding included."""
        bias = 0 if self.bias is None else len(self.bias)
        positions = math.prod(self.output_shape(*inputs)[1:])
        return Cost({32: self.weight.numel() + bias}, {32: self.weight.numel() * self.places * positions})

    # --- the file ------------------------------------------------------------------------------------------------

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        return self._conv(builder, inputs[0], self._emit_weight2d(builder), self._bias_values())

    @abstractmethod
    def _emit_weight2d(self, builder: OnnxBuilder) -> OnnxValue:
        """``weight2d`` times the scale, from the small kernel."""

    def _scaled(self, builder: OnnxBuilder, weight: OnnxValue, scale: Tensor | None) -> OnnxValue:
        return weight if scale is None else builder.op("Mul", [weight, builder.constant(scale.view(-1, 1, 1, 1), "s")])

    def _bias_values(self) -> Tensor | None:
        """One per output, of the whole."""
        return self.affine_bias(None if self.bias is None else self._per_output(self.bias.detach()))

    def _conv(
        self, builder: OnnxBuilder, x: OnnxValue, weight: OnnxValue, bias: Tensor | None, groups: int = 1
    ) -> OnnxValue:
        operands = [x, weight] if bias is None else [x, weight, builder.constant(bias, "b")]
        return replace(self.geometry, groups=groups).emit(builder, operands, self.weight.shape[3:])


class SameConv3d(ChannelConv3d):
    """Volumes of channels, the depth padded so that it stays what it was; kernels of odd depth."""

    @property
    def depth_padding(self) -> int:  # type: ignore[override]
        return (self.weight.shape[2] - 1) // 2

    def weight2d(self) -> Tensor:
        full = toeplitz(self.weight, self.volume, self.depth_padding)
        return full.transpose(1, 2).reshape(self.outputs, self.channels, *self.weight.shape[3:])

    def _per_output(self, values: Tensor) -> Tensor:
        return values.repeat_interleave(self.places)

    def _emit_weight2d(self, builder: OnnxBuilder) -> OnnxValue:
        full = emit_toeplitz(builder, self.weight, self.volume, self.depth_padding, (0, 2, 1, 3, 4))
        return self._scaled(builder, _reshaped(builder, full, self.outputs, self.channels, self.weight), self.scale)


class ValidConv3d(ChannelConv3d):
    """All channels as one volume, no padding along the depth."""

    depth_padding = 0

    def weight2d(self) -> Tensor:
        full = toeplitz(self.weight, self.channels, 0)
        return full.permute(2, 0, 1, 3, 4, 5).reshape(self.outputs, self.channels, *self.weight.shape[3:])

    def _per_output(self, values: Tensor) -> Tensor:
        return values.repeat(self.places)

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        if self.weight.shape[2] == 1 and self._depthwise_pays():
            return self._emit_depthwise(builder, inputs[0])
        count = self.blocks()
        return self._emit_blocks(builder, inputs[0], count) if count > 1 else super().emit(builder, inputs)

    def blocks(self) -> int:
        """Into how many blocks the file splits the places; 1 where the whole convolution is as fast.

        Each block reads its places + depth − 1 channels. Measured on 4² to 32²: two blocks that read three quarters
        gave 1.10× to 1.37×, four that read five eighths 1.5× to 1.9× with 64 outputs each and 0.9× to 1.3× with fewer;
        slower were blocks of 32 channels, blocks that read 7/8, and 64 channels on 8².
        """
        if self.channels < 64 or (self.channels < 128 and self._dense_macs() < 10_000_000):
            return 1
        kernels, _, depth = self.weight.shape[:3]
        for count, share, outputs in ((4, 0.65, 64), (2, 0.8, 32)):
            rows, rest = divmod(self.places, count)
            if not rest and rows + depth - 1 <= share * self.channels and rows * kernels >= outputs:
                return count
        return 1

    def _depthwise_pays(self) -> bool:
        """Small ones were slower than dense: 12→24 on 8² 0.88×, 6→12 on 14² 0.90×; 16→32 on 28² was 1.21×."""
        return self._dense_macs() >= 1_000_000 or self.positions >= 1000

    def _dense_macs(self) -> int:
        return self.positions * self.outputs * self.channels * math.prod(self.weight.shape[3:])

    def _emit_weight2d(self, builder: OnnxBuilder) -> OnnxValue:
        return self._scaled(builder, self._emit_block(builder, self.places), self.scale)

    def _emit_block(self, builder: OnnxBuilder, rows: int) -> OnnxValue:
        """The weight of ``rows`` neighbouring places, which is the same for all that are as many."""
        kernels, _, depth = self.weight.shape[:3]
        full = emit_toeplitz(builder, self.weight, rows + depth - 1, 0, (2, 0, 1, 3, 4))
        return _reshaped(builder, full, rows * kernels, rows + depth - 1, self.weight)

    def _emit_depthwise(self, builder: OnnxBuilder, x: OnnxValue) -> OnnxValue:
        kernels = self.weight.detach()[:, 0]
        repeats = builder.constant(np.array([self.channels, 1, 1, 1], np.int64), "i")
        weight = builder.op("Tile", [builder.constant(kernels, "w"), repeats])
        return self._conv(builder, x, self._scaled(builder, weight, self.scale), self._bias_values(), self.channels)

    def _emit_blocks(self, builder: OnnxBuilder, x: OnnxValue, count: int) -> OnnxValue:
        kernels, _, depth = self.weight.shape[:3]
        rows = self.places // count
        shared, bias = self._emit_block(builder, rows), self._bias_values()
        results = []
        for index in range(count):
            bounds = (index * rows, index * rows + rows + depth - 1, 1)
            part = builder.op("Slice", [x, *(builder.constant(np.array([value], np.int64), "i") for value in bounds)])
            own = slice(index * rows * kernels, (index + 1) * rows * kernels)
            weight = self._scaled(builder, shared, None if self.scale is None else self.scale[own])
            results.append(self._conv(builder, part, weight, None if bias is None else bias[own]))
        return builder.op("Concat", results, axis=1)


def _reshaped(builder: OnnxBuilder, full: OnnxValue, outputs: int, channels: int, weight: Tensor) -> OnnxValue:
    shape = np.array([outputs, channels, *weight.shape[3:]], np.int64)
    return builder.op("Reshape", [full, builder.constant(shape, "i")])
