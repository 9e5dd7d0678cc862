"""The search inside the surrogate: thousands of plans bred on predictions alone (NSGA-II, Deb et al. 2002).

Plans beyond a limit rank behind those within, by how far they are beyond; the others by Pareto rank and by how far
apart they lie. What is bred is the parameters of the search, so every policy and plugin is bred alike.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from compressor.knobs import Value
from compressor.search.floats import Floats
from compressor.search.surrogate.encoding import Encoding, Values

Objectives = Callable[[Sequence[Values]], Floats]
"""Of N plans: ``(N, 3)``, less is better."""

POPULATION, GENERATIONS = 96, 16


def evolve(
    start: Sequence[Values], encoding: Encoding, objectives: Objectives, reference: Sequence[float], rng: random.Random
) -> list[dict[str, Value]]:
    """The last population, the best first: what ``start`` and its descendants come to."""
    population = [encoding.completed(values, rng) for values in start[: POPULATION // 2]]
    while len(population) < POPULATION:
        population.append(encoding.by_chance(rng))
    scores = objectives(population)
    for _ in range(GENERATIONS):
        children = [_child(population, encoding, rng) for _ in range(POPULATION)]
        everyone, found = [*population, *children], np.concatenate([scores, objectives(children)])
        kept = _survivors(everyone, found, reference, POPULATION)
        population, scores = [everyone[index] for index in kept], found[kept]
    return population


def _child(population: Sequence[Values], encoding: Encoding, rng: random.Random) -> dict[str, Value]:
    left, right = (population[min(rng.randrange(len(population)), rng.randrange(len(population)))] for _ in range(2))
    child = encoding.crossed(left, right, rng) if rng.random() < 0.8 else dict(left)
    return encoding.mutated(child, rng) if rng.random() < 0.7 else child


def _survivors(everyone: Sequence[Values], scores: Floats, reference: Sequence[float], count: int) -> list[int]:
    """Indices of the best, each plan once, the best first."""
    first: dict[tuple[tuple[str, Value], ...], int] = {}
    for index, values in enumerate(everyone):
        first.setdefault(tuple(sorted(values.items())), index)
    distinct = np.array(list(first.values()))
    beyond = np.clip(scores[distinct] - np.asarray(reference), 0, None)
    scale = np.maximum(np.abs(np.asarray(reference)), 1e-3)
    violation = (beyond / scale).sum(1)
    within, outside = distinct[violation == 0], distinct[violation > 0]
    ranked = _by_pareto(within, scores)
    ranked += [int(index) for index in outside[np.argsort(violation[violation > 0], kind="stable")]]
    return (ranked + [index for index in range(len(everyone)) if index not in set(ranked)])[:count]


def _by_pareto(indices: NDArray[np.int64], scores: Floats) -> list[int]:
    ranked: list[int] = []
    left = indices
    while len(left):
        points = scores[left]
        no_worse = (points[:, None, :] <= points[None, :, :]).all(2)
        better = (points[:, None, :] < points[None, :, :]).any(2)
        front = ~(no_worse & better).any(0)
        order = np.argsort(-_crowding(points[front]), kind="stable")
        ranked += [int(index) for index in left[front][order]]
        left = left[~front]
    return ranked


def _crowding(points: Floats) -> Floats:
    """How far each point of a front is from its neighbours; infinite at the ends."""
    distance = np.zeros(len(points))
    for axis in range(points.shape[1]):
        order = np.argsort(points[:, axis], kind="stable")
        values = points[order, axis]
        spread = max(float(values[-1] - values[0]), 1e-12)
        distance[order[[0, -1]]] = np.inf
        distance[order[1:-1]] += (values[2:] - values[:-2]) / spread
    return distance
