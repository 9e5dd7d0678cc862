"""Layers that are the identity in eval mode: dropout in all its forms, and the identity itself."""

from __future__ import annotations

from collections.abc import Callable

from torch import fx, nn

from compressor.errors import CaptureError
from compressor.graph.layers.elementwise import elementwise
from compressor.graph.layers.kind import NOT_CAPTURED, NOT_READ, Capture, nothing
from compressor.graph.onnx_node.node import Node
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer


def _captured(*kinds: Callable[[float], nn.Module]) -> Capture:
    """By rank where there are several kinds. Dropout that is on in a network traced in eval mode is always on."""

    def capture(call: Call) -> Layer | None:
        if call.get("train") and not call.program.in_training:
            return None
        kind = kinds[0] if len(kinds) == 1 else dict(zip((3, 4, 5), kinds, strict=True)).get(call.rank)
        return None if kind is None else Layer(kind(call.get("p")))

    return capture


def _read(node: Node) -> fx.Node:
    if node.given(2) and bool(node.constant(2).any()):
        raise CaptureError("it drops in inference too")
    ratio = node.number(1, "ratio", 0.5)
    if not 0 <= ratio < 1:
        raise CaptureError(f"a ratio of {ratio:g}")
    return node.leaf(nn.Dropout(ratio), node.tensor())


KINDS = (
    elementwise(nn.Identity, captured=NOT_CAPTURED, emit=nothing, read=NOT_READ, clips=True),
    elementwise(
        nn.Dropout, captured={"aten.dropout": _captured(nn.Dropout)}, emit=nothing, read={"Dropout": _read}, clips=True
    ),
    elementwise(
        nn.Dropout1d,
        nn.Dropout2d,
        nn.Dropout3d,
        captured={"aten.feature_dropout": _captured(nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)},
        emit=nothing,
        read=NOT_READ,
    ),
    elementwise(
        nn.AlphaDropout, captured={"aten.alpha_dropout": _captured(nn.AlphaDropout)}, emit=nothing, read=NOT_READ
    ),
    elementwise(
        nn.FeatureAlphaDropout,
        captured={"aten.feature_alpha_dropout": _captured(nn.FeatureAlphaDropout)},
        emit=nothing,
        read=NOT_READ,
    ),
)
