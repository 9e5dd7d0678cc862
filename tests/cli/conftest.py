"""Commands run in this process, with their two streams and their exit code."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_running import Ran, Run
from sample_run import network

from compressor.cli.main import main
from compressor.export.emit import to_onnx
from compressor.graph.pt2 import write_pt2


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("COMPRESSOR_TRACEBACK", raising=False)

    def command(*arguments: object) -> Ran:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return command


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "digits.pt"
    write_pt2(network(), path)
    return path


@pytest.fixture(scope="session")
def onnx_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    path.write_bytes(to_onnx(network()))
    return path
