"""Training, scores, sensitivities, calibration, files, whole runs on CUDA, where there is a device: as on the CPU."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")  # asking must not keep forks from using it
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
PARTS = ("training", "scores", "sensitivities", "calibration", "files", "whole")


@pytest.mark.parametrize("name", PARTS)
def test_it_is_as_on_the_cpu(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    gpu = importlib.import_module("gpu")
    assert set(PARTS) <= set(gpu.PARTS)
    figures = gpu.PARTS[name].run(gpu.Setting(torch.device("cuda"), quick=True))
    assert figures["ok"], figures
