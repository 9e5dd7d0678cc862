"""Convolution over channels as an ordinary one: its weight is a Toeplitz matrix in the channels.

A kernel of u depths that slides over n channels, with p zeros before and behind, has n + 2p − u + 1 places; at place a
it reads channel c with its depth c − a + p:

    T[f, i, a, c] = w[f, i, c − a + p]          0 outside the kernel

No index arithmetic is needed: a row w of length u, padded with zeros to n + 2p + 1 and repeated end to end, is read off
in pieces of n + 2p; each piece is the one before, moved by one. In the file that is Pad → Tile → Slice → Reshape of
the small kernel, which ONNX Runtime folds at load.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from compressor.graph.leaf import OnnxBuilder, OnnxValue


def places(channels: int, depth: int, padding: int) -> int:
    """How many places a kernel of ``depth`` has on ``channels`` channels."""
    return channels + 2 * padding - depth + 1


def toeplitz(weight: Tensor, channels: int, padding: int) -> Tensor:
    """(f, i, u, kh, kw) → (f, i, places, channels, kh, kw)."""
    filters, volumes, depth, *kernel = weight.shape
    width, rows = channels + 2 * padding, places(channels, depth, padding)
    padded = F.pad(weight.flatten(3), (0, 0, 0, width + 1 - depth))
    repeated = padded.unsqueeze(2).expand(-1, -1, rows, -1, -1).reshape(filters, volumes, rows * (width + 1), -1)
    shifted = repeated[:, :, : rows * width].reshape(filters, volumes, rows, width, -1)
    return shifted[:, :, :, padding : padding + channels].reshape(filters, volumes, rows, channels, *kernel)


def emit_toeplitz(builder: OnnxBuilder, weight: Tensor, channels: int, padding: int, order: Sequence[int]) -> OnnxValue:
    """The nodes of ``toeplitz`` with the axes (f, i, places, channels, kh·kw) permuted to ``order``."""
    filters, volumes, depth, *_ = weight.shape
    width, rows = channels + 2 * padding, places(channels, depth, padding)
    small = builder.constant(weight.detach().flatten(3), "w")
    padded = builder.op("Pad", [small, _integers(builder, [0, width + 1 - depth]), None, _integers(builder, [2])])
    repeated = builder.op("Tile", [padded, _integers(builder, [1, 1, rows, 1])])
    cut = builder.op("Slice", [repeated, *(_integers(builder, [value]) for value in (0, rows * width, 2))])
    taps = weight.shape[3] * weight.shape[4]
    shifted = builder.op("Reshape", [cut, _integers(builder, [filters, volumes, rows, width, taps])])
    if padding:
        bounds = (padding, padding + channels, 3)
        shifted = builder.op("Slice", [shifted, *(_integers(builder, [value]) for value in bounds)])
    return shifted if list(order) == [0, 1, 2, 3, 4] else builder.op("Transpose", [shifted], perm=list(order))


def _integers(builder: OnnxBuilder, values: Sequence[int]) -> OnnxValue:
    return builder.constant(np.array(values, dtype=np.int64), "i")
