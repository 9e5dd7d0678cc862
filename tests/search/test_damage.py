"""A damaged run folder: what can be measured again is, the rest is one line with the file and what to do about it.

``damage.py`` beside this file tries every damage there is; here a few of each kind.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import damage
import pytest

from compressor.search.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        damage.steady_clock(patch.setattr)
        path = damage.finished_run(tmp_path_factory.mktemp("whole")).path
    assert RunFolder.open(path).result().verdict.helped
    return path


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    damage.steady_clock(monkeypatch.setattr)


def best_of(run: Path) -> str:
    best = RunFolder.open(run).result().best
    assert best is not None
    return best.digest


CUT = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "emptied": lambda path: path.write_bytes(b""),
    "deleted": lambda path: path.unlink(),
}


@pytest.mark.parametrize("how", CUT)
def test_no_verdict_about_other_bytes(run: Path, tmp_path: Path, how: str) -> None:
    """The best candidate's file is damaged: it is trained again, and what is published is what was measured."""
    name = f"candidates/{best_of(run)}/model.onnx"
    assert not list(damage.complaints(run, name, CUT[how], tmp_path))
    code, said = damage.resume(tmp_path / "copy")
    assert code == 0
    assert "run again" not in said  # it was already


def test_a_published_file_that_is_damaged_is_not_spoken_of(run: Path, tmp_path: Path) -> None:
    path = damage.copied(run, tmp_path)
    (path / "best" / "model.onnx").write_bytes(b"")
    code, said = damage.report(path)
    assert code == 2
    assert "best/model.onnx: is damaged" in said
    assert f"compressor resume {path}" in said
    assert damage.resume(path)[0] == 0
    assert damage.report(path)[0] == 0


def test_a_finished_run_reads_back_what_it_measured(run: Path, tmp_path: Path) -> None:
    path = damage.copied(run, tmp_path)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.name in ("final.json", "model.onnx")}
    assert damage.resume(path)[0] == 0
    assert {file: file.read_bytes() for file in path.rglob("*") if file.name in ("final.json", "model.onnx")} == before


def some(count: int) -> list[tuple[int, int]]:
    draw = random.Random(1)
    return [(draw.randrange(1000), draw.randrange(1000)) for _ in range(count)]


@pytest.mark.parametrize(("file", "how"), some(12))
def test_no_damage_is_an_internal_error_or_a_false_verdict(run: Path, tmp_path: Path, file: int, how: int) -> None:
    names = damage.files_of(run)
    name = names[file % len(names)]
    cases: list[tuple[str, Callable[[Path], None]]] = list(damage.damages_of(run / name))
    what, work = cases[how % len(cases)]
    assert not list(damage.complaints(run, name, work, tmp_path)), f"{name}: {what}"


def test_a_report_of_a_folder_that_cannot_be_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = damage.copied(run, tmp_path)
    monkeypatch.setattr("compressor.report.write.write_atomic", refused)
    code, said = damage.report(path)
    assert code == 0
    assert "report.html is not written" in said
    assert "It helped" in said
