"""Leaves whose weights take up no scale per output: they keep scale and shift beside them, and apply both last."""

from __future__ import annotations

import copy
from typing import Self

from torch import Tensor

from compressor.graph.leaf import Leaf


class AffineLeaf(Leaf):
    """y · scale + shift, one of each per output; None until something is folded in."""

    scale: Tensor | None
    shift: Tensor | None

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", None)
        self.register_buffer("shift", None)

    def fold_affine(self, scale: Tensor, shift: Tensor) -> Self:
        folded = copy.copy(self)
        folded._buffers = dict(self._buffers)
        folded.scale = scale if self.scale is None else self.scale * scale
        folded.shift = shift if self.shift is None else self.shift * scale + shift
        return folded

    def affine(self, y: Tensor) -> Tensor:
        """What is folded in, applied to (N, outputs, …)."""
        if self.scale is None or self.shift is None:
            return y
        axes = (-1, *[1] * (y.dim() - 2))
        return y * self.scale.view(axes) + self.shift.view(axes)

    def affine_bias(self, bias: Tensor | None) -> Tensor | None:
        """The bias of the whole, one per output, for a layer whose weights are scaled already."""
        if self.scale is None or self.shift is None:
            return bias
        return self.shift if bias is None else bias * self.scale + self.shift
