"""A leaf with other channels: copies of a layer whose inputs or outputs are picked by index, possibly repeated.

    outputs:  W'[i] = W[index[i]]        inputs:  W'[:, j] = W[:, index[j]] · share[j]

With every index once this drops channels; with repeats and ``share`` = 1 / repeats it duplicates them without changing
what a sum over the inputs gives.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

from compressor.errors import Refusal
from compressor.graph.leaf import Leaf


def with_outputs(module: nn.Module, index: Tensor) -> nn.Module:
    """A copy with output channels ``index``; for channelwise layers the inputs follow. Raises ``Refusal``."""
    new = copy.deepcopy(module)
    match new:
        case Leaf():
            _refuse_other_order(index)
            _ask(new.keep_outputs, index)
        case _BatchNorm() | _InstanceNorm():
            _pick(new, ("weight", "bias", "running_mean", "running_var"), index)
            new.num_features = len(index)
        case nn.GroupNorm():
            size = new.num_channels // new.num_groups
            _pick(new, ("weight", "bias"), index)
            new.num_channels, new.num_groups = len(index), len(index) // size
        case nn.PReLU() if new.num_parameters > 1:
            _pick(new, ("weight",), index)
            new.num_parameters = len(index)
        case nn.Linear():
            _pick(new, ("weight", "bias"), index)
            new.out_features = len(index)
        case _ConvNd():
            _conv_outputs(new, index)
        case nn.PReLU():
            pass  # one slope for all channels
        case _:
            raise Refusal(f"{type(module).__name__} cannot lose outputs")
    return new


def with_inputs(module: nn.Module, index: Tensor, share: Tensor) -> nn.Module:
    """A copy with input channels ``index``, the weights of input ``j`` times ``share[j]``. Raises ``Refusal``."""
    new = copy.deepcopy(module)
    share = share.to(next(iter(new.parameters()), share).dtype)
    match new:
        case Leaf():
            if not bool((share == 1).all()):
                raise Refusal(f"{type(module).__name__} cannot have its inputs duplicated")
            _refuse_other_order(index)
            _ask(new.keep_inputs, index)
        case nn.Linear():
            _set(new, "weight", new.weight.index_select(1, index) * share)
            new.in_features = len(index)
        case _ConvNd():
            _conv_inputs(new, index, share)
        case _:
            raise Refusal(f"{type(module).__name__} cannot lose inputs")
    return new


def _refuse_other_order(index: Tensor) -> None:
    if not bool((index.diff() >= 0).all()):
        raise Refusal("ties channels to their places")


def _conv_outputs(conv: _ConvNd, index: Tensor) -> None:
    if conv.groups == conv.in_channels > 1:  # one input for each group: whole groups go
        each = conv.out_channels // conv.groups
        rows = index[::each].div(each, rounding_mode="floor") if conv.transposed else index
        _set(conv, "weight", conv.weight.index_select(0, rows))
        conv.in_channels = conv.groups = len(index) // each
    else:
        local = _per_group(index, conv.out_channels, conv.groups)
        if conv.transposed:  # weight: (in, out / groups, …), the groups stacked along the inputs
            parts = conv.weight.chunk(conv.groups, 0)
            _set(
                conv, "weight", torch.cat([part.index_select(1, pick) for part, pick in zip(parts, local, strict=True)])
            )
        else:
            _set(conv, "weight", conv.weight.index_select(0, index))
    if conv.bias is not None:
        _set(conv, "bias", conv.bias.index_select(0, index))
    conv.out_channels = len(index)


def _conv_inputs(conv: _ConvNd, index: Tensor, share: Tensor) -> None:
    if conv.groups == conv.in_channels > 1:
        return  # followed its outputs
    local = _per_group(index, conv.in_channels, conv.groups)
    spread = (-1,) + (1,) * len(conv.kernel_size)
    if conv.transposed:
        _set(conv, "weight", conv.weight.index_select(0, index) * share.reshape(-1, *spread[1:], 1))
    else:  # weight: (out, in / groups, …), the groups stacked along the outputs
        parts = zip(conv.weight.chunk(conv.groups, 0), local, share.chunk(conv.groups), strict=True)
        _set(conv, "weight", torch.cat([part.index_select(1, pick) * by.reshape(spread) for part, pick, by in parts]))
    conv.in_channels = len(index)


def _per_group(index: Tensor, channels: int, groups: int) -> list[Tensor]:
    """``index`` by group, counted within each. Raises ``Refusal`` where channels would come to another group."""
    size = channels // groups
    rows = index.view(groups, -1) if len(index) % groups == 0 else index[:0].view(1, 0)
    if len(rows) != groups or not bool((rows // size == torch.arange(groups, device=index.device)[:, None]).all()):
        raise Refusal("ties channels to their places: its groups must stay equally large, each with its own")
    return [row - group * size for group, row in enumerate(rows)]


def _pick(module: nn.Module, names: tuple[str, ...], index: Tensor) -> None:
    for name in names:
        value = getattr(module, name)
        if value is not None:
            _set(module, name, value.index_select(0, index))


def _set(module: nn.Module, name: str, value: Tensor) -> None:
    old = getattr(module, name)
    fresh = value.detach().clone()
    setattr(module, name, nn.Parameter(fresh, old.requires_grad) if isinstance(old, nn.Parameter) else fresh)


def _ask(keep: object, index: Tensor) -> None:
    try:
        keep(index)  # type: ignore[operator]
    except (NotImplementedError, ValueError) as error:
        raise Refusal(str(error)) from error
