"""Tensors of a layer with other channels: those that are kept, some perhaps repeated."""

from __future__ import annotations

from torch import Tensor, nn


def pick(layer: nn.Module, names: tuple[str, ...], index: Tensor) -> None:
    """Of these tensors of a layer, where it has them, the entries ``index``."""
    for name in names:
        value = getattr(layer, name)
        if value is not None:
            put(layer, name, value.index_select(0, index))


def put(layer: nn.Module, name: str, value: Tensor) -> None:
    """Give a layer a tensor; what was a parameter stays one, trained or not."""
    old = getattr(layer, name)
    fresh = value.detach().clone()
    setattr(layer, name, nn.Parameter(fresh, old.requires_grad) if isinstance(old, nn.Parameter) else fresh)
