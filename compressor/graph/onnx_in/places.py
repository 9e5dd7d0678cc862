"""ONNX operators that find places of values, pick values by computed places, and sample images at computed points."""

from __future__ import annotations

import operator

import torch
from torch import fx

from compressor.errors import CaptureError
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node

aten = torch.ops.aten

_SAMPLING = {b"linear": 0, b"bilinear": 0, b"nearest": 1, b"cubic": 2, b"bicubic": 2}
"""torch's numbers for the ways of interpolation, by their names since operator set 20 and before."""
_BORDERS = {b"zeros": 0, b"border": 1, b"reflection": 2}


@rule("TopK")
def largest(node: Node) -> fx.Node:
    """The values, and the places that they were at."""
    axis = node.axis(node.attributes.get("axis", -1))
    count = int(node.number(1, "k", 0))
    if not 0 < count <= node.sample()[axis - 1]:
        raise CaptureError(f"{count} of {node.sample()[axis - 1]} values")
    order = [bool(node.attributes.get(name, 1)) for name in ("largest", "sorted")]
    found = node.state.build.apply(aten.topk.default, [node.tensor(), count, axis, *order])
    found.meta["shape"] = None
    values, places = (node.apply(operator.getitem, found, at) for at in range(2))
    if len(node.outputs) > 1 and node.outputs[1]:
        node.state.nodes[node.outputs[1]] = places
    return values


@rule("ArgMax", "ArgMin")
def place_of_extreme(node: Node) -> fx.Node:
    """Where the largest or smallest value is; of equal ones the first."""
    if node.attributes.get("select_last_index", 0):
        raise CaptureError("the last of several equal values")
    function = aten.argmax.default if node.operator == "ArgMax" else aten.argmin.default
    axis, keep = node.axis(node.attributes.get("axis", 0)), bool(node.attributes.get("keepdims", 1))
    return node.apply(function, node.tensor(), axis, keep)


@rule("GatherElements")
def picked(node: Node) -> fx.Node:
    """At each place the value whose place is given there, along one dimension."""
    axis = node.axis(node.attributes.get("axis", 0))
    places = node.tensor(1)
    if places.meta.get("dtype") is not torch.int64:
        raise CaptureError("places that are no whole numbers")
    return node.apply(aten.gather.default, node.tensor(), axis, places)


@rule("GridSample")
def sampled(node: Node) -> fx.Node:
    mode, border = node.attributes.get("mode", b"linear"), node.attributes.get("padding_mode", b"zeros")
    if mode not in _SAMPLING or border not in _BORDERS:
        raise CaptureError(f"sampling in mode {mode.decode()!r} with padding {border.decode()!r}")
    corners = bool(node.attributes.get("align_corners", 0))
    return node.apply(
        aten.grid_sampler.default, node.tensor(0), node.tensor(1), _SAMPLING[mode], _BORDERS[border], corners
    )


@rule("Col2Im")
def image_of_columns(node: Node) -> fx.Node:
    """Columns of windows, summed up where they lie in the image."""
    image, block = node.integers(1, "image_shape") or [], node.integers(2, "block_shape") or []
    if len(image) != 2 or len(block) != 2:
        raise CaptureError(f"images of {len(image)} dimensions")
    get = node.attributes.get
    pads = get("pads", [0, 0, 0, 0])
    if pads[:2] != pads[2:]:
        raise CaptureError("pads that differ between the sides")
    return node.apply(
        aten.col2im.default, node.tensor(), image, block, get("dilations", [1, 1]), pads[:2], get("strides", [1, 1])
    )


@rule("Mod")
def rest(node: Node) -> fx.Node:
    """The rest of a division, with the sign of what is divided (``fmod``) or of the divisor."""
    if node.is_constant(0) or not node.is_constant(1) or node.constant(1).numel() != 1:
        raise CaptureError("the rest of a division by what is no constant number")
    function = aten.fmod.Scalar if node.attributes.get("fmod", 0) else aten.remainder.Scalar
    return node.apply(function, node.tensor(), float(node.constant(1).item()))
