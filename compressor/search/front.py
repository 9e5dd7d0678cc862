"""The Pareto front, and which of it is best.

A candidate dominates another when it is no worse in every objective and better in one. Among the front the best is, in
this order of importance: quality within its limit; smaller and not slower than the baseline; quality within the limit
by one standard error to spare (Breiman et al. 1984), so that it also holds on samples the search has not seen; then the
smallest product of size and time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from compressor.engine.candidate import Constraints, Metrics
from compressor.measure.latency import NOT_SLOWER
from compressor.recipe.model import Objective
from compressor.search.result import Candidate
from compressor.task import drop


def objective_values(metrics: Metrics, baseline: Metrics, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """One number per objective, less is better: regret, log size ratio, log time ratio.

    A figure that is no number, or no size or time, is infinitely bad.
    """
    numbers = {
        "quality": metrics.quality.regret,
        "size": _log_ratio(metrics.size_bytes, baseline.size_bytes),
        "latency": _log_ratio(1.0, metrics.latency.speedup),
    }
    return tuple(_or_worst(numbers[name]) for name in objectives)


def _or_worst(figure: float) -> float:
    """The figure; infinity, which is worse than any, where it is no number: what is sorted must have an order."""
    return math.inf if math.isnan(figure) else figure


def _log_ratio(figure: float, reference: float) -> float:
    ratio = figure / reference if reference else math.inf
    return math.log(ratio) if 0 < ratio < math.inf else math.inf


def dominates(left: Sequence[float], right: Sequence[float]) -> bool:
    """Whether ``left`` is nowhere worse and somewhere better; less is better."""
    return all(a <= b for a, b in zip(left, right, strict=True)) and tuple(left) != tuple(right)


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points no other point dominates; of equal points the first."""
    return [
        index
        for index, point in enumerate(points)
        if not any(dominates(other, point) for other in points) and tuple(point) not in map(tuple, points[:index])
    ]


def pareto_front(
    candidates: Sequence[Candidate], baseline: Metrics, objectives: Sequence[Objective]
) -> list[Candidate]:
    """The candidates no other candidate dominates."""
    points = [objective_values(candidate.metrics, baseline, objectives) for candidate in candidates]
    return [candidates[index] for index in non_dominated(points)]


def best_first(candidates: Sequence[Candidate], baseline: Metrics, limits: Constraints) -> list[Candidate]:
    """Candidates from the best to the worst by the rule above."""
    error = baseline.quality.error or 0.0
    limit = math.inf if limits.max_drop is None else limits.max_drop

    def rank(candidate: Candidate) -> tuple[float, bool, bool, float]:
        lost = drop(baseline.quality, candidate.quality)
        excess = 0.0 if lost <= limit else _or_worst(lost - limit)
        gain = candidate.size_bytes < baseline.size_bytes and candidate.latency.low > NOT_SLOWER
        speedup = candidate.latency.speedup
        product = candidate.size_bytes / baseline.size_bytes / speedup if speedup > 0 else math.inf
        return excess, not gain, not lost <= limit - error, _or_worst(product)

    return sorted(candidates, key=rank)


def finalists(
    ranked: Sequence[Candidate], baseline: Metrics, objectives: Sequence[Objective], count: int
) -> list[Candidate]:
    """At most ``count`` of a ranked front: the best, the extreme of every objective, then by rank."""
    if not ranked:
        return []
    points = {id(c): objective_values(c.metrics, baseline, objectives) for c in ranked}
    extremes = [min(ranked, key=lambda c: points[id(c)][axis]) for axis in range(len(objectives))]
    chosen = list({id(c): c for c in (ranked[0], *extremes, *ranked)}.values())[:count]
    return [candidate for candidate in ranked if candidate in chosen]
