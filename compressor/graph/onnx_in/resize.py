"""ONNX Resize: torch's own function where it computes the same, and otherwise what the standard says, place by place.

Every mode works along one axis at a time and is linear there: an output is a sum of inputs with fixed weights. So the
standard's formula gives one matrix per axis, torch's function another, and they are compared. Where they differ,
nearest neighbours are picked by their places, and interpolations are products with the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from compressor.errors import CaptureError
from compressor.graph.onnx_in.moves import chosen_places
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_node.sizes import Open

aten = torch.ops.aten
MAX_SIDE: Final = 2**14

_MODES: dict[bytes, dict[int, tuple[str, ...]]] = {
    b"nearest": dict.fromkeys((1, 2, 3), ("nearest", "nearest-exact")),
    b"linear": {1: ("linear",), 2: ("bilinear",), 3: ("trilinear",)},
    b"cubic": {2: ("bicubic",)},
}
"""torch's modes that may compute the same, by ONNX's mode and the number of axes."""
_FUNCTIONS: dict[tuple[str, int], Any] = {
    ("nearest", 1): aten.upsample_nearest1d.vec,
    ("nearest", 2): aten.upsample_nearest2d.vec,
    ("nearest", 3): aten.upsample_nearest3d.vec,
    ("nearest-exact", 1): aten._upsample_nearest_exact1d.vec,
    ("nearest-exact", 2): aten._upsample_nearest_exact2d.vec,
    ("nearest-exact", 3): aten._upsample_nearest_exact3d.vec,
    ("linear", 1): aten.upsample_linear1d.vec,
    ("bilinear", 2): aten.upsample_bilinear2d.vec,
    ("trilinear", 3): aten.upsample_trilinear3d.vec,
    ("bicubic", 2): aten.upsample_bicubic2d.vec,
}


@dataclass(frozen=True)
class ResizedAxis:
    """One dimension of space: its size before and after, and the factor between them, where a file gives one."""

    source: int
    target: int
    scale: float


@rule("Resize")
def resize(node: Node) -> fx.Node:
    get = node.attributes.get
    if get("antialias") or get("exclude_outside"):
        raise CaptureError("a resize with antialiasing, or without what lies outside")
    if get("coordinate_transformation_mode") == b"tf_crop_and_resize" and node.given(1) and not _is_empty(node, 1):
        raise CaptureError("a resize of a part of the image")
    axes = _axes(node)
    if axes[0].source != axes[0].target:
        raise CaptureError("it resizes the channels")
    space = axes[1:]
    if all(axis.source == axis.target and axis.scale == 1 for axis in axes):
        return node.tensor()
    mode = get("mode", b"nearest")
    if mode not in _MODES:
        raise CaptureError(f"the mode {mode!r}")
    matrices = [_matrix(node, axis) for axis in space]
    for name in _MODES[mode].get(len(space), ()):
        for settings in _settings(name, space):
            if all(_same(own, _by_torch(name, axis, settings)) for own, axis in zip(matrices, space, strict=True)):
                return _call(node, name, space, settings)
    return _by_places(node, matrices) if mode == b"nearest" else _by_matrices(node, matrices)


def _axes(node: Node) -> list[ResizedAxis]:
    """The axes of a sample, from scales (input 2) or sizes (input 3)."""
    sample = node.sample()
    rank = len(sample) + 1
    chosen_axes = [axis % rank for axis in node.attributes.get("axes", range(rank))]
    scales = [] if not node.given(2) or _is_empty(node, 2) else node.sizes(2, "scales")
    sizes = node.sizes(3, "sizes") if not scales else []
    if node.attributes.get("keep_aspect_ratio_policy", b"stretch") != b"stretch":
        raise CaptureError("it keeps the proportions")
    found = {}
    for axis, number in zip(chosen_axes, scales or sizes, strict=True):
        if axis == 0:
            if scales and number != 1:
                raise CaptureError("it resizes the batch")
            continue
        if isinstance(number, Open):
            raise CaptureError("its new sizes are calculated from the batch size")
        size = sample[axis - 1]
        target = math.floor(size * number + 1e-6) if scales else int(number)
        if not 0 < target <= MAX_SIDE or not 0 < size <= MAX_SIDE:
            raise CaptureError(f"a new size of {target}")
        found[axis] = ResizedAxis(size, target, float(number) if scales else target / size)
    return [found.get(axis, ResizedAxis(size, size, 1.0)) for axis, size in enumerate(sample, start=1)]


def _is_empty(node: Node, position: int) -> bool:
    return node.is_constant(position) and node.constant(position).numel() == 0


# --- what the standard says ------------------------------------------------------------------------------------------


def _matrix(node: Node, axis: ResizedAxis) -> Tensor:
    """``(target, source)``: how much of each input is in each output."""
    get, places = node.attributes.get, _places(node, axis)
    mode = get("mode", b"nearest")
    rows = torch.arange(axis.target)
    matrix = torch.zeros(axis.target, axis.source, dtype=torch.float64)
    if axis.source == axis.target and axis.scale == 1:
        return torch.eye(axis.source, dtype=torch.float64)
    if mode == b"nearest":
        nearest = _rounded(places, get("nearest_mode", b"round_prefer_floor"), axis).clamp(0, axis.source - 1)
        matrix[rows, nearest] = 1
        return matrix
    below = places.floor()
    share = places - below
    for offset, weights in _weights(mode, share, get("cubic_coeff_a", -0.75)):
        at = (below.long() + offset).clamp(0, axis.source - 1)
        matrix.index_put_((rows, at), weights, accumulate=True)
    return matrix


def _places(node: Node, axis: ResizedAxis) -> Tensor:
    """Where each output lies among the inputs; what lies on an input or between two is not moved by rounding."""
    x = torch.arange(axis.target, dtype=torch.float64)
    mode = node.attributes.get("coordinate_transformation_mode", b"half_pixel")
    match mode:
        case b"half_pixel":
            places = (x + 0.5) / axis.scale - 0.5
        case b"pytorch_half_pixel":
            places = (x + 0.5) / axis.scale - 0.5 if axis.target > 1 else torch.zeros_like(x)
        case b"half_pixel_symmetric":
            centre = axis.source / 2 * (1 - axis.target / (axis.scale * axis.source))
            places = centre + (x + 0.5) / axis.scale - 0.5
        case b"align_corners" | b"tf_crop_and_resize":
            places = x * (axis.source - 1) / max(axis.target - 1, 1)
        case b"asymmetric":
            places = x / axis.scale
        case _:
            raise CaptureError(f"the coordinates {mode.decode() if isinstance(mode, bytes) else mode}")
    halves = (places * 2).round() / 2
    return torch.where((places - halves).abs() < 1e-5, halves, places)


def _rounded(places: Tensor, mode: bytes, axis: ResizedAxis) -> Tensor:
    match mode:
        case b"round_prefer_floor":
            return (places - 0.5).ceil().long()
        case b"round_prefer_ceil":
            return (places + 0.5).floor().long()
        case b"ceil":
            return places.ceil().long()
        case b"simple":  # of operator sets before 11
            return (places.ceil() if axis.scale < 1 else places.trunc()).long()
    return places.floor().long()


def _weights(mode: bytes, t: Tensor, a: float) -> list[tuple[int, Tensor]]:
    if mode == b"linear":
        return [(0, 1 - t), (1, t)]
    return [
        (-1, ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a),
        (0, ((a + 2) * t - (a + 3)) * t * t + 1),
        (1, ((a + 2) * (1 - t) - (a + 3)) * (1 - t) * (1 - t) + 1),
        (2, ((a * (2 - t) - 5 * a) * (2 - t) + 8 * a) * (2 - t) - 4 * a),
    ]


# --- what torch does -------------------------------------------------------------------------------------------------

Settings = tuple[bool, bool]
"""Whether it is told the factors, rather than the sizes; whether corners are aligned."""


def _settings(name: str, space: Sequence[ResizedAxis]) -> list[Settings]:
    by_scale = all(math.floor(axis.source * axis.scale) == axis.target for axis in space)
    aligned = [False] if name.startswith("nearest") else [False, True]
    return [(scaled, corners) for corners in aligned for scaled in ([True, False] if by_scale else [False])]


def _by_torch(name: str, axis: ResizedAxis, settings: Settings) -> Tensor:
    """The same matrix by torch's function: each unit vector is resized, across lines of four where it wants images."""
    scaled, corners = settings
    count = next(n for (mode, n) in _FUNCTIONS if mode == name)
    unit = torch.eye(axis.source, dtype=torch.float64)[:, None]
    unit = unit.reshape(axis.source, 1, *[1] * (count - 1), axis.source)
    options: dict[str, Any] = {} if name.startswith("nearest") else {"align_corners": corners}
    if scaled:
        options["scale_factor"] = (*[1.0] * (count - 1), axis.scale)
    else:
        options["size"] = (*[1] * (count - 1), axis.target)
    interpolate: Callable[..., Tensor] = F.interpolate
    return interpolate(unit, mode=name, **options).reshape(axis.source, axis.target).t()


