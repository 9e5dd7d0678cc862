"""Deterministic splits that keep the share of every class."""

from __future__ import annotations

import torch
from torch import Tensor


def stratified(labels: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw ``count`` samples so that every class keeps its share: ``(rest, drawn)``, both ascending indices.

    Each class gives its exact share rounded down; the places left go to the largest remainders (Hare quota), ties to
    the lower class index. The same labels, count and seed give the same split on every machine.
    """
    total = len(labels)
    if not 0 <= count <= total:
        raise ValueError(f"cannot draw {count} of {total} samples")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.zeros(total, dtype=torch.bool)
    classes, sizes = torch.unique(labels, return_counts=True)
    for label, quota in zip(classes.tolist(), _quotas(sizes.tolist(), count), strict=True):
        members = (labels == label).nonzero().flatten()
        drawn[members[torch.randperm(len(members), generator=generator)[:quota]]] = True
    return (~drawn).nonzero().flatten(), drawn.nonzero().flatten()


def sample_count(wanted: int | float, total: int) -> int:
    """A share of ``total`` as a count (at least one); a count as it is."""
    return max(1, round(wanted * total)) if isinstance(wanted, float) else wanted


def _quotas(sizes: list[int], count: int) -> list[int]:
    total = sum(sizes)
    quotas = [size * count // total for size in sizes]
    remainders = [size * count % total for size in sizes]
    order = sorted(range(len(sizes)), key=lambda index: (-remainders[index], index))
    for index in order[: count - sum(quotas)]:
        quotas[index] += 1
    return quotas
