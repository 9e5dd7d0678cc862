"""Weights that were saved as what they are computed from: they are put together as the module that had them did.

weight_orig · weight_mask                             pruning (torch.nn.utils.prune)
weight_v · weight_g / ‖weight_v‖                      weight_norm, before torch 2.0 and after
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Set
from typing import Final

import torch
from torch import Tensor

Form = tuple[re.Pattern[str], str, Callable[[Tensor, Tensor], Tensor | None]]


def put_together(weights: Mapping[str, Tensor], wanted: Set[str]) -> dict[str, Tensor]:
    """The same weights under plain names, where the module (``wanted``) has no such parts itself."""
    result = dict(weights)
    for first, second, compute in _FORMS:
        if any(first.fullmatch(name) for name in wanted):
            continue
        for name in weights:
            if not (match := first.fullmatch(name)):
                continue
            other = match.expand(second)
            value = compute(weights[name], weights[other]) if other in weights else None
            if value is not None:
                del result[name], result[other]
                result["".join(part for part in match.groups() if part)] = value
    return result


def is_part(name: str) -> bool:
    """Whether a name is that of a part of a weight, of any parametrization."""
    return ".parametrizations." in f".{name}" or name.endswith(("_orig", "weight_g", "weight_u"))


def _masked(weight: Tensor, mask: Tensor) -> Tensor | None:
    return weight * mask if weight.shape == mask.shape else None


def _of_norm(norm: Tensor, direction: Tensor) -> Tensor | None:
    """The direction, as long as ``norm`` says: along one dimension, whose size it has, or all together."""
    length: Tensor
    if norm.numel() == 1:
        length = torch.linalg.vector_norm(direction)
    else:
        along = [dim for dim, size in enumerate(norm.shape) if size != 1]
        if norm.dim() != direction.dim() or len(along) != 1 or norm.shape[along[0]] != direction.shape[along[0]]:
            return None
        others = [dim for dim in range(direction.dim()) if dim != along[0]]
        length = torch.linalg.vector_norm(direction, dim=others, keepdim=True)
    return direction * (norm / length)


_FORMS: Final[tuple[Form, ...]] = (
    (re.compile(r"(.*)_orig"), r"\1_mask", _masked),
    (re.compile(r"(.*)_g"), r"\1_v", _of_norm),
    (re.compile(r"(.*\.)?parametrizations\.(\w+)\.original0"), r"\1parametrizations.\2.original1", _of_norm),
)
"""The name of the first part (its groups are the name of the weight), that of the second, and what they make."""
