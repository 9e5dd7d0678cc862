"""The run on a GPU: what was done is kept, a part that fails does not end it, and data arrive as they left."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu")


@pytest.fixture
def parcel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpus.parcel")


def test_parts_that_are_done_are_left_out_and_a_failure_ends_nothing(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def done(_: Any) -> dict[str, Any]:
        ran.append("done")
        return {"ok": True, "figure": 0.5}

    def broken(_: Any) -> dict[str, Any]:
        ran.append("broken")
        raise ValueError("no such kernel")

    monkeypatch.setattr(gpu, "PARTS", {"broken": gpu.Part("?", broken), "done": gpu.Part("is it?", done)})
    for _ in range(2):
        gpu.carry_out(["broken", "done"], gpu.Setting(torch.device("cpu"), True, tmp_path), tmp_path / "gpu.json", 60)
    assert ran == ["broken", "done", "broken"]
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["broken"]["error"] == "ValueError: no such kernel"
    assert "**yes**; figure: 0.5" in gpu.page(found, gpu.PARTS)
    assert "1 of 2 questions" in gpu.page(found, gpu.PARTS)


def test_the_page_says_that_it_was_not_run(gpu: ModuleType) -> None:
    assert "not been run" in gpu.page({}, gpu.PARTS)


def test_data_are_whole_behind_the_door(parcel: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMPRESSOR_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(parcel, "MOST", 100)
    file = tmp_path / "cache" / "set" / "train.bin"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(range(250)))
    assert len(parcel.pack(["set"])) == 3
    file.unlink()
    assert parcel.unpack() == [file]
    assert file.read_bytes() == bytes(range(250))
    sorted((tmp_path / ".parcels").iterdir())[1].unlink()
    file.unlink()
    assert parcel.unpack() == []
    assert not file.exists()
