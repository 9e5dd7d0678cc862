"""A damaged run folder: what can be measured again is, the rest is one line with the file and what to do about it.

``damage.py`` beside this file tries every damage there is; here a few of each kind.
"""

from __future__ import annotations

import random
import re
import time
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


TAMPERED = {
    "a verdict turned round": ("result.json", "verdict.helped", False),
    "a better quality in the result": ("result.json", "best.quality.onnx", 0.999),
    "a smaller file in the result": ("result.json", "best.size_bytes", 10),
    "a slower baseline in the result": ("result.json", "baseline.latency.us", 1e6),
    "a better quality in the final figures": ("candidates/*/final.json", "metrics.quality.onnx", 0.999),
    "parity that was never there": ("candidates/*/final.json", "parity_ok", False),
    "a better quality in the trial's figures": ("candidates/*/outcome.json", "metrics.quality.validation", 0.999),
    "fewer parameters in the trial's figures": ("candidates/*/outcome.json", "metrics.params", 7),
    "a limit that is overstepped": ("candidates/*/outcome.json", "excess.max_size", 5.0),
    "a smaller file in the trial's figures": ("candidates/*/outcome.json", "metrics.size_bytes", 10),
    "a worse baseline": ("baseline/metrics.json", "metrics.quality.validation", 0.1),
    "a larger baseline": ("baseline/metrics.json", "metrics.size_bytes", 10**6),
    "a worse baseline in the final figures": ("baseline/final.json", "metrics.quality.onnx", 0.01),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_figures_that_contradict_others_are_not_believed(run: Path, tmp_path: Path, what: str) -> None:
    """The report does not tell them, and resume measures again: its result is what it was."""
    name, where, value = TAMPERED[what]
    path, before = damage.copied(run, tmp_path), RunFolder.open(run).result()
    file = path / name.replace("*", best_of(run))
    damage._edit(tuple(where.split(".")), (value,))(file)
    code, said = damage.report(path)
    if code:
        assert code == 2
        assert f"compressor resume {path}" in said
    else:
        assert RunFolder.open(path).result() == before
    assert damage.resume(path)[0] == 0
    after = RunFolder.open(path).result()
    assert after.verdict == before.verdict
    for one, other in ((after.best, before.best), (after.baseline, before.baseline)):
        assert one is not None
        assert other is not None
        assert one.metrics == other.metrics
        assert one.checks == other.checks
    assert damage.report(path)[0] == 0


@pytest.mark.parametrize("where", ["a layer", "the session"])
def test_a_final_measurement_that_hangs_is_ended_and_said(
    run: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = damage.copied(run, tmp_path)
    (path / f"candidates/{best_of(run)}/final.json").unlink()
    recipe = path / "recipe.toml"
    recipe.write_text(re.sub(r"plugin_seconds = .*", "plugin_seconds = 0.3", recipe.read_text()))

    def hang(*_: object, **__: object) -> None:
        while True:
            time.sleep(1.0)

    if where == "a layer":
        monkeypatch.setattr("compressor_plugins.quantize_weights.layer.QuantizedLayer.forward", hang)
    else:
        monkeypatch.setattr("compressor.engine.final.onnx_quality", hang)
    code, said = damage.resume(path)
    assert code == 1
    assert "Traceback" not in said
    (reason,) = RunFolder.open(path).result().verdict.reasons
    assert reason.endswith("could not be measured for good: hangs: not one batch went through it in 3 s")


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
