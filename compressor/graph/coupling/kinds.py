"""What each kind of leaf does with channels: makes them, takes them, treats each alone, or mixes them up.

producer     new output channels from all inputs: convolutions, linear layers, custom leaves that can lose outputs
channelwise  output channel i comes from input channel i alone: BatchNorm, PReLU, depthwise convolutions
transparent  no parameters, channels keep their places: activations, pooling, padding
"""

from __future__ import annotations

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from compressor.graph.leaf import Leaf
from compressor.graph.shape_rules.layers import ELEMENTWISE

SPATIAL: tuple[type[nn.Module], ...] = (
    nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.LPPool1d, nn.LPPool2d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d,
    nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ConstantPad1d, nn.ConstantPad2d, nn.ConstantPad3d,
    nn.ReflectionPad1d, nn.ReflectionPad2d, nn.ReflectionPad3d, nn.ReplicationPad1d, nn.ReplicationPad2d,
    nn.ReplicationPad3d, nn.CircularPad1d, nn.CircularPad2d, nn.CircularPad3d, nn.Upsample,
)  # fmt: skip
"""Layers that treat every channel's image alone, in the same way."""
TRANSPARENT: tuple[type[nn.Module], ...] = (*ELEMENTWISE, *SPATIAL)


def is_depthwise(module: nn.Module) -> bool:
    """A convolution of every channel with its own kernel: as many groups as inputs and as outputs."""
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels == module.out_channels


def is_channelwise(module: nn.Module) -> bool:
    """Output channel i depends on input channel i alone, and is lost together with it.

    A custom ``Leaf`` says so by being able to lose either through one method: ``keep_inputs = keep_outputs``.
    """
    if isinstance(module, Leaf):
        kind = type(module)
        return kind.keep_outputs is kind.keep_inputs and kind.keep_outputs is not Leaf.keep_outputs
    return isinstance(module, _BatchNorm | _InstanceNorm | nn.PReLU) or is_depthwise(module)


def is_producer(module: nn.Module) -> bool:
    """Makes output channels of its own, which can be dropped."""
    return not is_channelwise(module) and why_no_outputs(module) is None


def is_transparent(module: nn.Module) -> bool:
    """No parameters, and every channel stays where it is."""
    return type(module) in TRANSPARENT


def why_no_outputs(module: nn.Module) -> str | None:
    """Why the output channels of a leaf cannot be chosen; None when they can."""
    if isinstance(module, Leaf):
        return None if type(module).keep_outputs is not Leaf.keep_outputs else f"{_kind(module)} cannot lose outputs"
    return _why_unknown(module)


def why_no_inputs(module: nn.Module) -> str | None:
    """Why the input channels of a leaf cannot be chosen; None when they can."""
    if isinstance(module, Leaf):
        return None if type(module).keep_inputs is not Leaf.keep_inputs else f"{_kind(module)} cannot lose inputs"
    return _why_unknown(module)


def _why_unknown(module: nn.Module) -> str | None:
    if is_channelwise(module) or type(module) in (
        nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d
    ):  # fmt: skip
        return None
    return f"{_kind(module)} mixes channels or fixes their number"


def _kind(module: nn.Module) -> str:
    return type(module).__name__
