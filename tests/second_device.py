"""A second device to be had anywhere: tensors that say they are on it, computed on the CPU, which must not be mixed.

As on a GPU, an operation on tensors of two devices is an error, and NumPy cannot read what lies there. torch's ``meta``
device lends its name: the backward pass of its tensors runs on the calling thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from compressor.graph.device import working_on
from compressor.train import distil, fit, loop, precision

AWAY = torch.device("meta")
_MAY_MIX = {"copy_", "_to_copy", "index", "index_put", "index_put_", "_index_put_impl_"}
"""What CUDA takes from two devices: copies, and indices on the CPU. A single number on the CPU goes everywhere."""


class Away(Tensor):
    """A tensor on the second device; ``held`` has its values."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Away:
        made = Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device=AWAY
        )
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})


class _Device(TorchDispatchMode):
    """Lets tensors be made on the second device, and moved there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if any(isinstance(tensor, Away) for tensor in _tensors(args, kwargs)) or _asked(kwargs) == AWAY:
            return _compute(func, args, kwargs)
        return func(*args, **kwargs)


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name.partition("::")[2]
    tensors = _tensors(args, kwargs)
    away = [tensor for tensor in tensors if isinstance(tensor, Away)]
    here = [tensor for tensor in tensors if not isinstance(tensor, Away) and tensor.dim()]
    mixed = bool(away) and bool(here) and name not in _MAY_MIX
    if mixed or (name.startswith("index") and away and not isinstance(args[0], Away)):
        raise RuntimeError(f"{name}: tensors on two devices")
    asked = _asked(kwargs)
    if asked is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    if func._schema.is_mutable:
        changed = args[0] if args else kwargs.get("out")
        return changed if isinstance(changed, Tensor) else None
    goes = bool(away) if asked is None else asked == AWAY
    return tree_map(lambda value: Away(value) if isinstance(value, Tensor) else value, found) if goes else found


def _tensors(args: Any, kwargs: Any) -> list[Tensor]:
    return [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Away) else value


def _asked(kwargs: dict[str, Any]) -> torch.device | None:
    wanted = kwargs.get("device")
    return None if wanted is None else torch.device(wanted)


@contextmanager
def second_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Meanwhile it is the one to work on. What torch does for real devices alone is done without: fused optimizers,
    autocast, inference mode, generators of random numbers.
    """
    made = torch.tensor
    with monkeypatch.context() as patch, _Device(), working_on(AWAY):
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch, "inference_mode", lambda mode=True: torch.no_grad() if mode else nullcontext())
        patch.setattr(torch, "tensor", lambda data, device="cpu", **options: made(data, **options).to(device))
        for name in ("Adam", "AdamW", "SGD"):
            patch.setattr(torch.optim, name, _unfused(getattr(torch.optim, name)))
        for module in (distil, fit, loop, precision):
            patch.setattr(module, "autocast", lambda device, wanted: nullcontext())
        yield


class _Generator(torch.Generator):
    """On the CPU, whatever it is asked for."""

    def __new__(cls, device: Any = "cpu") -> _Generator:
        return super().__new__(cls, "cpu")


def _unfused(kind: Any) -> Any:
    return lambda parameters, fused=False, **options: kind(parameters, foreach=False, **options)