def _same(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and bool(torch.allclose(left, right, rtol=0, atol=1e-5))


def _call(node: Node, name: str, space: Sequence[ResizedAxis], settings: Settings) -> fx.Node:
    scaled, corners = settings
    sizes = None if scaled else [axis.target for axis in space]
    scales = [axis.scale for axis in space] if scaled else None
    middle = [] if name.startswith("nearest") else [corners]
    return node.apply(_FUNCTIONS[name, len(space)], node.tensor(), sizes, *middle, scales)


# --- where it does something else ------------------------------------------------------------------------------------


def _by_places(node: Node, matrices: Sequence[Tensor]) -> fx.Node:
    value = node.tensor()
    for axis, matrix in enumerate(matrices, start=2):
        value = chosen_places(node, value, axis, matrix.argmax(1).tolist())
    return value


def _by_matrices(node: Node, matrices: Sequence[Tensor]) -> fx.Node:
    if len(matrices) > 2:
        raise CaptureError("an interpolation of volumes that torch does not have")
    value = node.tensor()
    for axis, matrix in zip((-1, -2), reversed(matrices), strict=False):
        if torch.equal(matrix, torch.eye(*matrix.shape, dtype=matrix.dtype)):
            continue
        factor = matrix.t() if axis == -1 else matrix
        held = node.state.operand(node.fresh_constant(factor.float().contiguous(), f"weights {axis}"), tensor=True)
        value = node.apply(torch.matmul, *((value, held) if axis == -1 else (held, value)))
    return value
