"""A trial asks the cheapest question first, keeps what it measured, and can be replayed."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from compressor.data.dataset import Data
from compressor.engine.baseline import Baseline
from compressor.engine.candidate import OUTCOME, Constraints, Outcome
from compressor.engine.plan import Decision, Edit, Gate, Phase, Plan
from compressor.engine.rungs import Rung, failed_at
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.measure.session import OnnxModel
from compressor.train import checkpoint
from compressor.train.history import EpochReport, History
from compressor.train.spec import TrainingSpec

SHORT = TrainingSpec(epochs=2, batch=64, lr=2e-3)
BINARY = Plan((Phase("main", (Edit("binarize", "fc1"), Edit("binarize", "fc2")), SHORT),))


@pytest.fixture
def run(baseline: Baseline, data: Data, tmp_path: Path) -> Callable[..., Outcome]:
    def call(
        plan: Plan, *, limits: Constraints | None = None, name: str = "a", seed: int = 0, rungs: Sequence[Rung] = ()
    ) -> Outcome:
        settings = TrialSettings(limits or Constraints(), calibration=128)
        return run_trial(plan, baseline, data, settings, seed=seed, folder=tmp_path / name, rungs=rungs)

    return call


def test_a_candidate_is_smaller_scored_and_timed(
    run: Callable[..., Outcome], baseline: Baseline, tmp_path: Path, unchanged: Callable[[], bool]
) -> None:
    outcome = run(BINARY)
    assert outcome.status == "complete"
    assert outcome.metrics is not None
    assert outcome.metrics.size_bytes == (tmp_path / "a" / "model.onnx").stat().st_size < baseline.metrics.size_bytes
    assert outcome.metrics.quality.validation > 0.7
    assert outcome.metrics.latency.low <= outcome.metrics.latency.speedup <= outcome.metrics.latency.high
    assert set(outcome.seconds) == {"build", "screen", "train", "measure"}
    assert OUTCOME.read(tmp_path / "a" / "outcome.json") == outcome
    assert unchanged()


def statistics_of(folder: Path, baseline: Baseline, data: Data) -> torch.Tensor:
    """Of the BatchNorm behind the layer that is edited, as the trial left them."""
    norm = load_candidate(folder, baseline, baseline.evidence(data, 128)).leaf("block.1")
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    return norm.running_mean


@pytest.mark.parametrize(
    ("steps", "taught", "as_untrained"),
    [
        pytest.param(40, False, True, id="training that is undone"),
        pytest.param(2, True, True, id="training too short to forget what it began with"),
        pytest.param(40, True, False, id="training that goes on from there"),
    ],
)
def test_statistics_of_few_images_are_but_a_beginning(
    run: Callable[..., Outcome],
    baseline: Baseline,
    data: Data,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: int,
    taught: bool,
    as_untrained: bool,
) -> None:
    """BatchNorm begins a training with eight images; a network that keeps its weights has the statistics of all."""
    report = EpochReport(int(taught), 1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    monkeypatch.setattr("compressor.engine.course.fit", lambda *_, **__: History((report,), report, kept=report))
    monkeypatch.setattr("compressor.evidence._FOR_TRAINING", 8 * 64)
    trained, untrained = (
        run(Plan((Phase("main", (Edit("binarize", "block.0"),), training),)), name=name)
        for name, training in (("trained", replace(SHORT, epochs=1, steps_per_epoch=steps)), ("untrained", None))
    )
    left, whole = (statistics_of(tmp_path / name, baseline, data) for name in ("trained", "untrained"))
    assert torch.equal(left, whole) == as_untrained
    assert trained.metrics is not None
    assert untrained.metrics is not None
    assert trained.metrics.quality == untrained.metrics.quality or not as_untrained


def test_the_test_split_stays_sealed(baseline: Baseline, data: Data, tmp_path: Path) -> None:
    sealed = replace(data, test=lambda: pytest.fail("the test split was read"))
    outcome = run_trial(BINARY, baseline, sealed, TrialSettings(calibration=128), seed=0, folder=tmp_path)
    assert outcome.status == "complete"


def test_a_candidate_is_rebuilt_from_its_folder(
    run: Callable[..., Outcome], baseline: Baseline, data: Data, tmp_path: Path
) -> None:
    run(BINARY)
    network = load_candidate(tmp_path / "a", baseline, baseline.evidence(data, 128))
    images = data.normalised(data.validation.images[:64])
    onnx = torch.from_numpy(OnnxModel((tmp_path / "a" / "model.onnx").read_bytes()).run(images)[0])
    with torch.no_grad():
        torch.testing.assert_close(network(images), onnx, atol=1e-4, rtol=1e-4)
        assert not torch.allclose(baseline.network(images), onnx, atol=1e-2), "the negative control"


def test_the_same_seed_gives_the_same_weights(run: Callable[..., Outcome], tmp_path: Path) -> None:
    first, again, other = (run(BINARY, name=name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    assert first.metrics is not None
    assert again.metrics is not None
    assert first.metrics.quality == again.metrics.quality
    assert other.status == "complete"


def test_a_trial_goes_on_from_a_rung_or_ends_there(run: Callable[..., Outcome], tmp_path: Path) -> None:
    """It is not begun anew: the weights of one that passed are those of one that met no rung."""
    whole = run(BINARY)
    passed = run(BINARY, name="b", rungs=[Rung(0.5, 1.0)])
    ended = run(BINARY, name="c", rungs=[Rung(0.25, -1.0)])
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1] != weights[2]
    assert whole.curve == passed.curve
    assert [reached.share for reached in whole.curve] == [0.5, 1.0]
    assert ended.status == "stopped"
    assert ended.curve == whole.curve[:1]
    assert ended.reason.startswith("ended after 1 of 2 epochs: accuracy is ")
    assert ended.metrics is not None
    assert ended.metrics.quality.validation == ended.curve[-1].quality


def test_epochs_of_an_attempt_that_was_cut_off_count_and_meet_no_rung_again(
    baseline: Baseline, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_TIMES", 0)
    told: list[float] = []

    def attempt(name: str, *rungs: Rung) -> Outcome:
        return run_trial(
            BINARY,
            baseline,
            data,
            TrialSettings(calibration=128),
            seed=0,
            folder=tmp_path / name,
            rungs=rungs,
            checkpoints=tmp_path / "checkpoints",
            progress=lambda stage, share: told.append(share),
        )

    whole = attempt("a")
    again = attempt("b", Rung(0.25, -1.0))
    assert (again.status, again.curve) == ("complete", whole.curve)
    assert [stage.epochs for stage in again.stages] == [2]
    assert told[: len(told) // 2] == told[len(told) // 2 :]
    trained = sum(report["seconds"] for report in kept_reports(tmp_path / "checkpoints"))
    assert again.seconds["train"] >= trained > 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def kept_reports(folder: Path) -> list[dict[str, float]]:
    (file,) = folder.iterdir()
    reports: list[dict[str, float]] = torch.load(file)["reports"]
    return reports


def test_a_trial_that_is_over_passes_every_rung() -> None:
    rungs = [Rung(0.25, 0.1), Rung(0.5, 0.05)]
    assert failed_at(rungs, 0.0, 0.2, 9.0) is None
    assert failed_at(rungs, 0.0, 0.3, 0.1) is None
    assert failed_at(rungs, 0.0, 0.3, 0.11) == rungs[0]
    assert failed_at(rungs, 0.3, 0.6, math.nan) == rungs[1]
    assert failed_at(rungs, 0.0, 1.0, 9.0) is None


@pytest.mark.parametrize("limits", [Constraints(max_size=0.01), Constraints(max_latency=0.01)], ids=["size", "latency"])
def test_what_cannot_meet_a_limit_is_never_trained(run: Callable[..., Outcome], limits: Constraints) -> None:
    outcome = run(BINARY, limits=limits)
    assert outcome.status == "screened"
    assert "train" not in outcome.seconds
    assert max(outcome.excess.values()) > 0
    assert outcome.reason.startswith("over max_")


def test_a_limit_on_accuracy_is_told_not_screened(run: Callable[..., Outcome]) -> None:
    untrained = Plan((Phase("main", (Edit("binarize", "fc1"),), None),))
    outcome = run(untrained, limits=Constraints(max_drop=-1.0))
    assert outcome.status == "complete"
    assert outcome.excess["max_drop"] > 0


def test_a_gate_ends_the_pipeline_with_its_reason(run: Callable[..., Outcome]) -> None:
    gated = Phase("first", (Edit("binarize", "fc1"),), None, gate=Gate(max_drop=-1.0))
    outcome = run(Plan((gated, Phase("second", (Edit("binarize", "fc2"),), SHORT))))
    assert outcome.status == "stopped"
    assert "gate after first" in outcome.reason
    assert "train" not in outcome.seconds


def test_rounds_decide_anew_each_time_and_are_written_as_edits(run: Callable[..., Outcome], tmp_path: Path) -> None:
    step = Decision("binarize", "spread", {"count": 1})
    outcome = run(Plan((Phase("main", (step,), SHORT, rounds=2),)))
    assert outcome.status == "complete"
    written = Plan.from_json((tmp_path / "a" / "plan.json").read_bytes())
    assert len(written.phases) == 2
    assert len({edit.site for edit in written.edits}) == 2


def test_rewinding_forgets_the_training_before(run: Callable[..., Outcome], baseline: Baseline, tmp_path: Path) -> None:
    train = Phase("warm", (), SHORT)
    run(Plan((train, Phase("main", (Edit("binarize", "fc2"),), None, rewind="initial"))))
    from safetensors.torch import load_file

    kept = load_file(tmp_path / "a" / "weights.safetensors")["fc1.weight"]
    assert torch.equal(kept, baseline.network.module.state_dict()["fc1.weight"])


def test_a_plan_that_cannot_be_built_fails_with_its_reason(run: Callable[..., Outcome], tmp_path: Path) -> None:
    outcome = run(Plan((Phase("main", (Edit("binarize", "nowhere"),), SHORT),)))
    assert outcome.status == "failed"
    assert "nowhere" in outcome.reason
    assert json.loads((tmp_path / "a" / "outcome.json").read_text())["status"] == "failed"


def test_every_phase_and_round_leaves_its_figures(
    run: Callable[..., Outcome], baseline: Baseline, tmp_path: Path
) -> None:
    step = Decision("binarize", "spread", {"count": 1})
    plan = Plan((Phase("warm", (), SHORT), Phase("main", (step,), SHORT, rounds=2), Phase("rest")))
    outcome = run(plan)
    shown = [(stage.phase, stage.round, stage.edits, stage.epochs) for stage in outcome.stages]
    assert shown == [("warm", 1, 0, 2), ("main", 1, 1, 2), ("main", 2, 1, 2), ("rest", 1, 0, 0)]
    sizes = [stage.size_bytes for stage in outcome.stages]
    assert baseline.metrics.size_bytes == sizes[0] > sizes[1] > sizes[2] == sizes[3]
    assert outcome.metrics is not None
    last = outcome.stages[-1]
    assert (last.quality, last.params, last.macs) == (
        outcome.metrics.quality.validation,
        outcome.metrics.params,
        outcome.metrics.macs,
    )
    assert OUTCOME.read(tmp_path / "a" / "outcome.json").stages == outcome.stages
