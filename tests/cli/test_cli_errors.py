"""Wrong input is one line and exit code 2; nothing that went wrong reads as success."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from cli_running import Run

from compressor.cli import failures
from compressor.cli.failures import exit_code
from compressor.errors import ExportError, InputError, TrialError

COMPRESSOR = [sys.executable, "-m", "compressor.cli.main"]

WRONG = [
    (("inspect", "lnet"), "did you mean 'lenet'"),
    (("inspect", "nowhere.pt"), "nowhere.pt"),
    (("inspect", "{text}"), "{text}"),
    (("inspect", "{empty}"), "{empty}"),
    (("inspect", "lenet", "--input", "3xx"), "--input 3xx"),
    (("inspect", "digits-cnn", "--recipe", "quikstart"), "did you mean 'quickstart'"),
    (("bench", "{text}"), "{text}"),
    (("bench", "nowhere.onnx"), "no such file"),
    (("bench",), "missing argument"),
    (("train", "lnet", "--data", "digits", "--out", "{new}"), "did you mean 'lenet'"),
    (("train", "digits-cnn", "--data", "digit", "--out", "{new}"), "did you mean 'digits'"),
    (("train", "lenet", "--data", "digits", "--out", "{new}"), "the model takes 1×28×28"),
    (("train", "digits-cnn", "--data", "digits", "--out", "{text}"), "--force"),
    (("train", "digits-cnn", "--data", "digits", "--out", "{folder}"), "is a folder"),
    (("train", "digits-cnn", "--data", "nowhere.npz", "--out", "{new}"), "nowhere.npz"),
    (("train", "digits-cnn", "--data", "digits", "--out", "{new}", "--seed", "4294967296"), "--seed: expected at most"),
    (("train", "digits-cnn", "--data", "digits", "--out", "{new}", "--seed", "-1"), "--seed: expected at least 0"),
    (("train", "digits-cnn", "--data", "digits", "--out", "{new}", "--lr", "inf"), "--lr: expected at most"),
    (("train", "digits-cnn", "--data", "digits", "--out", "{new}", "--lr", "0"), "--lr: expected more than 0"),
    (("train", "digits-cnn", "--data", "digits", "--out", "{new}", "--weight-decay", "nan"), "--weight-decay"),
    (("optimize", "digits-cnn"), "without a recipe, say which data"),
    (("optimize", "digits-cnn", "--recipe", "{text}"), "{text}"),
    (("optimize", "digits-cnn", "--recipe", "quickstart", "--set", "search.trails=3"), "trails"),
    (("optimize", "digits-cnn", "--recipe", "quickstart", "--trials", "0"), "--trials"),
    (("resume", "{folder}"), "not a run folder"),
    (("report", "nowhere"), "nowhere"),
    (("plugins", "check", "binarise"), "did you mean 'binarize'"),
    (("recipe", "show", "quikstart"), "did you mean 'quickstart'"),
    (("optimise",), "optimise"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_wrong_input_is_one_line(run: Run, tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    (tmp_path / "text.txt").write_text("what is this")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    places = {name: tmp_path / file for name, file in
              {"text": "text.txt", "empty": "empty.pt", "folder": "folder", "new": "new.pt"}.items()}  # fmt: skip
    ran = run(*(argument.format(**places) for argument in arguments))
    assert ran.code == 2
    assert ran.out == ""
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith("compressor: ")
    assert says.format(**places) in last
    assert "Traceback" not in ran.err
    assert not (tmp_path / "new.pt").exists()


def test_with_json_an_error_leaves_standard_output_empty(run: Run) -> None:
    ran = run("inspect", "lnet", "--json")
    assert (ran.code, ran.out) == (2, "")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("no"), 2),
        (ExportError("no form"), 2),
        (TrialError("broke"), 70),
        (PermissionError(13, "Permission denied", "/x"), 2),
        (OSError(28, "No space left on device", "/x"), 70),
        (MemoryError(), 70),
        (KeyboardInterrupt(), 130),
        (typer.Abort(), 130),
        (SystemExit(0), 70),
        (SystemExit(3), 70),
        (SystemExit("words"), 70),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise error

    assert exit_code(command) == code
    assert "Traceback" not in capsys.readouterr().err


def test_an_internal_error_is_one_line_and_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures.tempfile, "tempdir", str(tmp_path))
    assert exit_code(lambda: {}["missing"]) == 70
    err = capsys.readouterr().err
    assert re.fullmatch(r"compressor: internal error: KeyError: 'missing'; please report it with \S+\n", err)
    (kept,) = tmp_path.glob("compressor-error-*.txt")
    assert "Traceback" in kept.read_text()
    assert str(kept) in err


def test_the_traceback_is_shown_on_demand(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPRESSOR_TRACEBACK", "1")
    assert exit_code(lambda: {}["missing"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_error_lines_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise InputError("layer \x1b[2J\nis odd")

    exit_code(command)
    assert capsys.readouterr().err == "compressor: layer ?[2J is odd\n"


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    line = f"{sys.executable} -m compressor.cli.main recipe list | true"
    ended = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True)
    assert ended.stderr == ""
