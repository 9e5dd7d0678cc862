"""Operators as older operator sets have them, brought into the form that the rules read: that of today.

The operator set says what an operator means: the same ``Softmax`` normalises along one axis since 13 and over all axes
behind one before. ``onnx.version_converter`` is not used: it turns a Resize of 10 into one that computes something
else, breaks PRelu of 6 and GroupNormalization of 18, and stops at open sizes and at operators of other domains.

What merely moved from an attribute to an input means the same in both places, and the rules take it from either.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from onnx import TensorProto

from compressor.errors import CaptureError
from compressor.graph.onnx_node.node import Node

Rewrite = Callable[[Node], Node]

_BEFORE: dict[str, list[tuple[int, Rewrite]]] = {}
"""Operator → the rewrites for operator sets before a number, oldest first."""


def _before(number: int, *operators: str) -> Callable[[Rewrite], Rewrite]:
    def register(function: Rewrite) -> Rewrite:
        for operator in operators:
            _BEFORE.setdefault(operator, []).append((number, function))
        return function

    return register


def modern_node(node: Node, opset: int) -> Node:
    """The node in today's form. Raises ``CaptureError`` for old forms that have none."""
    for number, rewrite in _BEFORE.get(node.operator, ()):
        if opset < number:
            return rewrite(node)
    return node


@_before(13, "Softmax", "LogSoftmax")
def _over_all_axes_behind(node: Node) -> Node:
    return replace(node, attributes={"axis": node.attributes.get("axis", 1), "to_the_end": True})


@_before(21, "GroupNormalization")
def _scales_per_group(node: Node) -> Node:
    groups = node.attributes["num_groups"]
    if node.sample()[0] % groups:
        raise CaptureError(f"{node.sample()[0]} channels in {groups} groups")
    times = node.sample()[0] // groups
    names = [node.derived(at, node.constant(at).repeat_interleave(times), "per channel") for at in (1, 2)]
    return node.replaced([node.inputs[0], *names])


@_before(10, "Upsample")
def _resize(node: Node) -> Node:
    """ONNX Runtime's reading of it, and torch's: output pixel i comes from place i / scale."""
    scales = node.inputs[1] if node.given(1) else ""
    if not scales:
        get = node.attributes.get
        values = get("scales", [1.0, 1.0, get("height_scale", 1.0), get("width_scale", 1.0)])
        scales = node.fresh_constant(values, "scales")
    return _simple_resize(node, scales)


@_before(11, "Resize")
def _resize_of_ten(node: Node) -> Node:
    return _simple_resize(node, node.inputs[1])


def _simple_resize(node: Node, scales: str) -> Node:
    mode = node.attributes.get("mode", b"nearest")
    attributes = {
        "mode": b"linear" if mode in (b"bilinear", b"trilinear") else mode,
        "coordinate_transformation_mode": b"asymmetric",
        "nearest_mode": b"simple",
    }
    return replace(node, operator="Resize", inputs=[node.inputs[0], "", scales], attributes=attributes)


@_before(7, "Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Greater", "Less")
def _aligned_at_an_axis(node: Node) -> Node:
    """The second operand begins at ``axis`` of the first; without it, it ends with the first."""
    axis = node.attributes.get("axis")
    if not node.attributes.get("broadcast") or axis is None:
        return node
    if not node.is_constant(1):
        raise CaptureError("two computed operands, aligned at an axis")
    value = node.constant(1)
    behind = len(node.sample()) + 1 - axis % (len(node.sample()) + 1) - value.dim()
    if behind < 0:
        raise CaptureError("operands that do not fit at the axis")
    return node.replaced([node.inputs[0], node.derived(1, value.reshape(*value.shape, *[1] * behind), "aligned")])


@_before(7, "PRelu")
def _slopes_per_channel(node: Node) -> Node:
    slope = node.constant(1)
    if slope.dim() != 1:
        return node
    shape = (-1, *[1] * (len(node.sample()) - 1))
    return node.replaced([node.inputs[0], node.derived(1, slope.reshape(shape), "per channel")])


@_before(7, "BatchNormalization")
def _in_test_mode(node: Node) -> Node:
    if not node.attributes.get("is_test"):
        raise CaptureError("a normalisation in training mode")
    return _per_channel(node)


@_before(9, "BatchNormalization")
def _per_channel(node: Node) -> Node:
    if not node.attributes.get("spatial", 1):
        raise CaptureError("a normalisation per pixel")
    return node


@_before(6, "Cast")
def _type_as_a_number(node: Node) -> Node:
    name = node.attributes.get("to")
    if not isinstance(name, bytes):
        return node
    return replace(node, attributes={"to": TensorProto.DataType.Value(name.decode())})


@_before(4, "Concat")
def _along_the_first_axis(node: Node) -> Node:
    return replace(node, attributes={"axis": node.attributes.get("axis", 1)})


@_before(2, "Pad")
def _paddings(node: Node) -> Node:
    attributes = {("pads" if name == "paddings" else name): value for name, value in node.attributes.items()}
    return replace(node, attributes=attributes)


@_before(6, "Tile")
def _tiles(node: Node) -> Node:
    raise CaptureError("a repetition in the form of operator sets before 6")


CHANGED: Final = frozenset(_BEFORE)
"""Operators whose meaning depends on the operator set."""
