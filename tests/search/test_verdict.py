from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qualities import accuracy_of
from search_support import candidate, metrics, prepared

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.engine.candidate import Constraints, Outcome
from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.space import PhaseSpec, PluginUse
from compressor.recipe.model import SearchSpec
from compressor.search.result import Candidate, Checks, Verdict
from compressor.search.verdict import cautions, idle, judge, why_nothing
from compressor.task import Task
from compressor.task.agreement import Agreement
from compressor.task.classification import Classification
from compressor.task.regression import Regression

LIMITS = Constraints(max_drop=0.01, max_size=0.5)
BASE = Candidate.of(metrics(0.9, test=0.9, onnx=0.9), Plan())
CHECKS = Checks(1e-6, True, True, "agrees", 1.0, 1.0, 100)


def final(**changes: Any) -> Candidate:
    """A candidate that helps, but for the changes."""
    figures = {"accuracy": 0.9, "size": 400, "speedup": 1.5, "spread": 0.1, "test": 0.9, "onnx": 0.9}
    own = {key: changes.pop(key) for key in tuple(changes) if key in figures}
    return replace(candidate(**{**figures, **own}), **{"checks": CHECKS, **changes})


def verdict(best: Candidate | None, limits: Constraints = LIMITS) -> Verdict:
    return judge(best, BASE, limits, [])


def test_what_helps_says_what_was_gained() -> None:
    assert verdict(final()) == Verdict(
        True,
        (
            "2.5× smaller: 400 bytes of 1,000",
            "faster: 1.50× (1.40 to 1.60)",
            "test accuracy in ONNX Runtime 90.00 %, before 90.00 %",
        ),
    )


def test_what_is_required_and_did_nothing_is_said() -> None:
    """Phase by phase, those inside loops too; what is not required may do nothing."""

    def phase(name: str, *uses: PluginUse) -> PhaseSpec:
        return PhaseSpec(name, uses)

    wanted, other = PluginUse("binarize", required=True), PluginUse("self-grow")
    done = Phase("first", (Edit("binarize", "fc1"),))
    plan = Plan((done, Phase("loop", phases=(Phase("inner", (Edit("self-grow", "fc1"),)),))))
    loop = PhaseSpec("loop", phases=(phase("inner", wanted),))
    said = list(idle(final(plan=plan), [phase("first", wanted, other), phase("second", wanted, other), loop]))
    assert [line.partition(" and ")[0] for line in said] == [
        "binarize is required in phase 'second'",
        "binarize is required in phase 'inner'",
    ]


def test_as_fast_is_not_called_faster() -> None:
    assert "as fast: 1.02×" in verdict(final(speedup=1.02, spread=0.01)).reasons[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"plan": Plan()}, "the model was not changed"),
        ({"size": 1000}, "not smaller: 1,000 bytes"),
        ({"size": 501}, "the limit max_size = 0.5 is overstepped by 0.001"),
        ({"speedup": 1.0, "spread": 0.03}, "slower, or not shown to be as fast"),
        ({"accuracy": 0.88}, "the limit max_drop = 0.01 is overstepped by 0.01"),
        ({"onnx": 0.885}, "test accuracy in ONNX Runtime is worse by 1.50 points"),
        ({"checks": None}, "the final measurement was not made"),
        ({"checks": replace(CHECKS, parity_ok=False)}, "computes something else than torch"),
        ({"checks": replace(CHECKS, quality_ok=False)}, "accuracy did not hold in ONNX Runtime"),
        ({"checks": replace(CHECKS, cross_check="differs: by 3")}, "torch's own ONNX exporter"),
    ],
)
def test_every_objection_is_said(changes: dict[str, Any], reason: str) -> None:
    result = verdict(final(**changes))
    assert not result.helped
    assert any(reason in line for line in result.reasons)


def test_an_exporter_that_is_not_available_is_no_objection() -> None:
    assert verdict(final(checks=replace(CHECKS, cross_check="unavailable: no such operator"))).helped


