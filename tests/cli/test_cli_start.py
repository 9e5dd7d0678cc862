"""The frame: help is quick, versions, streams that cannot show everything."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from cli_running import Run

from compressor import __version__

MAIN = [sys.executable, "-m", "compressor.cli.main"]


def test_help_loads_no_heavy_library() -> None:
    code = "import sys, compressor.cli.main as m; m.main(['--help']); print([n for n in " \
           "('torch', 'optuna', 'onnx', 'matplotlib', 'numpy') if n in sys.modules])"  # fmt: skip
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", [["models"], ["inspect", "lnet"], ["optimize", "lenet", "--recipe", "quikstart"]])
def test_small_commands_and_typos_do_not_pay_for_torchs_compiler(command: list[str]) -> None:
    code = f"import sys, compressor.cli.main as m; m.main({command}); print('torch._dynamo' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "False"


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


@pytest.mark.parametrize(
    ("streams", "code"),
    [(">&-", 0), ("2>&- >/dev/null", 0), ("2>/dev/full >/dev/null", 0), (">/dev/full", 70), ("| head -1", 0)],
)
def test_streams_that_cannot_be_written_change_nothing_but_a_lost_result(streams: str, code: int) -> None:
    line = f"set -o pipefail; {' '.join(MAIN)} recipe schema {streams}"
    ended = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert ended.returncode == code
    assert "Traceback" not in ended.stderr
    assert ("what should be there is lost" in ended.stderr) == (code == 70)


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_names_that_no_encoding_has_are_told_as_far_as_they_can_be(locale: dict[str, str]) -> None:
    command = [os.fsencode(word) for word in [*MAIN, "bench"]] + [b"/nowhere/\xff\xc3\xa9.onnx"]
    ended = subprocess.run(command, capture_output=True, env={**os.environ, **locale})
    assert ended.returncode == 2
    assert ended.stderr.startswith(b"compressor: /nowhere/")
    assert ended.stderr.endswith(b".onnx: no such file\n")


def test_an_interrupt_is_heard_from_the_first_line_on() -> None:
    """In the middle of the imports, and of torch's, which likes to make something else of it."""
    for moment in ("typer", "torch._C"):
        code = (
            "import sys, os, signal, compressor.cli.main as m\n"
            "class Finder:\n"
            "    def find_spec(self, name, path, target=None):\n"
            f"        if name == {moment!r}: os.kill(os.getpid(), signal.SIGINT)\n"
            "sys.meta_path.insert(0, Finder())\n"
            "sys.exit(m.main(['models']))"
        )
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (ended.returncode, ended.stderr) == (130, "compressor: interrupted\n")


def test_the_package_is_a_command() -> None:
    ended = subprocess.run([sys.executable, "-m", "compressor", "--version"], capture_output=True, text=True)
    assert ended.stdout == f"compressor {__version__}\n"


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


def test_the_commands_are_had_from_the_main_module_too() -> None:
    from compressor.cli import main
    from compressor.cli.app import app

    assert main.app is app
