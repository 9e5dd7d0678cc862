"""The tables of a run say what the figures say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from qualities import accuracy_of

from compressor.engine.candidate import Latency, Metrics, Outcome
from compressor.engine.plan import Decision, Edit, Phase, Plan
from compressor.report.gather import Trial
from compressor.report.table import Column, Table, table
from compressor.report.tables import comparison_table, controls_table, edits_table, finalists_table, front_table
from compressor.report.trials import trials_table
from compressor.report.verdict import gains, headline, sentences, speed
from compressor.search.result import Candidate, Checks, RunResult, Verdict

BASE = Metrics(1000, 8000, 5_000_000, accuracy_of(0.9, 0.89, 0.89), Latency(20.0))
AFTER = Metrics(500, 1000, 2_500_000, accuracy_of(0.895, 0.88, 0.88), Latency(10.0, 2.0, 1.95, 2.05))
CHECKS = Checks(1e-6, True, True, "agrees", 11.0, 12.0, 90)
BASELINE = Candidate.of(BASE, Plan())
BEST = Candidate.of(AFTER, Plan((Phase("p", (Edit("binarize", "fc1"),)),)), digest="abc", trial=3, checks=CHECKS)
RESULT = RunResult(Verdict(True, ("8.0× smaller",)), BASELINE, BEST, (BEST,))


def cell(content: Table, row: str, column: str) -> str:
    index = [entry.title for entry in content.columns].index(column)
    return next(cells[index] for cells in content.rows if cells[0] == row)


def test_a_table_is_named_in_one_line() -> None:
    made = table("layer, >bytes", [("a", "1")])
    assert made.columns == (Column("layer"), Column("bytes", right=True))
    assert made.rows == (("a", "1"),)


def test_the_front_is_shown_on_one_split() -> None:
    shown = front_table([BEST], BASELINE, best="abc")
    assert [column.title for column in shown.columns][1] == "test"
    assert shown.rows[0][:5] == ("3 best", "88.00 %", "1000 B", "8.00×", "2.00×")
    assert shown.marked == 0
    during = replace(BEST, quality=accuracy_of(0.895))
    shown = front_table([during], BASELINE)
    assert [column.title for column in shown.columns][1] == "validation"
    assert [row[1] for row in shown.rows] == ["89.50 %", "90.00 %"]


def test_before_and_after() -> None:
    shown = comparison_table(BEST, BASELINE)
    assert cell(shown, "ONNX file", "change") == "8.00× smaller"
    assert cell(shown, "time per call", "change") == "2.00× (1.95–2.05)"
    assert cell(shown, "accuracy, test", "change") == "−1.00 points"


@pytest.mark.parametrize(("params", "shown"), [(2000, "2.00× larger"), (1003, "+0.3 %"), (1000, "same")])
def test_what_grew_is_not_called_smaller(params: int, shown: str) -> None:
    assert cell(comparison_table(replace(BEST, params=params), BASELINE), "parameters", "change") == shown


def test_finalists_carry_every_figure_and_the_best_is_marked() -> None:
    shown = finalists_table(RESULT)
    assert shown.marked == 1
    assert cell(shown, "3", "bytes") == "1,000"
    assert cell(shown, "baseline", "validation") == "90.00 %"


def test_trials_say_how_they_ended_and_why() -> None:
    trials = [
        Trial(0, "a", "binarize fc1", Outcome("complete", AFTER, {"max_drop": 0.01, "max_size": -0.5})),
        Trial(1, "b", "", Outcome("screened", AFTER, {"max_size": 0.1}, "size 0.6 of 0.5")),
        Trial(2, "c", "", Outcome("failed", reason="Refusal: no")),
    ]
    shown = trials_table(trials, BASE)
    assert cell(shown, "0", "why") == "misses max_drop by 1.00 points"
    assert cell(shown, "1", "validation") == "–"
    assert cell(shown, "1", "why") == "size 0.6 of 0.5"
    assert cell(shown, "2", "ended") == "failed"


def test_steps_of_a_plan() -> None:
    plan = Plan((Phase("p", (Edit("binarize", "fc1", {"bits": 1}), Decision("cut", "spread", {"count": 2}))),))
    assert edits_table(plan).rows == (("p", "binarize", "fc1", "bits = 1"), ("p", "cut", "spread", "count = 2"))


def test_controls_stand_beside_the_best() -> None:
    shown = controls_table({"scratch": accuracy_of(0.8)}, BEST)
    assert cell(shown, "scratch", "validation") == "80.00 %"
    assert cell(shown, "scratch", "test") == "–"


def test_a_helpful_run_in_words() -> None:
    assert headline(RESULT) == "It helped"
    (line,) = sentences(RESULT)
    for part in ("8.00× smaller", "2.00× faster (1.95–2.05)", "89.00 % → 88.00 %", "the ONNX file agrees"):
        assert part in line


def test_a_run_that_did_not_help_gives_its_reasons() -> None:
    result = replace(RESULT, verdict=Verdict(False, ("the model was not changed",)))
    assert headline(result) == "It did not help"
    assert sentences(result)[1:] == ["The model was not changed."]
    careful = replace(result, verdict=replace(result.verdict, cautions=("few images",)))
    assert sentences(careful)[-1] == "Careful: few images."
    assert sentences(replace(careful, notes=("it is folded",)))[-2:] == [
        "Careful: few images.",
        "Note on the model: it is folded.",
    ]
    nothing = replace(result, best=None, front=())
    assert sentences(nothing) == ["The model was not changed."]


def test_an_unfinished_run_claims_nothing() -> None:
    assert "preliminary" in headline(replace(RESULT, final=False))


@pytest.mark.parametrize(
    ("latency", "word"),
    [
        (Latency(1, 2.0, 1.9, 2.1), "2.00× faster"),
        (Latency(1, 1.01, 0.99, 1.03), "as fast"),
        (Latency(1, 0.5, 0.4, 0.6), "slower"),
        (Latency(1, 0.99, 0.9, 1.1), "not shown to be as fast"),
    ],
)
def test_speed_is_claimed_only_where_the_interval_says_so(latency: Latency, word: str) -> None:
    assert speed(latency).startswith(word)


def test_an_onnx_file_that_differs_is_said_to() -> None:
    differs = replace(BEST, checks=replace(CHECKS, parity_ok=False, parity_error=0.3))
    assert "differs from the network by 3.0e-01" in gains(differs, BASELINE)
    worse = replace(BEST, checks=replace(CHECKS, quality_ok=False))
    assert "scores less" in gains(worse, BASELINE)


def test_a_larger_file_is_not_called_smaller() -> None:
    assert "Not smaller (7.81 KiB → 8.79 KiB)" in gains(replace(BEST, size_bytes=9000), BASELINE)
