"""The zoo: what one network is put through, a network that fails, and how reasons are counted."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 3, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU())
        self.scale = nn.Parameter(torch.full((1,), 1e-6))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        scores: Tensor = self.head((x + self.scale * self.body(x)).mean([2, 3]))
        return scores


@pytest.fixture
def checked(load, monkeypatch: pytest.MonkeyPatch):
    """``check`` of a network of one's own instead of one by name."""
    checks, networks = load("zoos.checks"), load("zoos.networks")

    def run(module: nn.Module, seconds: float = 5.0):
        networks.randomise(module)
        networks.calibrate(module, (3, 16, 16))
        monkeypatch.setattr(checks, "build", lambda name: networks.Sample(module.eval(), (3, 16, 16)))
        return checks.check("small", seconds)

    return run


def test_a_network_goes_through_everything(checked) -> None:
    record = checked(Small())
    assert record["difference"] == 0
    assert record["sensitivity"] > 0.01
    assert record["onnx_error"] < 1e-5
    assert record["plugins"]["quantize-weights"]["rewritten"] == 3
    assert record["plugins"]["quantize-weights"]["onnx_bytes"] < record["onnx_bytes"] / 2.5
    assert all("faults" not in entry for entry in record["plugins"].values())
    assert record["pruned"]["pruned"] == record["pruned"]["groups"] == 1
    assert record["pruned"]["error"] < 5e-5 < record["pruned"]["moved"]


def test_pruning_that_is_wrong_and_a_plugin_that_fails_are_faults(checked, load, monkeypatch) -> None:
    monkeypatch.setattr(load("zoos.pruning"), "_silence", lambda *_: None)
    plugin = type(load("compressor.registry").make("binarize"))
    monkeypatch.setattr(plugin, "rewrite", lambda *_: 1 / 0)
    record = checked(Small())
    assert "channels at zero" in record["pruned"]["faults"][0]
    assert "ZeroDivisionError" in record["plugins"]["binarize"]["faults"][0]
    assert record["plugins"]["meta-head"]["rewritten"]


def test_what_cannot_be_captured_is_refused_with_the_reason(checked) -> None:
    class Decides(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x if x.sum() > 0 else -x)

    record = checked(Decides())
    assert "decides by the values" in record["capture_refused"]
    assert "plugins" not in record


def test_every_refusal_on_the_page_was_reviewed(load) -> None:
    page, zoo = load("zoos.page"), load("zoo")
    reasons = {reason for found in page._reasons(list(zoo._lines().values())).values() for reason, _ in found}
    assert len(reasons) > 20
    assert not sorted(reason for reason in reasons if page.review(reason) == "not reviewed")


def test_reasons_are_counted_without_names_and_numbers(load) -> None:
    general = load("zoos.reasons").general
    assert general("a map from 64 to 128 channels would cost as much") == general(
        "a map from 3 to 1,024 channels would cost as much"
    )
    ends = ("add_3, and could not widen", "cat, and could not widen")
    assert len({general(f"its channels reach {end}") for end in ends}) == 1
