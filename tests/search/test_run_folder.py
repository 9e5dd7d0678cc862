from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import pytest
import torch

from compressor.data.load import load_data
from compressor.engine.baseline import load_baseline
from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.errors import RunFolderError
from compressor.measure.session import OnnxModel
from compressor.recipe.read import read_recipe
from compressor.search import run_folder
from compressor.search.run_folder import RunFolder
from compressor.train.spec import TrainingSpec


def test_a_new_folder_is_whole(made: RunFolder) -> None:
    assert {"recipe.toml", "environment.json", "model.pt2"} <= {file.name for file in made.path.iterdir()}
    assert made.recipe().search.trials == 2
    assert made.source() == "a test"
    assert made.model().signature.input.shape == (1, 8, 8)


def test_a_place_where_nothing_can_be_made_is_one_line(
    made: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, network = made.recipe(), made.model()
    (tmp_path / "file").touch()
    with pytest.raises(RunFolderError, match=r"cannot be made \(.*\); choose another folder"):
        RunFolder.create(tmp_path / "file" / "run", recipe, network)

    def refused(**_: object) -> str:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(run_folder.tempfile, "mkdtemp", refused)
    with pytest.raises(RunFolderError, match=r"cannot be made \(Read-only file system\); choose another folder"):
        RunFolder.create(tmp_path / "run", recipe, network)
    assert not (tmp_path / "run").exists()


def test_folders_that_are_taken_are_left_alone(made: RunFolder, tmp_path: Path) -> None:
    recipe, network = made.recipe(), made.model()
    with pytest.raises(RunFolderError, match="holds a run already; go on with: compressor resume"):
        RunFolder.create(made.path, recipe, network)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    with pytest.raises(RunFolderError, match="is not empty"):
        RunFolder.create(tmp_path / "photos", recipe, network)
    with pytest.raises(RunFolderError, match="is a file"):
        RunFolder.create(tmp_path / "photos" / "a.jpg", recipe, network)
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(tmp_path / "empty", recipe, network).recipe() == recipe


def test_a_folder_is_made_whole_or_not_at_all(made: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    recipe, network = made.recipe(), made.model()
    monkeypatch.setattr(run_folder, "write_pt2", full)
    with pytest.raises(OSError, match="no space"):
        RunFolder.create(tmp_path / "new", recipe, network)
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="there is no such folder"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(RunFolderError, match=r"not a run folder \(environment.json is missing\)"):
        RunFolder.open(tmp_path)


def test_one_process_per_folder(run: RunFolder) -> None:
    with run.lock(), pytest.raises(RunFolderError, match="in use by process"), run.lock():
        pass
    with run.lock():
        pass


def test_half_written_files_are_swept_away(run: RunFolder) -> None:
    (run.path / ".study.x.part").touch()
    (run.path / ".best.x.part").mkdir()
    run.sweep()
    assert not list(run.path.glob(".*"))


def test_a_run_without_a_result_says_how_to_get_one(run: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="no result yet; go on with: compressor resume"):
        run.result()


def test_the_bundled_recipe_survives_the_folder(made: RunFolder, tmp_path: Path) -> None:
    recipe = read_recipe("quickstart")
    assert RunFolder.create(tmp_path / "q", recipe, made.model()).recipe() == recipe


def test_the_best_candidate_is_replayed_from_a_copy_of_its_folder_alone(run: RunFolder, tmp_path: Path) -> None:
    """Later phases begin with trained weights, so those must come along."""
    training = TrainingSpec(epochs=1, steps_per_epoch=2)
    plan = Plan(tuple(Phase(f"p{path}", (Edit("binarize", path),), training) for path in ("1", "3")))
    baseline, data = load_baseline(run.baseline), load_data(run.recipe().data)
    folder = run.candidate("best")
    outcome = run_trial(plan, baseline, data, TrialSettings(calibration=64), seed=0, folder=folder)
    assert outcome.status == "complete", outcome.reason
    (folder / "final.json").write_text("{}")
    run.publish_best("best")
    assert (run.best / "before-phase-1.safetensors").exists()
    moved = shutil.copytree(run.best, tmp_path / "elsewhere")
    shutil.rmtree(folder)
    evidence = baseline.evidence(data, 64)
    images, _ = evidence.batches[0]
    with torch.no_grad():
        replayed = load_candidate(moved, baseline, evidence)(images)
    onnx = OnnxModel((moved / "model.onnx").read_bytes()).run(images)[0]
    torch.testing.assert_close(replayed, torch.from_numpy(onnx), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("how", ["an older folder without a number", "a newer number"])
def test_a_folder_of_another_version_is_one_line(run: RunFolder, how: str) -> None:
    file = run.path / "environment.json"
    environment = json.loads(file.read_text())
    if how == "a newer number":
        environment["format"] = 99
    else:
        del environment["format"]
        (run.path / "result.json").write_text(json.dumps({"verdict": {"helped": True, "reasons": []}}))
    file.write_text(json.dumps(environment))
    with pytest.raises(RunFolderError, match=r"was written by another version of compressor \(.+model\.pt2 --recipe"):
        RunFolder.open(run.path)
    file.write_text("{}")  # where that is lost, nothing is known against it
    (run.path / "result.json").unlink(missing_ok=True)
    assert RunFolder.open(run.path).environment() == {}
