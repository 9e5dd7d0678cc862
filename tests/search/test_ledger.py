"""What the ledger shows of a trial: its figures, and those after every phase on the way."""

from __future__ import annotations

import json
from pathlib import Path

from search_support import BASELINE, metrics, prepared

from compressor.engine.candidate import Outcome, StageFigures
from compressor.engine.plan import Edit, Phase, Plan
from compressor.files import write_atomic
from compressor.recipe.model import SearchSpec
from compressor.search.ledger import Ledger
from compressor.search.result import RESULT, Candidate, RunResult, Verdict

STAGES = (
    StageFigures("loop.grow", 1, 0.91, 1200, 9000, 4800, edits=1, epochs=2),
    StageFigures("loop.grow", 2, 0.91, 1300, 9900, 5200, edits=1, epochs=2, note="round 2 brought 0.000: undone"),
)


def test_a_candidate_carries_the_figures_after_every_phase_into_the_result(tmp_path: Path) -> None:
    study = prepared(tmp_path, SearchSpec())
    ledger, plan = Ledger(study), Plan((Phase("p", (Edit("a", "x"),)),))
    write_atomic(study.run.candidate(plan.digest) / "plan.json", plan.to_json())
    ledger.add(3, plan.digest, Outcome("complete", metrics(0.92, 500), stages=STAGES))
    (best,) = ledger.front()
    assert best.stages == STAGES
    result = RunResult(Verdict(True, ()), Candidate.of(BASELINE, Plan()), best, (best,))
    text = RESULT.to_json(result)
    assert RESULT.from_json(text) == result
    assert [stage["phase"] for stage in json.loads(text)["best"]["stages"]] == ["loop.grow", "loop.grow"]
    assert json.loads(text)["baseline"]["stages"] == []