@pytest.mark.parametrize(
    ("task", "stated", "limit"),
    [
        (Classification(), None, 0.01),
        (Agreement("numbers"), None, 0.05),
        (Agreement("classification"), None, 0.01),
        (Regression(), None, 0.009),
        (Agreement({"output": "classification"}), None, 0.01),
        (Agreement({}), None, 0.05),
        (Agreement("numbers"), 0.3, 0.3),
    ],
)
def test_without_a_limit_the_tasks_usual_one_is_judged_by(
    tmp_path: Path, task: Task, stated: float | None, limit: float
) -> None:
    """Of a share one point, of numbers that are to stay near five, of others a hundredth; what is stated goes first."""
    found = prepared(tmp_path, SearchSpec(), Constraints(max_drop=stated), task=task)
    assert found.judged_by.max_drop == pytest.approx(limit)
    assert verdict(final(accuracy=0.9 - 0.9 * limit, onnx=0.9 - 0.9 * limit), found.judged_by).helped
    worse = verdict(final(accuracy=0.9 - 1.1 * limit, onnx=0.9 - 1.1 * limit), found.judged_by)
    assert not worse.helped
    assert f"the limit max_drop = {limit:g} is overstepped" in worse.reasons[0]


@given(
    st.floats(0.5, 1.0),
    st.integers(1, 2000),
    st.floats(0.5, 3.0),
    st.floats(0.0, 0.3),
    st.booleans(),
    st.booleans(),
)
def test_helped_means_all_of_it(
    accuracy: float, size: int, speedup: float, spread: float, parity: bool, held: bool
) -> None:
    best = final(
        accuracy=accuracy,
        onnx=accuracy,
        size=size,
        speedup=speedup,
        spread=spread,
        checks=replace(CHECKS, parity_ok=parity, quality_ok=held),
    )
    good = 0.9 - accuracy <= 0.01 + 1e-9 and size <= 500 and speedup - spread > 0.98 and parity and held
    result = verdict(best)
    assert result.helped == good
    assert result.reasons


def test_an_empty_front_names_the_limit_in_the_way() -> None:
    over = Outcome("screened", excess={"max_size": 0.2})
    both = Outcome("complete", excess={"max_size": 0.1, "max_drop": 0.3})
    met = Outcome("complete", excess={"max_size": -0.1, "max_drop": 0.3})
    assert "max_size ruled out 3 of 4 trials" in why_nothing([over, over, both, met])
    nearer = replace(over, metrics=final(size=800, speedup=0.5).metrics, excess={"max_size": 0.01})
    assert "; the nearest to it has 800 bytes and runs at 0.50× the baseline's speed" in why_nothing([over, nearer])
    failed = Outcome("failed", reason="ExportError: no form")
    assert why_nothing([failed]).endswith("1 of 1 trials ended early, most often with: ExportError: no form")
    assert "no trial was finished" in why_nothing([])
    assert verdict(None) == Verdict(False, (why_nothing([]),))


def balanced(count: int) -> tuple[Data, HeldSplit]:
    """A set whose splits have ``count`` samples of ten classes each, and its test split."""
    split = HeldSplit(torch.zeros(count, 1, 1, 1), torch.arange(count) % 10)
    return Data("set", "made", split, split, tuple("0123456789"), (0.0,), (1.0,), lambda: split), split


@pytest.mark.parametrize(
    ("accuracy", "count", "words"),
    [
        (0.9, 6000, ()),
        (0.9, 200, ("the validation split is too small", "the test split is too small")),
        (0.12, 6000, ("the baseline itself is no better than chance",)),
    ],
)
def test_what_makes_the_verdict_uncertain_is_said(accuracy: float, count: int, words: tuple[str, ...]) -> None:
    baseline = replace(BASE, quality=accuracy_of(accuracy, accuracy, accuracy, count))
    found = list(cautions(baseline, LIMITS, *balanced(count)))
    assert len(found) == len(words)
    assert all(line.startswith(word) for line, word in zip(found, words, strict=True))


def test_validation_images_that_the_network_knows_are_suspected() -> None:
    learned = replace(BASE, quality=accuracy_of(1.0, 0.94, 0.94, 3000))
    (line,) = cautions(learned, LIMITS, *balanced(3000))
    assert "was it trained on the validation samples?" in line
    near = replace(BASE, quality=accuracy_of(0.95, 0.94, 0.94, 3000))
    assert not list(cautions(near, LIMITS, *balanced(3000)))


def test_no_split_is_large_enough_for_a_limit_of_nothing() -> None:
    baseline = replace(BASE, quality=accuracy_of(0.9, 0.9, 0.9, 500))
    assert not list(cautions(baseline, Constraints(max_drop=0.0), *balanced(500)))
