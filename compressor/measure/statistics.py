"""Order statistics: a median and how well it is known, whatever the distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def median_interval(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Order statistics that enclose the median of the distribution with at least this confidence.

    The number of values below the true median is binomial(n, 1/2); the k-th smallest and k-th largest enclose it with
    probability 1 − 2·P(B < k). Too few values for that confidence: smallest and largest.
    Source: David and Nagaraja, Order Statistics, 7.1.
    """
    ordered = sorted(values)
    n = len(ordered)
    tail, probability, k = 0.0, 0.5**n, 0
    while tail + probability <= (1 - confidence) / 2:
        tail += probability
        probability *= (n - k) / (k + 1)
        k += 1
    k = max(k, 1)
    return ordered[k - 1], ordered[n - k]
