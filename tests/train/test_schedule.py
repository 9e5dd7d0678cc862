from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compressor.train.schedule import Plateau, rate_factor
from compressor.train.spec import TrainingSpec

STEPS = 200


def factors(**fields: object) -> list[float]:
    spec = TrainingSpec(**fields)  # type: ignore[arg-type]
    return [rate_factor(spec, step, STEPS) for step in range(STEPS)]


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_a_constant_rate_stays(name: str) -> None:
    assert set(factors(schedule=name)) == {1.0}


def test_cosine_falls_from_one_to_nothing() -> None:
    values = factors(schedule="cosine")
    assert values[0] == 1.0
    assert values == sorted(values, reverse=True)
    assert values[STEPS // 2] == pytest.approx(0.5)
    assert values[-1] < 1e-3


def test_warmup_rises_linearly_to_one_and_then_the_cosine_falls() -> None:
    values = factors(schedule="cosine", warmup=0.1)
    assert values[:20] == pytest.approx([(step + 1) / 20 for step in range(20)])
    assert values[20] == 1.0
    assert values[20:] == sorted(values[20:], reverse=True)


def test_one_cycle_rises_then_falls() -> None:
    values = factors(schedule="one-cycle")
    top = values.index(max(values))
    assert values[0] == pytest.approx(1 / 25)
    assert top == 60
    assert values[top] == 1.0
    assert values[-1] < 1e-3
    assert values[:top] == sorted(values[:top])
    assert values[top:] == sorted(values[top:], reverse=True)


def test_step_drops_twice() -> None:
    values = factors(schedule="step")
    assert values[99:101] == pytest.approx([1.0, 0.1])
    assert values[149:151] == pytest.approx([0.1, 0.01])


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["constant", "cosine", "one-cycle", "step", "plateau"]), st.floats(0, 1), st.integers(1, 50))
def test_a_factor_lies_between_0_and_1(name: str, warmup: float, steps: int) -> None:
    spec = TrainingSpec(schedule=name, warmup=warmup)  # type: ignore[arg-type]
    assert all(0 <= rate_factor(spec, step, steps) <= 1 + 1e-9 for step in range(steps))


def test_a_plateau_halves_the_rate_after_four_epochs_without_gain() -> None:
    plateau = Plateau()
    for loss in (1.0, 0.9, 0.95, 0.95, 0.95, 0.95):
        plateau.update(loss)
    assert plateau.factor == 1.0
    plateau.update(0.95)
    assert plateau.factor == 0.5
    for _ in range(5):
        plateau.update(0.95)
    assert plateau.factor == 0.25
    plateau.update(0.1)
    assert (plateau.lowest, plateau.waited) == (0.1, 0)
