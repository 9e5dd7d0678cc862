"""Evolution on known answers: it finds the front, and keeps within the limits."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np

from compressor.engine.space import Parameter
from compressor.knobs import Choice, IntRange
from compressor.search.surrogate.encoding import Encoding, Values
from compressor.search.surrogate.evolution import evolve

PARAMETERS = [Parameter("n", IntRange(0, 20)), *(Parameter(f"s{i}", Choice((False, True))) for i in range(10))]
ENCODING = Encoding(PARAMETERS)


def answers(many: Sequence[Values]) -> np.ndarray:
    """Cost falls with n, size with it; every switch costs and brings nothing."""
    n = np.array([float(values["n"]) for values in many])
    waste = np.array([float(sum(values[f"s{i}"] is True for i in range(10))) for values in many])
    return np.stack([n + waste, 20 - n + waste, waste], axis=1)


def test_it_finds_the_front_and_spreads_over_it() -> None:
    found = evolve([], ENCODING, answers, (100.0, 100.0, 100.0), random.Random(0))
    best = [values for values in found if answers([values])[0, 2] == 0]
    assert len({values["n"] for values in best}) >= 19


def test_what_is_within_the_limits_comes_first() -> None:
    found = evolve([], ENCODING, answers, (8.0, 14.5, 1.0), random.Random(0))
    scores = answers(found)
    within = (scores <= (8.0, 14.5, 1.0)).all(1)
    assert 0 < within.sum() < len(found)
    assert within[: within.sum()].all()
