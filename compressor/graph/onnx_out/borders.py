"""Work at the border of an image that nobody needs, taken out of a finished graph.

A pooling of size k and step k on n rows reads ⌊n / k⌋ · k of them. The rows behind come from a convolution and an
activation that nobody else sees: the convolution need not compute them. On h rows with p' zeros before and p behind, a
kernel that reaches over r rows and a step of s, it makes one row less for every s zeros less,

    ⌊(h + p' + p − r) / s⌋ + 1 − m = ⌊(h + p' + (p − m·s) − r) / s⌋ + 1,

so m spare rows go with m·s zeros, as long as there are as many. Everything that is read stays bit for bit.

Zeros that a node of its own puts around an image are the convolution's too: Conv(Pad(x)) is one Conv.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

SIDEWAYS_BLIND = frozenset(
    {"Relu", "LeakyRelu", "Elu", "Celu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "Softplus", "Gelu"}
)
"""Operators that make every pixel from that pixel alone."""


def drop_spare_rows(spare: Mapping[ir.Value, Sequence[int]], outputs: Sequence[ir.Value]) -> None:
    """Shorten the convolutions behind values whose last rows, so many per spatial axis, are not read."""
    for value, rows in spare.items():
        convolution = _source(value, outputs)
        if convolution is not None:
            _shorten(convolution, rows)


def merge_pads(nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> list[ir.Node]:
    """The nodes without those that only put zeros around the image of one convolution."""
    kept = []
    for node in nodes:
        around = _zeros_around(node) if node.op_type == "Pad" and node.outputs[0] not in outputs else None
        users = [use.node for use in node.outputs[0].uses()]
        if around is None or len(users) != 1 or users[0].op_type != "Conv" or users[0].inputs[0] is not node.outputs[0]:
            kept.append(node)
            continue
        own = _pads(users[0], len(around) // 2)
        _set_pads(users[0], [amount + more for amount, more in zip(own, around, strict=True)])
        users[0].replace_input_with(0, node.inputs[0])
        node.replace_input_with(0, None)
    return kept


def _source(value: ir.Value, outputs: Sequence[ir.Value]) -> ir.Node | None:
    """The convolution a value comes from, where nobody but the one reader sees it or anything between."""
    while len(value.uses()) == 1 and value not in outputs:
        node = value.producer()
        if node is None or node.op_type == "Conv":
            return node
        if node.op_type not in SIDEWAYS_BLIND or node.inputs[0] is None:
            return None
        value = node.inputs[0]
    return None


def _shorten(convolution: ir.Node, rows: Sequence[int]) -> None:
    axes = len(rows)
    pads = _pads(convolution, axes)
    strides = _integers(convolution, "strides") or [1] * axes
    behind = [
        pad - min(spare, pad // stride) * stride for pad, spare, stride in zip(pads[axes:], rows, strides, strict=True)
    ]
    _set_pads(convolution, [*pads[:axes], *behind])


def _zeros_around(pad: ir.Node) -> list[int] | None:
    """Zeros before and behind every spatial axis, where the node puts nothing else anywhere."""
    mode = pad.attributes.get("mode")
    if (mode is not None and mode.as_string() != "constant") or len(pad.inputs) > 3:
        return None
    numbers, *fill = (None if value is None else value.const_value for value in pad.inputs[1:])
    if numbers is None or any(value is None or value.numpy() != 0 for value in fill):
        return None
    amounts = numbers.numpy().tolist()
    before, behind = amounts[: len(amounts) // 2], amounts[len(amounts) // 2 :]
    fine = not any([*before[:2], *behind[:2]]) and min(amounts) >= 0
    return [*before[2:], *behind[2:]] if fine else None


def _pads(convolution: ir.Node, axes: int) -> list[int]:
    return _integers(convolution, "pads") or [0] * 2 * axes


def _set_pads(convolution: ir.Node, pads: Sequence[int]) -> None:
    if any(pads):
        convolution.attributes["pads"] = ir.AttrInt64s("pads", list(pads))
    else:
        convolution.attributes.pop("pads", None)


def _integers(node: ir.Node, name: str) -> list[int]:
    attribute = node.attributes.get(name)
    return [] if attribute is None else list(attribute.as_ints())
