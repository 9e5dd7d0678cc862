"""The frame: help is quick, versions, streams that cannot show everything."""

from __future__ import annotations

import os
import subprocess
import sys

from cli_running import Run

from compressor import __version__

MAIN = [sys.executable, "-m", "compressor.cli.main"]


def test_help_loads_no_heavy_library() -> None:
    code = "import sys, compressor.cli.main as m; m.main(['--help']); print([n for n in " \
           "('torch', 'optuna', 'onnx', 'matplotlib', 'numpy') if n in sys.modules])"  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_version(run: Run) -> None:
    assert run("--version").out == f"compressor {__version__}\n"


def test_no_command_shows_the_help(run: Run) -> None:
    ran = run()
    assert ran.code == 2
    assert "optimize" in ran.out


def test_every_command_has_help(run: Run) -> None:
    for command in ("optimize", "resume", "report", "inspect", "bench", "train", "models", "plugins", "recipe"):
        ran = run(command, "--help")
        assert ran.code == 0
        assert "Usage" in ran.out


def test_a_stream_without_the_letters_is_no_failure() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([*MAIN, "models"], capture_output=True, env=environment)
    assert ended.returncode == 0
    assert b"lenet" in ended.stdout


def test_completion_knows_recipes_and_plugins() -> None:
    for words, expected in (
        ("compressor optimize lenet --recipe qu", "quickstart"),
        ("compressor plugins check bin", "binarize"),
    ):
        environment = {
            **os.environ,
            "_COMPRESSOR_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        ended = subprocess.run(MAIN, capture_output=True, text=True, env=environment)
        assert expected in ended.stdout
