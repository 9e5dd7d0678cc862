"""With ``--json`` standard output is one document, whatever else is printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from compressor.cli.output import output, to_json


def test_figures_that_are_no_numbers_become_null() -> None:
    assert json.loads(to_json({"a": float("nan"), "b": [float("inf"), 1.5], 3: (1, 2)})) == {
        "a": None,
        "b": [None, 1.5],
        "3": [1, 2],
    }


def test_what_libraries_and_children_print_goes_elsewhere(capfd: pytest.CaptureFixture[str]) -> None:
    with output(as_json=True) as out:
        print("a library talks")
        os.write(sys.stdout.fileno(), b"and one written in C\n")
        out.note("a note")
        out.document({"answer": 42})
    captured = capfd.readouterr()
    assert json.loads(captured.out) == {"answer": 42}
    assert "a library talks" in captured.err
    assert "and one written in C" in captured.err


def test_children_inherit_the_detour() -> None:
    code = (
        "import os\nfrom compressor.cli.output import output\n"
        "with output(as_json=True) as out:\n    os.system('echo child')\n    out.document([1])\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == [1]
    assert "child" in ended.stderr


def test_an_error_leaves_no_half_document(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError), output(as_json=True) as out:  # noqa: PT012 - the second line is the point
        out.document({"half": True})
        raise RuntimeError
    print("afterwards")
    assert capfd.readouterr().out == "afterwards\n"


def test_streams_that_are_no_files_work_too(capsys: pytest.CaptureFixture[str]) -> None:
    with output(as_json=True) as out:
        print("talk")
        out.document({})
    captured = capsys.readouterr()
    assert captured.out == "{}\n"
    assert "talk" in captured.err
