"""A convolution that has only some taps of its kernel.

    y = (W ⊙ M) ∗ x + b         W is stored and trained as its kept taps alone

In the file it is what ``tap_sets`` makes of it: one small or dilated convolution, a sum of two, or the dense
convolution, its kernel put together from the kept taps when the file is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.errors import GraphError
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.input_mask.parity_masks import Pair
from compressor_plugins.input_mask.tap_sets import Axis, Product, macs, products

PACKING_BYTES = 500
"""What the nodes that put a dense kernel together take in the file."""


class MaskedConv2d(Leaf):
    """2-D convolution (C, H, W) → (D, H′, W′) of images of one size, with the taps of a mask only.

    ``kept`` is (D, C / groups, T), the T taps of the mask in row order; ``padding`` is (top, left, bottom, right).
    """

    places: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        mask: Tensor,
        size: Pair,
        *,
        stride: Pair,
        padding: tuple[int, int, int, int],
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> None:
        """``weight``: dense (D, C / groups, kh, kw); ``mask``: boolean (kh, kw); ``size``: (H, W)."""
        super().__init__()
        self.mask = mask.cpu()
        self.register_buffer("places", self.mask.flatten().nonzero().flatten().to(weight.device), persistent=False)
        self.kept = nn.Parameter(weight.detach().flatten(2)[:, :, self.places].clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.size, self.stride, self.padding, self.dilation, self.groups = size, stride, padding, dilation, groups

    def reset_parameters(self) -> None:
        """Weights and bias anew, uniform within ±1/√(values each output reads), as ``nn.Conv2d`` draws them."""
        bound = 1 / math.sqrt(self.kept.shape[1] * self.kept.shape[2])
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def weight(self) -> Tensor:
        """The dense kernel, zero outside the mask."""
        filters, inputs, _ = self.kept.shape
        dense = self.kept.new_zeros(filters, inputs, self.mask.numel()).index_copy(2, self.places, self.kept)
        return dense.view(filters, inputs, *self.mask.shape)

    def forward(self, x: Tensor) -> Tensor:
        top, left, bottom, right = self.padding
        if (top, left) != (bottom, right):
            x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
        return F.conv2d(x, self.weight(), self.bias, self.stride, (top, left), self.dilation, self.groups)

    def output_shape(self, *inputs: Shape) -> Shape:
        wanted = (self.kept.shape[1] * self.groups, *self.size)
        if inputs != (wanted,):
            raise GraphError(f"a masked convolution for samples of shape {wanted} got {inputs}")
        rows, columns = self._axes()
        return (self.kept.shape[0], rows.outputs, columns.outputs)

    def cost(self, *inputs: Shape) -> Cost:
        filters, channels, taps = self.kept.shape
        bias = 0 if self.bias is None else len(self.bias)
        return Cost({32: self.kept.numel() + bias}, {32: macs(taps, filters, channels, *self._axes())})

    def keep_outputs(self, channels: Tensor) -> None:
        if self.groups > 1:
            raise NotImplementedError("a grouped masked convolution cannot lose channels")
        self.kept = nn.Parameter(self.kept.detach()[channels].clone())
        self.bias = None if self.bias is None else nn.Parameter(self.bias.detach()[channels].clone())

    def keep_inputs(self, channels: Tensor) -> None:
        if self.groups > 1:
            raise NotImplementedError("a grouped masked convolution cannot lose channels")
        self.kept = nn.Parameter(self.kept.detach()[:, channels].clone())

    def fold_affine(self, scale: Tensor, shift: Tensor) -> MaskedConv2d:
        bias = shift if self.bias is None else self.bias.detach() * scale + shift
        return MaskedConv2d(
            self.weight() * scale.view(-1, 1, 1, 1),
            bias,
            self.mask,
            self.size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    # --- the file ------------------------------------------------------------------------------------------------

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        parts = self.parts()
        if not parts:
            return self._emit_dense(builder, inputs[0])
        first, *rest = [self._emit_part(builder, inputs[0], part, index == 0) for index, part in enumerate(parts)]
        for other in rest:
            first = builder.op("Add", [first, other])
        return first

    def parts(self) -> list[Product]:
        """The convolutions the file sums up; empty for one dense convolution."""
        filters, inputs, _ = self.kept.shape
        rows, columns = self._axes()
        return products(self.mask, rows, columns, inputs, macs(self.mask.numel(), filters, inputs, rows, columns))

    def _axes(self) -> tuple[Axis, Axis]:
        (height, width), (top, left, bottom, right) = self.size, self.padding
        kernel, stride, dilation = self.mask.shape, self.stride, self.dilation
        return (
            Axis(height, kernel[0], stride[0], dilation[0], top, bottom),
            Axis(width, kernel[1], stride[1], dilation[1], left, right),
        )

    def _emit_part(self, builder: OnnxBuilder, x: OnnxValue, part: Product, with_bias: bool) -> OnnxValue:
        rows, columns = part.rows, part.columns
        if rows.start or rows.stop or columns.start or columns.stop:
            ends = [size - cut for size, cut in zip(self.size, (rows.stop, columns.stop), strict=True)]
            bounds = ([rows.start, columns.start], ends, [2, 3])
            x = builder.op("Slice", [x, *(builder.constant(np.array(values, np.int64), "i") for values in bounds)])
        pads = (rows.before, columns.before, rows.behind, columns.behind)
        weight = self._emit_part_weight(builder, rows.indices, columns.indices)
        return self._conv(builder, x, weight, with_bias, pads, (rows.dilation, columns.dilation))

    def _emit_part_weight(self, builder: OnnxBuilder, rows: tuple[int, ...], columns: tuple[int, ...]) -> OnnxValue:
        """The kernels of the taps in these rows and columns."""
        return builder.constant(self.weight().detach()[:, :, rows][:, :, :, columns].contiguous(), "w")

    def _emit_dense(self, builder: OnnxBuilder, x: OnnxValue) -> OnnxValue:
        filters, inputs, taps = self.kept.shape
        weight = builder.constant(self.weight().detach(), "w")
        if 4 * filters * inputs * (self.mask.numel() - taps) > PACKING_BYTES:
            weight = self._emit_packed(builder)
        return self._conv(builder, x, weight, True, self.padding, self.dilation)

    def _emit_packed(self, builder: OnnxBuilder) -> OnnxValue:
        """The dense kernel from its kept taps: a column of zeros behind them, and every tap takes its column."""
        filters, inputs, taps = self.kept.shape
        flat = self.mask.flatten()
        columns = torch.where(flat, flat.cumsum(0) - 1, taps)
        pads = builder.constant(np.array([0, 0, 0, 0, 0, 1], np.int64), "i")
        padded = builder.op("Pad", [builder.constant(self.kept.detach(), "w"), pads])
        spread = builder.op("Gather", [padded, builder.constant(columns, "i")], axis=2)
        shape = np.array([filters, inputs, *self.mask.shape], np.int64)
        return builder.op("Reshape", [spread, builder.constant(shape, "i")])

    def _conv(
        self,
        builder: OnnxBuilder,
        x: OnnxValue,
        weight: OnnxValue,
        with_bias: bool,
        pads: Sequence[int],
        dilations: Sequence[int],
    ) -> OnnxValue:
        operands = [x, weight]
        if with_bias and self.bias is not None:
            operands.append(builder.constant(self.bias.detach(), "bias"))
        settings: dict[str, Any] = {"strides": self.stride}
        if any(pads):
            settings["pads"] = pads
        if any(step > 1 for step in dilations):
            settings["dilations"] = dilations
        if self.groups > 1:
            settings["group"] = self.groups
        return builder.op("Conv", operands, **settings)
