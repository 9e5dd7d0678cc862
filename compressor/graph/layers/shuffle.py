"""Layers that move values between channels and space, or channels among each other."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.flow.flow import NEIGHBOURS, Flow
from compressor.graph.flow.treatments import Treatment
from compressor.graph.flow.values import TRACE_BATCH, core
from compressor.graph.layers.elementwise import with_settings
from compressor.graph.layers.kind import NOT_READ, Integers, LayerKind
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand

# --- channels, for other functions that do the same ------------------------------------------------------------------


def to_space(flow: Flow, node: fx.Node, x: Tensor, factor: int) -> Tensor:
    """Factor² channels become one channel of an image that is larger by the factor."""
    rest = range(2, x.dim())
    x = flow.mix(x, rest, node, f"{node.target} {NEIGHBOURS}")
    rows = core(x).expand(x.shape[:2] + (1,) * len(rest))
    rows = flow.mix(
        rows.reshape(rows.size(0), -1, factor**2, *rows.shape[2:]),
        [2],
        node,
        f"{node.target} makes one of {factor**2} channels",
    )
    shape = (TRACE_BATCH, rows.size(1), *(x.size(dim) * factor for dim in rest))
    return rows[:, :, 0].expand(shape)


def from_space(flow: Flow, node: fx.Node, x: Tensor, factor: int) -> Tensor:
    """Every channel becomes factor² ones, side by side."""
    rest = range(2, x.dim())
    x = flow.mix(x, rest, node, f"{node.target} {NEIGHBOURS}")
    rows = core(x).expand(x.shape[:2] + (1,) * len(rest)).repeat_interleave(factor**2, 1)
    return rows.expand(TRACE_BATCH, -1, *(x.size(dim) // factor for dim in rest))


def exchanged(flow: Flow, node: fx.Node, x: Tensor, groups: int) -> Tensor:
    """The channel shuffle of ShuffleNet: channels in rows, read by columns; rows must stay equally long."""
    rows = flow.rectangular(x.reshape(x.size(0), groups, -1, *x.shape[2:]), node)
    return rows.transpose(1, 2).flatten(1, 2)


# --- ONNX ------------------------------------------------------------------------------------------------------------


def _emit_to_space(b: GraphBuilder, layer: nn.PixelShuffle, x: Operand) -> OnnxValue:
    return b.op("DepthToSpace", [x.value], blocksize=layer.upscale_factor, mode="CRD")


def _emit_from_space(b: GraphBuilder, layer: nn.PixelUnshuffle, x: Operand) -> OnnxValue:
    (channels, height, width), r = x.sample, layer.downscale_factor
    blocks = b.reshape(x.value, (channels, height // r, r, width // r, r))
    moved = b.op("Transpose", [blocks], perm=[0, 1, 3, 5, 2, 4])
    return b.reshape(moved, (channels * r * r, height // r, width // r))


def _emit_exchange(b: GraphBuilder, layer: nn.ChannelShuffle, x: Operand) -> OnnxValue:
    channels, *sizes = x.sample
    grouped = b.reshape(x.value, (layer.groups, channels // layer.groups, *sizes))
    moved = b.op("Transpose", [grouped], perm=[0, 2, 1, *range(3, len(sizes) + 3)])
    return b.reshape(moved, x.sample)


def _read_to_space(node: Node) -> fx.Node:
    """CRD is torch's PixelShuffle; DCR, ONNX's default, has the blocks before the channels."""
    block, mode = node.attributes["blocksize"], node.attributes.get("mode", b"DCR")
    channels, height, width = _image(node)
    if mode == b"CRD":
        return node.leaf(nn.PixelShuffle(block), node.tensor())
    rest = channels // block**2
    blocks = node.reshaped(node.tensor(), (block, block, rest, height, width))
    moved = node.apply(torch.permute, blocks, [0, 3, 4, 1, 5, 2])
    return node.reshaped(moved, (rest, height * block, width * block))


def _read_from_space(node: Node) -> fx.Node:
    """The blocks before the channels, where torch's PixelUnshuffle has them behind."""
    block = node.attributes["blocksize"]
    channels, height, width = _image(node)
    blocks = node.reshaped(node.tensor(), (channels, height // block, block, width // block, block))
    moved = node.apply(torch.permute, blocks, [0, 3, 5, 1, 2, 4])
    return node.reshaped(moved, (channels * block**2, height // block, width // block))


def _image(node: Node) -> Shape:
    if len(node.sample()) != 3:
        raise CaptureError(f"samples of {node.sample()}, no images")
    return node.sample()


KINDS = (
    LayerKind(
        (nn.PixelShuffle,),
        captured={"aten.pixel_shuffle": with_settings(nn.PixelShuffle, upscale_factor=1)},
        shape=None,
        macs=None,
        treatment=Treatment(
            "makes one channel of several, which go together",
            lambda flow, node, layer, x: to_space(flow, node, x, layer.upscale_factor),
        ),
        emit=_emit_to_space,
        read={"DepthToSpace": _read_to_space},
        integers=Integers.MOVES,
    ),
    LayerKind(
        (nn.PixelUnshuffle,),
        captured={"aten.pixel_unshuffle": with_settings(nn.PixelUnshuffle, downscale_factor=1)},
        shape=None,
        macs=None,
        treatment=Treatment(
            "makes several channels of one",
            lambda flow, node, layer, x: from_space(flow, node, x, layer.downscale_factor),
        ),
        emit=_emit_from_space,
        read={"SpaceToDepth": _read_from_space},
        integers=Integers.MOVES,
    ),
    LayerKind(
        (nn.ChannelShuffle,),
        captured={"aten.channel_shuffle": with_settings(nn.ChannelShuffle, groups=1)},
        shape=None,
        macs=None,
        treatment=Treatment(
            "changes the order of channels", lambda flow, node, layer, x: exchanged(flow, node, x, layer.groups)
        ),
        emit=_emit_exchange,
        read=NOT_READ,
        integers=Integers.MOVES,
    ),
)
