"""What convolutions and transposed ones share: their settings, what they do to channels, and how they lose them."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.conv import _ConvNd

from compressor.errors import Refusal
from compressor.graph.flow.flow import NEIGHBOURS, Flow
from compressor.graph.flow.treatments import NO_PRODUCER, Treatment
from compressor.graph.flow.values import TRACE_BATCH, along, slices
from compressor.graph.layers.channels import put
from compressor.graph.leaf import OnnxValue
from compressor.graph.network import Network
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder
from compressor.graph.traced.call import Call, spread

TENSORS: Final = ("weight", "bias")


def captured_settings(call: Call, kernel: list[int]) -> dict[str, Any]:
    """Arguments of the operator as those of the class."""
    count, padding = len(kernel), call.get("padding", 0)
    return {
        "kernel_size": tuple(kernel),
        "stride": spread(call.get("stride", 1), count),
        "padding": padding if isinstance(padding, str) else spread(padding, count),
        "dilation": spread(call.get("dilation", 1), count),
        "groups": call.get("groups", 1),
        "bias": call.has("bias"),
    }


def emitted_parameters(b: GraphBuilder, weight: Tensor, bias: Tensor | None) -> list[OnnxValue]:
    return [b.weight(weight)] + ([] if bias is None else [b.weight(bias)])


def read_bias(node: Node, position: int = 2) -> dict[str, int]:
    return {"bias": position} if node.given(position) else {}


# --- channels --------------------------------------------------------------------------------------------------------


def is_depthwise(layer: nn.Module) -> bool:
    """A convolution of every channel with its own kernel: as many groups as inputs and as outputs."""
    return isinstance(layer, _ConvNd) and 1 < layer.groups == layer.in_channels == layer.out_channels


def is_grouped(layer: nn.Module) -> bool:
    """A convolution in groups, depthwise or not."""
    return isinstance(layer, _ConvNd) and layer.groups > 1


def _flow(flow: Flow, node: fx.Node, layer: _ConvNd, x: Tensor) -> Tensor:
    path, groups = str(node.target), layer.groups
    x = flow.mix(x, range(2, x.dim()), node, f"{path} {NEIGHBOURS}")
    taken = slices(x, 1)
    if is_depthwise(layer):
        flow.block(path, NO_PRODUCER)
        flow.take(path, taken, both=True)
        return along(taken, 1, (TRACE_BATCH, *Network.shape(node)))
    flow.take(path, taken)
    made = flow.make(path, layer.out_channels)
    reason = f"{path} has {groups} groups"
    if groups == layer.in_channels > 1:  # one input for several outputs: whole groups can go
        made_rows = made.view(len(taken), -1)
        flow.unite(made_rows, taken[:, None].expand_as(made_rows), node, reason)
    elif groups > 1:  # the groups must stay equally large: the k-th of each goes together
        flow.mix(taken.view(groups, -1), [0], node, f"{reason}, which must stay equally large")
        flow.mix(made.view(groups, -1), [0], node, f"{reason}, which must stay equally large")
    return along(made, 1, (TRACE_BATCH, *Network.shape(node)))


TREATMENT: Final = Treatment("makes channels of all of its group", _flow, is_channelwise=is_depthwise, is_producer=True)


def keep_outputs(layer: _ConvNd, index: Tensor) -> None:
    if layer.groups == layer.in_channels > 1:  # one input for each group: whole groups go
        each = layer.out_channels // layer.groups
        rows = index[::each].div(each, rounding_mode="floor") if layer.transposed else index
        put(layer, "weight", layer.weight.index_select(0, rows))
        layer.in_channels = layer.groups = len(index) // each
    else:
        local = _per_group(index, layer.out_channels, layer.groups)
        if layer.transposed:  # weight: (in, out / groups, …), the groups stacked along the inputs
            parts = zip(layer.weight.chunk(layer.groups, 0), local, strict=True)
            put(layer, "weight", torch.cat([part.index_select(1, pick) for part, pick in parts]))
        else:
            put(layer, "weight", layer.weight.index_select(0, index))
    if layer.bias is not None:
        put(layer, "bias", layer.bias.index_select(0, index))
    layer.out_channels = len(index)


def keep_inputs(layer: _ConvNd, index: Tensor, share: Tensor) -> None:
    if layer.groups == layer.in_channels > 1:
        return  # followed its outputs
    local = _per_group(index, layer.in_channels, layer.groups)
    spread_out = (-1,) + (1,) * len(layer.kernel_size)
    if layer.transposed:
        put(layer, "weight", layer.weight.index_select(0, index) * share.reshape(-1, *spread_out[1:], 1))
    else:  # weight: (out, in / groups, …), the groups stacked along the outputs
        parts = zip(layer.weight.chunk(layer.groups, 0), local, share.chunk(layer.groups), strict=True)
        put(
            layer,
            "weight",
            torch.cat([part.index_select(1, pick) * by.reshape(spread_out) for part, pick, by in parts]),
        )
    layer.in_channels = len(index)


def _per_group(index: Tensor, channels: int, groups: int) -> list[Tensor]:
    """``index`` by group, counted within each. Raises ``Refusal`` where channels would come to another group."""
    size = channels // groups
    rows = index.view(groups, -1) if len(index) % groups == 0 else index[:0].view(1, 0)
    if len(rows) != groups or not bool((rows // size == torch.arange(groups, device=index.device)[:, None]).all()):
        raise Refusal("ties channels to their places: its groups must stay equally large, each with its own")
    return [row - group * size for group, row in enumerate(rows)]
