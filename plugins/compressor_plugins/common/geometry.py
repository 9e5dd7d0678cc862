"""How a 2-D convolution slides over an image: sizes of what comes out, and its node in the file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from compressor.graph.leaf import OnnxBuilder, OnnxValue
from compressor_plugins.common.replaceable import pair, symmetric_padding


@dataclass(frozen=True)
class Geometry:
    """Zeros are padded on both sides alike."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    @staticmethod
    def of(layer: nn.Linear | nn.Conv2d) -> Geometry | None:
        """None for a linear layer. Raises ``ValueError`` for padding that is unequal on the two sides."""
        if isinstance(layer, nn.Linear):
            return None
        return Geometry(pair(layer.stride), symmetric_padding(layer), pair(layer.dilation), layer.groups)

    def outputs(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """(H, W) of what a ``kernel`` (kh, kw) gives on images of this size."""
        sizes = zip(size, kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((side + 2 * pad - gap * (k - 1) - 1) // step + 1 for side, k, step, pad, gap in sizes)

    def emit(self, builder: OnnxBuilder, operands: Sequence[OnnxValue], kernel: Sequence[int]) -> OnnxValue:
        """One convolution of image, weight and, where there is a third operand, bias."""
        return builder.op(
            "Conv",
            operands,
            kernel_shape=list(kernel),
            strides=list(self.stride) if self.stride != (1, 1) else None,
            pads=[*self.padding, *self.padding] if self.padding != (0, 0) else None,
            dilations=list(self.dilation) if self.dilation != (1, 1) else None,
            group=self.groups if self.groups != 1 else None,
        )
