"""The final measurement opens the test split and judges the ONNX file itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from compressor.data.dataset import Data
from compressor.engine.baseline import Baseline, check_fit, load_baseline, save_baseline
from compressor.engine.candidate import OUTCOME
from compressor.engine.control import from_scratch
from compressor.engine.final import FINAL, finalise, finalise_baseline
from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.trial import WRITTEN, TrialSettings, load_candidate, run_trial
from compressor.errors import DamagedFileError, DataError, RunFolderError
from compressor.graph.capture import capture
from compressor.stored import digests_of
from compressor.train.spec import TrainingSpec

PLAN = Plan((Phase("main", (Edit("binarize", "fc1"),), TrainingSpec(epochs=2, batch=64)),))


@pytest.fixture
def folder(baseline: Baseline, data: Data, tmp_path: Path) -> Path:
    run_trial(PLAN, baseline, data, TrialSettings(calibration=128), seed=0, folder=tmp_path / "a")
    return tmp_path / "a"


def test_every_figure_is_there_and_written(folder: Path, baseline: Baseline, data: Data) -> None:
    final = finalise(folder, baseline, data, data.open_test(), calibration=128)
    quality = final.metrics.quality
    assert quality.test is not None
    assert quality.onnx == pytest.approx(quality.test, abs=0.002)
    assert final.parity_ok
    assert final.quality_ok
    assert final.cross_check.startswith(("agrees", "unavailable"))
    assert final.rounds >= 27
    assert FINAL.read(folder / "final.json") == final


def test_a_file_that_is_not_the_network_is_found_out(folder: Path, baseline: Baseline, data: Data) -> None:
    (folder / "model.onnx").write_bytes(baseline.onnx)
    with pytest.raises(DamagedFileError, match=r"model\.onnx: is damaged"):
        finalise(folder, baseline, data, data.open_test())
    outcome = OUTCOME.read(folder / "outcome.json")
    OUTCOME.write(folder / "outcome.json", replace(outcome, files=digests_of(folder, WRITTEN)))
    with pytest.raises(DamagedFileError, match=r"outcome\.json: is damaged \(.* bytes, the file has"):
        finalise(folder, baseline, data, data.open_test())
    assert outcome.metrics is not None
    figures = replace(outcome.metrics, size_bytes=len(baseline.onnx))
    OUTCOME.write(folder / "outcome.json", replace(outcome, metrics=figures, files=digests_of(folder, WRITTEN)))
    assert not finalise(folder, baseline, data, data.open_test(), calibration=128).parity_ok


def test_the_baseline_is_measured_the_same_way(baseline: Baseline, data: Data) -> None:
    final = finalise_baseline(baseline, data, data.open_test())
    timed = final.metrics.latency  # against itself: about 1, which one interval in twenty misses
    assert 0.5 < timed.low <= timed.speedup <= timed.high < 2.0
    assert final.metrics.quality.test is not None
    assert final.metrics.quality.test > 0.85


def test_the_baseline_survives_its_folder(baseline: Baseline, data: Data, tmp_path: Path) -> None:
    save_baseline(baseline, tmp_path)
    again = load_baseline(tmp_path)
    assert again.metrics == baseline.metrics
    assert again.onnx == baseline.onnx
    images = data.normalised(data.validation.images[:8])
    assert again.network(images).equal(baseline.network(images))


def test_a_baseline_without_its_last_file_is_not_there(baseline: Baseline, tmp_path: Path) -> None:
    save_baseline(baseline, tmp_path)
    (tmp_path / "metrics.json").unlink()
    with pytest.raises(RunFolderError, match=r"metrics\.json: is missing"):
        load_baseline(tmp_path)


def test_data_that_do_not_fit_are_one_clear_line(data: Data) -> None:
    from torch import nn

    wrong_size = capture(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 10)), (3, 4, 4))
    with pytest.raises(DataError, match=r"digits: images are 1×8×8 .*, the model takes 3×4×4"):
        check_fit(wrong_size, data)
    too_few = capture(nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), (1, 8, 8))
    with pytest.raises(DataError, match="10 classes, but the model has only 4 outputs"):
        check_fit(too_few, data)


def test_the_scratch_control_inherits_no_weight(folder: Path, baseline: Baseline, data: Data) -> None:
    network = load_candidate(folder, baseline, baseline.evidence(data, 128))
    untrained = Plan((Phase("main", PLAN.phases[0].steps, None),))
    assert from_scratch(network, untrained, data, seed=0).quality < 0.4
    longer = Plan((Phase("main", PLAN.phases[0].steps, TrainingSpec(epochs=6, batch=32, lr=3e-3)),))
    assert from_scratch(network, longer, data, seed=0).quality > 0.8
