"""What each leaf does with channels: makes them, treats each alone, lets them pass, or mixes them up.

producer     new output channels from all inputs: convolutions, linear layers, custom leaves that can lose outputs
channelwise  output channel i comes from input channel i alone: BatchNorm, PReLU, depthwise convolutions
transparent  no parameters, channels keep their places: activations, pooling, padding
"""

from __future__ import annotations

from torch import nn

from compressor.graph.flow.treatments import Treatment
from compressor.graph.layers.table import kind_of
from compressor.graph.leaf import Leaf


def treatment_of(module: nn.Module) -> Treatment | None:
    """What one of torch's own layers does to channels; None where that is not known, and for a ``Leaf``."""
    kind = kind_of(module)
    return None if kind is None else kind.treatment


def is_channelwise(module: nn.Module) -> bool:
    """Output channel i depends on input channel i alone, and is lost together with it.

    A custom ``Leaf`` says so by being able to lose either through one method: ``keep_inputs = keep_outputs``.
    """
    if isinstance(module, Leaf):
        kind = type(module)
        return kind.keep_outputs is kind.keep_inputs and kind.keep_outputs is not Leaf.keep_outputs
    treatment = treatment_of(module)
    return treatment is not None and treatment.is_channelwise(module)


def is_producer(module: nn.Module) -> bool:
    """Makes output channels of its own, which can be dropped."""
    return not is_channelwise(module) and why_no_outputs(module) is None


def is_transparent(module: nn.Module) -> bool:
    """No parameters, and every channel stays where it is."""
    treatment = treatment_of(module)
    return treatment is not None and treatment.is_transparent


def channel_dim(module: nn.Module) -> int:
    """Along which dimension of its input and output a layer counts channels."""
    if isinstance(module, Leaf):
        return module.channel_dim
    treatment = treatment_of(module)
    return 1 if treatment is None else treatment.channel_dim


def why_no_outputs(module: nn.Module) -> str | None:
    """Why the output channels of a leaf cannot be chosen; None when they can."""
    if isinstance(module, Leaf):
        return None if type(module).keep_outputs is not Leaf.keep_outputs else f"{_name(module)} cannot lose outputs"
    return _why_unknown(module)


def why_no_inputs(module: nn.Module) -> str | None:
    """Why the input channels of a leaf cannot be chosen; None when they can."""
    if isinstance(module, Leaf):
        return None if type(module).keep_inputs is not Leaf.keep_inputs else f"{_name(module)} cannot lose inputs"
    return _why_unknown(module)


def _why_unknown(module: nn.Module) -> str | None:
    treatment = treatment_of(module)
    if treatment is not None and (treatment.is_producer or treatment.is_channelwise(module)):
        return None
    return f"{_name(module)} mixes channels or fixes their number"


def _name(module: nn.Module) -> str:
    return type(module).__name__
