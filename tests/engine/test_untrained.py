"""A look at a plan: what its trained file will weigh, and how much it hurts before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from compressor.data.dataset import Data
from compressor.engine.baseline import Baseline
from compressor.engine.candidate import Outcome
from compressor.engine.plan import Decision, Edit, Phase, Plan
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.trial import TrialSettings, run_trial
from compressor.engine.untrained import Untrained, look_at
from compressor.errors import Refusal
from compressor.train.spec import TrainingSpec

SHORT = TrainingSpec(epochs=1, batch=64)
ONE = Plan((Phase("main", (Edit("binarize", "fc1"),), SHORT),))
ALL = Plan((Phase("main", (Decision("binarize", "all"),), SHORT),))


@pytest.fixture
def look(baseline: Baseline, data: Data) -> Callable[[Plan], Untrained]:
    evidence = baseline.evidence(data, 256)
    return lambda plan: look_at(plan, baseline, Sensitivities(), evidence, batch=1, seed=0)


def test_bytes_and_counts_are_those_of_the_trained_file(
    look: Callable[[Plan], Untrained], baseline: Baseline, data: Data, tmp_path: Path, unchanged: Callable[[], bool]
) -> None:
    found = look(ONE)
    trained: Outcome = run_trial(ONE, baseline, data, TrialSettings(), seed=0, folder=tmp_path / "a")
    assert trained.metrics is not None
    assert found.whole
    assert found.plan == ONE
    assert found.size_bytes == trained.metrics.size_bytes < baseline.metrics.size_bytes
    assert (found.macs, found.params) == (trained.metrics.macs, trained.metrics.params)
    assert found.speedup > 0
    assert unchanged()


def test_what_hurts_more_has_the_higher_loss_and_decisions_are_resolved(look: Callable[[Plan], Untrained]) -> None:
    one, every = look(ONE), look(ALL)
    assert len(every.plan.edits) > 1
    assert every.loss > one.loss > 0


def test_a_plan_that_applies_nowhere_is_refused(look: Callable[[Plan], Untrained]) -> None:
    with pytest.raises(Refusal):
        look(Plan((Phase("main", (Decision("binarize", "all", only=("nowhere",)),)),)))


def test_of_a_plan_that_decides_while_it_runs_only_a_part_is_known(look: Callable[[Plan], Untrained]) -> None:
    later = Phase("later", (Decision("binarize", "all"),), SHORT, rounds=2)
    assert not look(Plan((*ONE.phases, later))).whole
