"""What travels to a worker: a run folder's shared files and its data, and a recipe that reads the copies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import InputError
from compressor.recipe.read import write_recipe
from compressor.search.remote import shared
from compressor.search.remote.host import Host
from compressor.search.remote.shared import Shared, write_shared
from compressor.search.run_folder import RunFolder


def with_data(run: RunFolder, spec: DataSpec) -> RunFolder:
    write_recipe(replace(run.recipe(), data=spec), run.path / "recipe.toml")
    return run


def carried(run: RunFolder, folder: Path) -> RunFolder:
    files = Shared(run)
    for name in files.digests():
        write_shared(folder, name, files.content(name))
    return RunFolder.open(folder)


def arrays(file: Path) -> Path:
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 4
    images = rng.integers(0, 255, (40, 8, 8), dtype=np.uint8)
    np.savez(file, x=images, y=labels)
    return file


def test_a_copy_has_all_that_trials_share_and_grows_with_the_run(run: RunFolder, tmp_path: Path) -> None:
    there = carried(run, tmp_path / "there")
    assert there.recipe() == run.recipe()
    assert (there.baseline / "model.onnx").read_bytes() == (run.baseline / "model.onnx").read_bytes()
    assert not there.study.exists()
    files = Shared(run)
    assert "sensitivities.json" not in files.digests()
    run.sensitivities.write_text("{}")
    assert "sensitivities.json" in files.digests()


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_data_travel_and_are_the_same_there(run: RunFolder, tmp_path: Path, kind: str) -> None:
    if kind == "npz":
        spec = DataSpec(npz=str(arrays(tmp_path / "some.npz")), validation=8)
    else:
        for index in range(24):
            file = tmp_path / "images" / "ab"[index % 2] / f"{index}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8), index, dtype=np.uint8)).save(file)
        spec = DataSpec(folder=str(tmp_path / "images"), validation=6)
    there = carried(with_data(run, spec), tmp_path / "there")
    assert str(tmp_path / "there") in there.recipe().data.title
    here, copy = load_data(spec), load_data(there.recipe().data)
    for mine, theirs in ((here.train, copy.train), (here.validation, copy.validation)):
        assert (mine.images == theirs.images).all()
        assert (mine.targets() == theirs.targets()).all()


def test_more_than_may_travel_is_refused(run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_BYTES", 10)
    with pytest.raises(InputError, match=r"some\.npz: .* MiB are too many to be sent to every worker"):
        Shared(with_data(run, DataSpec(npz=str(arrays(tmp_path / "some.npz"))))).digests()


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (DataSpec(table="/nowhere/t.csv"), "data.table: /nowhere/t.csv is not there on "),
        (DataSpec(function="nowhere_at_all:f"), "data.function: nowhere_at_all:f cannot be imported on "),
    ],
)
def test_what_has_to_be_there_and_is_not_is_said_in_one_line(run: RunFolder, spec: DataSpec, complaint: str) -> None:
    host = Host()
    try:
        files = Shared(with_data(run, spec))
        files.digests()
        assert host.take("recipe.toml", files.content("recipe.toml")).startswith(complaint)
    finally:
        host.leave()
