"""Decisions become the edits they effectively are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from compressor.data.dataset import Data
from compressor.engine.baseline import Baseline
from compressor.engine.plan import Decision, Edit, Phase, Plan
from compressor.engine.resolve import resolve
from compressor.engine.sensitivity import Sensitivities
from compressor.errors import Refusal


def spread(plugin: str, **values: object) -> Decision:
    return Decision(plugin, "spread", values)  # type: ignore[arg-type]


@pytest.fixture
def resolved(baseline: Baseline, data: Data, sensitivities: Sensitivities) -> Callable[..., Plan]:
    evidence = baseline.evidence(data, 64)

    def run(*steps: Decision | Edit, **phase: object) -> Plan:
        plan = Plan((Phase("main", steps, **phase),))  # type: ignore[arg-type]
        return resolve(plan, baseline.network, sensitivities, evidence)

    return run


def test_the_count_is_met_and_the_baseline_untouched(
    resolved: Callable[..., Plan], unchanged: Callable[[], bool]
) -> None:
    edits = resolved(spread("binarize", count=2)).edits
    assert len(edits) == 2
    assert all(edit.plugin == "binarize" for edit in edits)
    assert unchanged()


def test_different_values_with_the_same_effect_are_one_candidate(resolved: Callable[..., Plan]) -> None:
    everything = 99
    digests = {resolved(spread("binarize", count=everything, follow=follow)).digest for follow in (1.0,)}
    digests |= {resolved(spread("binarize", count=everything + 1, follow=1.0)).digest}
    assert len(digests) == 1


def test_edits_stand_as_they_are(resolved: Callable[..., Plan]) -> None:
    (edit,) = resolved(Edit("binarize", "fc1")).edits
    assert edit.site == "fc1"


def test_sites_an_earlier_edit_took_away_are_passed_over(resolved: Callable[..., Plan]) -> None:
    plan = resolved(spread("layer-removal", count=99), spread("binarize", count=99))
    removed = [edit.site for edit in plan.edits if edit.plugin == "layer-removal"]
    assert removed
    assert resolved(*plan.edits).edits == plan.edits, "the edits replay"


def test_a_plan_that_changes_nothing_is_refused(resolved: Callable[..., Plan]) -> None:
    with pytest.raises(Refusal, match="changes nothing"):
        resolved(replace(spread("binarize"), skip=("*",)))


def test_rounds_stay_open(resolved: Callable[..., Plan]) -> None:
    plan = resolved(spread("layer-removal", count=1), rounds=2)
    assert all(isinstance(step, Decision) for step in plan.phases[0].steps)
