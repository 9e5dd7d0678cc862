"""The tile where no mask of weights can say it: strides that are odd read every pixel with every tap.

    y = W ∗ (x ⊙ tile) + b

``TileImage`` is the product alone, in front of any convolution. ``TiledConv2d`` is both, split by the phase of the
output: at outputs of one row parity and one column parity a tap meets pixels of one class only, so each of the four
phases is a masked convolution of twice the stride, and together they have |S| / 4 of the multiply-accumulates:

    y[:, a::2, b::2] = (W ⊙ M(a, b)) ∗ x + b        a, b ∈ {0, 1},  stride 2s, the padding less a·s and b·s

Putting the phases together again costs as much as a small convolution. Measured (28² to 128², 6 to 64 filters), with
taps · channels for each output value: one pixel in four kept 0.2–0.8× up to 200, 1.0–1.5× from 300, 1.4–1.7× at 400;
two in four 0.2–0.8× up to 200, 0.9–1.0× at 300, 1.1–1.2× at 360 to 400; three in four never faster. So a stem of three
colours stays a dense convolution behind the product, unless its kernel is 10×10.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from compressor.errors import GraphError
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.input_mask.masked_conv import MaskedConv2d
from compressor_plugins.input_mask.parity_masks import CLASSES, Pair, Tile, tap_mask

PAYS_FROM = {1: 300, 2: 360}
"""Taps · channels from which the phases are faster than the dense convolution, by the number of classes kept."""
SMALLEST_KERNEL = 5
"""With two classes, whose phases are sums of two convolutions (64 channels of 3×3: 0.89×)."""


class TiledConv2d(MaskedConv2d):
    """Convolution of an image times a 2×2 tile, (C, H, W) → (D, H′, W′), in four phases in the file; odd strides."""

    pattern: Tensor

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        tile: Tile,
        size: Pair,
        *,
        stride: Pair,
        padding: tuple[int, int, int, int],
        dilation: Pair = (1, 1),
        groups: int = 1,
    ) -> None:
        """As ``MaskedConv2d``, with all taps kept; the tile is that of the image before any padding."""
        every = torch.ones(tuple(weight.shape[2:]), dtype=torch.bool)
        super().__init__(weight, bias, every, size, stride=stride, padding=padding, dilation=dilation, groups=groups)
        self.tile = tile
        self.register_buffer("pattern", repeated(values_of(tile), size).to(weight.device), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.pattern)

    def cost(self, *inputs: Shape) -> Cost:
        macs = [phase.cost(*inputs).macs[32] for phase in self.phases()]
        return Cost(super().cost(*inputs).parameters, {32: sum(macs)})

    def fold_affine(self, scale: Tensor, shift: Tensor) -> TiledConv2d:
        bias = shift if self.bias is None else self.bias.detach() * scale + shift
        return TiledConv2d(
            self.weight().detach() * scale.view(-1, 1, 1, 1),
            bias,
            self.tile,
            self.size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def pays(self) -> bool:
        """Whether the file is faster with the phases than with a dense convolution behind the product."""
        least = PAYS_FROM.get(len(self.tile))
        if least is None or self.kept.shape[1] * self.mask.numel() < least:
            return False
        small = len(self.tile) > 1 and min(self.mask.shape) < SMALLEST_KERNEL
        return not small and all(phase.parts() for phase in self.phases())

    def phases(self) -> list[MaskedConv2d]:
        """The convolutions that give the outputs of each phase, all of one size: that of the largest."""
        return [_Phase(self, phase) for phase in CLASSES]

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        results = [phase.emit(builder, inputs) for phase in self.phases()]
        y = builder.op("DepthToSpace", [builder.op("Concat", results, axis=1)], blocksize=2, mode="DCR")
        sizes = [axis.outputs for axis in self._axes()]
        if all(size % 2 == 0 for size in sizes):
            return y
        bounds = ([0, 0], sizes, [2, 3])
        return builder.op("Slice", [y, *(builder.constant(np.array(values, np.int64), "i") for values in bounds)])


class _Phase(MaskedConv2d):
    """One phase of a tiled convolution. Taps that several phases have are cut out of the whole kernel in the file."""

    def __init__(self, whole: TiledConv2d, phase: Pair) -> None:
        (top, left, *_), stride = whole.padding, whole.stride
        begin = (top - phase[0] * stride[0], left - phase[1] * stride[1])
        twice = (2 * stride[0], 2 * stride[1])
        below, right = (
            (-(-axis.outputs // 2) - 1) * step + axis.dilation * (axis.kernel - 1) + 1 - axis.size - before
            for axis, step, before in zip(whole._axes(), twice, begin, strict=True)
        )
        kernel = (whole.mask.shape[0], whole.mask.shape[1])
        mask = tap_mask(whole.tile, kernel, begin, whole.dilation)
        super().__init__(
            whole.weight(),
            whole.bias,
            mask,
            whole.size,
            stride=twice,
            padding=(*begin, below, right),
            dilation=whole.dilation,
            groups=whole.groups,
        )
        self.whole, self.tile = whole.weight().detach(), whole.tile

    def _emit_part_weight(self, builder: OnnxBuilder, rows: tuple[int, ...], columns: tuple[int, ...]) -> OnnxValue:
        if len(self.tile) == 1:  # every tap in one phase
            return super()._emit_part_weight(builder, rows, columns)
        ends = [places[-1] + 1 for places in (rows, columns)]
        steps = [places[1] - places[0] if len(places) > 1 else 1 for places in (rows, columns)]
        bounds = ([rows[0], columns[0]], ends, [2, 3], steps)
        constants = [builder.constant(np.array(values, np.int64), "i") for values in bounds]
        return builder.op("Slice", [builder.constant(self.whole, "w"), *constants])


class TileImage(Leaf):
    """Multiplies images of one size by a 2×2 tile of ones and zeros, repeated. No parameters, and nothing saved."""

    tile: Tensor

    def __init__(self, tile: Tile, size: Pair) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("tile", values_of(tile))

    def forward(self, x: Tensor) -> Tensor:
        return x * repeated(self.tile, self.size)

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 1 or inputs[0][1:] != self.size:
            raise GraphError(f"a tile for images of size {self.size} got {inputs}")
        return inputs[0]

    def cost(self, *inputs: Shape) -> Cost:
        return Cost()

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        height, width = self.size
        repeats = builder.constant(np.array([-(-height // 2), -(-width // 2)], np.int64), "i")
        pattern = builder.op("Tile", [builder.constant(self.tile, "tile"), repeats])
        if height % 2 or width % 2:
            bounds = ([0, 0], [height, width])
            pattern = builder.op(
                "Slice", [pattern, *(builder.constant(np.array(values, np.int64), "i") for values in bounds)]
            )
        return builder.op("Mul", [inputs[0], pattern])


def values_of(tile: Tile) -> Tensor:
    """Ones and zeros, (2, 2)."""
    return torch.tensor([float(pixel in tile) for pixel in CLASSES]).view(2, 2)


def repeated(values: Tensor, size: Pair) -> Tensor:
    """(2, 2) over an image of this size."""
    height, width = size
    return values.repeat(-(-height // 2), -(-width // 2))[:height, :width]
