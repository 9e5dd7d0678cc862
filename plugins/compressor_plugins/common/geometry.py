"""How a convolution slides, over one, two or three dimensions, forwards or transposed: sizes, arithmetic, ONNX node.

A weight is laid out as torch does: (N, C / groups, k…) forwards, (C, N / groups, k…) transposed, for C inputs and N
outputs, the groups stacked along the first dimension.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.graph.leaf import OnnxBuilder, OnnxValue
from compressor_plugins.common.replaceable import symmetric_padding

_FORWARDS: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@dataclass(frozen=True)
class Geometry:
    """One number per dimension; zeros are padded on both sides alike. ``extra`` is what torch calls output padding."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int = 1
    transposed: bool = False
    extra: tuple[int, ...] = ()

    @staticmethod
    def of(layer: nn.Linear | _ConvNd) -> Geometry | None:
        """None for a linear layer. Raises ``ValueError`` for padding that is unequal on the two sides."""
        if isinstance(layer, nn.Linear):
            return None
        extra = plain(layer.output_padding) if layer.transposed else ()
        return Geometry(
            plain(layer.stride), symmetric_padding(layer), plain(layer.dilation), layer.groups, layer.transposed, extra
        )

    def channels(self, weight: Sequence[int]) -> tuple[int, int]:
        """``(inputs, outputs)`` by the shape of the weight."""
        first, second = weight[0], weight[1] * self.groups
        return (first, second) if self.transposed else (second, first)

    def outputs(self, size: Sequence[int], kernel: Sequence[int]) -> tuple[int, ...]:
        """Size of what comes out of an image, a line or a volume of ``size``."""
        reach = [gap * (k - 1) for gap, k in zip(self.dilation, kernel, strict=True)]
        if self.transposed:
            sizes = zip(size, reach, self.stride, self.padding, self.extra, strict=True)
            return tuple((side - 1) * step - 2 * pad + far + more + 1 for side, far, step, pad, more in sizes)
        sides = zip(size, reach, self.stride, self.padding, strict=True)
        return tuple((side + 2 * pad - far - 1) // step + 1 for side, far, step, pad in sides)

    def macs(self, weight: Sequence[int], size: Sequence[int]) -> int:
        """Multiply-accumulates for one sample of ``size``."""
        places = size if self.transposed else self.outputs(size, weight[2:])
        return math.prod(weight) * math.prod(places)

    def apply(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The convolution of a batch ``(batch, C, …)``."""
        if self.transposed:
            convolve = _TRANSPOSED[len(self.stride)]
            return convolve(x, weight, bias, self.stride, self.padding, self.extra, self.groups, self.dilation)
        return _FORWARDS[len(self.stride)](x, weight, bias, self.stride, self.padding, self.dilation, self.groups)

    def emit(self, builder: OnnxBuilder, operands: Sequence[OnnxValue], kernel: Sequence[int]) -> OnnxValue:
        """One convolution of image, weight and, where there is a third operand, bias."""
        return builder.op(
            "ConvTranspose" if self.transposed else "Conv",
            operands,
            kernel_shape=list(kernel),
            strides=_unless(self.stride, 1),
            pads=_unless((*self.padding, *self.padding), 0),
            dilations=_unless(self.dilation, 1),
            output_padding=_unless(self.extra, 0),
            group=self.groups if self.groups != 1 else None,
        )


def plain(values: Sequence[int]) -> tuple[int, ...]:
    """Plain integers."""
    return tuple(int(value) for value in values)


def _unless(values: Sequence[int], default: int) -> list[int] | None:
    """None where all are the default, which need not be in the file."""
    return list(values) if any(value != default for value in values) else None
