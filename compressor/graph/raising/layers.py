"""Operators that become modules with weights: convolutions, linear, normalisations, PReLU.

A rule builds the module on the meta device, and says which attribute of it is which argument of the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compressor.errors import CaptureError
from compressor.graph.traced.call import Call, spread

LayerRule = Callable[[Call], "Layer | None"]

_CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_BATCH_NORMS: dict[int, Callable[..., nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}
_INSTANCE_NORMS: dict[int, Callable[..., nn.Module]] = {
    3: nn.InstanceNorm1d,
    4: nn.InstanceNorm2d,
    5: nn.InstanceNorm3d,
}


@dataclass(frozen=True)
class Layer:
    """A module without its tensors, and the path of each tensor by the attribute that holds it."""

    module: nn.Module
    tensors: dict[str, str]


def _layer(call: Call, module: Callable[[], nn.Module], *names: str) -> Layer:
    paths = {name: call.program.path_of(call.get(name)) for name in names}
    with torch.device("meta"):
        return Layer(module(), {name: path for name, path in paths.items() if path is not None})


def _trained(call: Call, *names: str) -> bool:
    """Whether each of these arguments is a parameter, or is left out; at least one is a parameter."""
    given = [call.get(name) for name in names if call.get(name) is not None]
    return bool(given) and all(call.program.path_of(value) in call.program.parameters for value in given)


def _weight_sizes(call: Call) -> tuple[int, ...]:
    return tuple(call.program.tensors[call.program.path_of(call.get("weight")) or ""].shape)


def _convolution(call: Call, transposed: bool = False) -> Layer | None:
    if not _trained(call, "weight", "bias"):
        return None
    first, second, *kernel = _weight_sizes(call)
    groups, count = call.get("groups", 1), len(kernel)
    padding = call.get("padding", 0)
    settings: dict[str, Any] = {
        "kernel_size": tuple(kernel),
        "stride": spread(call.get("stride", 1), count),
        "padding": padding if isinstance(padding, str) else spread(padding, count),
        "dilation": spread(call.get("dilation", 1), count),
        "groups": groups,
        "bias": call.has("bias"),
    }
    if transposed:
        settings["output_padding"] = spread(call.get("output_padding", 0), count)
        return _layer(call, lambda: _TRANSPOSED[count](first, second * groups, **settings), "weight", "bias")
    return _layer(call, lambda: _CONVOLUTIONS[count](second * groups, first, **settings), "weight", "bias")


def _transposed(call: Call) -> Layer | None:
    return _convolution(call, transposed=True)


def _any_convolution(call: Call) -> Layer | None:
    return _convolution(call, transposed=bool(call.get("transposed")))


def _linear(call: Call) -> Layer | None:
    if not _trained(call, "weight", "bias") or len(_weight_sizes(call)) != 2:
        return None
    outputs, inputs = _weight_sizes(call)
    return _layer(call, lambda: nn.Linear(inputs, outputs, bias=call.has("bias")), "weight", "bias")


def _batch_norm(call: Call) -> Layer | None:
    """``momentum=None`` is traced as 0 in eval mode. Without running statistics, those of the batch are used."""
    tracked, affine = call.has("running_mean"), call.has("weight")
    if call.has("bias") != affine or call.rank not in _BATCH_NORMS:
        return None
    if affine and not _trained(call, "weight", "bias"):
        return None
    if tracked and call.get("training") and not call.program.in_training:
        raise CaptureError("a batch normalisation updates its statistics even in eval mode")
    settings: dict[str, Any] = {
        "eps": call.get("eps"),
        "momentum": call.get("momentum") or None,
        "affine": affine,
        "track_running_stats": tracked,
    }
    kind = _BATCH_NORMS[call.rank]
    names = ("weight", "bias", "running_mean", "running_var")
    return _layer(call, lambda: kind(call.sizes[1], **settings), *names)


def _layer_norm(call: Call) -> Layer | None:
    affine, shape = call.has("weight"), tuple(call.get("normalized_shape"))
    if affine and not _trained(call, "weight", "bias"):
        return None
    settings: dict[str, Any] = {"eps": call.get("eps", 1e-5), "elementwise_affine": affine, "bias": call.has("bias")}
    return _layer(call, lambda: nn.LayerNorm(shape, **settings), "weight", "bias")


def _group_norm(call: Call) -> Layer | None:
    affine = call.has("weight")
    if call.has("bias") != affine or (affine and not _trained(call, "weight", "bias")):
        return None
    settings: dict[str, Any] = {"eps": call.get("eps", 1e-5), "affine": affine}
    return _layer(call, lambda: nn.GroupNorm(call.get("num_groups"), call.sizes[1], **settings), "weight", "bias")


def _instance_norm(call: Call) -> Layer | None:
    affine = call.has("weight")
    tracked = call.has("running_mean")
    if call.rank not in _INSTANCE_NORMS or call.has("bias") != affine:
        return None
    if tracked and call.get("use_input_stats") and not call.program.in_training:
        raise CaptureError("an instance normalisation updates its statistics even in eval mode")
    if affine and not _trained(call, "weight", "bias"):
        return None
    settings: dict[str, Any] = {
        "eps": call.get("eps", 1e-5),
        "momentum": call.get("momentum"),
        "affine": affine,
        "track_running_stats": tracked,
    }
    names = ("weight", "bias", "running_mean", "running_var")
    return _layer(call, lambda: _INSTANCE_NORMS[call.rank](call.sizes[1], **settings), *names)


def _prelu(call: Call) -> Layer | None:
    if not _trained(call, "weight"):
        return None
    return _layer(call, lambda: nn.PReLU(_weight_sizes(call)[0]), "weight")


LAYERS: dict[str, LayerRule] = {
    "aten.conv1d": _convolution,
    "aten.conv2d": _convolution,
    "aten.conv3d": _convolution,
    "aten.convolution": _any_convolution,
    "aten.conv_transpose1d": _transposed,
    "aten.conv_transpose2d": _transposed,
    "aten.conv_transpose3d": _transposed,
    "aten.linear": _linear,
    "aten.batch_norm": _batch_norm,
    "aten.layer_norm": _layer_norm,
    "aten.group_norm": _group_norm,
    "aten.instance_norm": _instance_norm,
    "aten.prelu": _prelu,
}
"""Operator without its overload → rule."""
