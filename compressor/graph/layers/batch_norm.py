"""Batch normalisation: in eval mode an affine map per channel,

    s = γ / √(σ² + ε),   t = β − μ·s,   y = s·x + t.

Where it follows a layer that nothing else reads, export folds it away, and its ONNX form here is not written.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.errors import CaptureError, ExportError
from compressor.graph.flow.treatments import CHANNELWISE
from compressor.graph.layers.channels import pick
from compressor.graph.layers.kind import LayerKind
from compressor.graph.layers.windows import expect
from compressor.graph.leaf import OnnxValue, Shape
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_out.builder import GraphBuilder, Operand
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer, trained, with_tensors

TENSORS: Final = ("weight", "bias", "running_mean", "running_var")
_BY_SAMPLE: Final = {1: nn.BatchNorm1d, 2: nn.BatchNorm1d, 3: nn.BatchNorm2d, 4: nn.BatchNorm3d}
"""Classes by the rank of a sample."""


def _captured(call: Call) -> Layer | None:
    """``momentum=None`` is traced as 0 in eval mode. Without running statistics, those of the batch are used."""
    tracked, affine = call.has("running_mean"), call.has("weight")
    if call.has("bias") != affine or call.rank - 1 not in _BY_SAMPLE:
        return None
    if affine and not trained(call, "weight", "bias"):
        return None
    if tracked and call.get("training") and not call.program.in_training:
        raise CaptureError("a batch normalisation updates its statistics even in eval mode")
    settings: dict[str, Any] = {
        "eps": call.get("eps"),
        "momentum": call.get("momentum") or None,
        "affine": affine,
        "track_running_stats": tracked,
    }
    return with_tensors(call, lambda: _BY_SAMPLE[call.rank - 1](call.sizes[1], **settings), *TENSORS)


def _shape(layer: nn.BatchNorm2d, shape: Shape) -> Shape:
    kind = _BY_SAMPLE.get(len(shape))
    expect(kind is not None and isinstance(layer, kind) and shape[0] == layer.num_features, layer, shape)
    return shape


def keep(layer: nn.BatchNorm2d | nn.InstanceNorm2d, index: Tensor) -> None:
    pick(layer, TENSORS, index)
    layer.num_features = len(index)


def emit(b: GraphBuilder, layer: nn.BatchNorm2d | nn.InstanceNorm2d, x: Operand) -> OnnxValue:
    if layer.running_mean is None or layer.running_var is None:
        raise ExportError("a BatchNorm without running statistics depends on the batch it is given")
    scale, shift = scale_and_shift(layer.weight, layer.bias, layer.num_features)
    inputs = [b.weight(scale), b.weight(shift), b.weight(layer.running_mean), b.weight(layer.running_var)]
    return b.op("BatchNormalization", [x.value, *inputs], epsilon=float(layer.eps))


def scale_and_shift(weight: Tensor | None, bias: Tensor | None, features: int) -> tuple[Tensor, Tensor]:
    return (
        torch.ones(features) if weight is None else weight,
        torch.zeros(features) if bias is None else bias,
    )


def affine_of(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel of an eval-mode BatchNorm, in double precision."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError("a BatchNorm without running statistics is no affine map")
    mean, variance = norm.running_mean.detach().double(), norm.running_var.detach().double()
    scale = (variance + norm.eps).rsqrt()
    if norm.affine:
        scale = scale * norm.weight.detach().double()
    shift = -mean * scale
    return scale, shift + norm.bias.detach().double() if norm.affine else shift


def _read(node: Node) -> fx.Node:
    by_the_batch = node.attributes.get("training_mode") or any(name in node.state.uses for name in node.outputs[1:])
    if by_the_batch or len(node.sample()) not in _BY_SAMPLE:
        raise CaptureError("a normalisation in training mode, or of samples of this rank")
    momentum = 1 - node.attributes.get("momentum", 0.9)
    layer = _BY_SAMPLE[len(node.sample())](
        node.constant(1).numel(), eps=node.attributes.get("epsilon", 1e-5), momentum=round(momentum, 7)
    )
    return node.leaf(layer, node.tensor(), weight=1, bias=2, running_mean=3, running_var=4)


KINDS = (
    LayerKind(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
        captured={"aten.batch_norm": _captured},
        shape=_shape,
        macs=None,
        treatment=CHANNELWISE,
        emit=emit,
        read={"BatchNormalization": _read},
        tensors=TENSORS,
        keep_outputs=keep,
        affine=lambda layer: None if layer.running_mean is None else affine_of(layer),
    ),
)
