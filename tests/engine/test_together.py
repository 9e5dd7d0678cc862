"""What each layer contributes to the time that a network in integers saves."""

from __future__ import annotations

import pytest
import torch
from integers import options_of
from torch import nn

from compressor.engine.plan import Edit
from compressor.engine.together import saved_together
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.measure.latency import Comparison

PATHS = ("0", "2", "5")


@pytest.fixture
def half_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Comparison(2.0, 1.9, 2.1, 100.0, 50.0, 100.0, 50.0, 60.0, rounds=9, sessions=1, load=0.0)
    monkeypatch.setattr("compressor.engine.together.compare", lambda *files, **how: found)


def test_the_shares_of_all_sites_are_what_all_of_them_save(half_the_time: None) -> None:
    """The wide layer has nearly all of the time, so nearly all that is saved is saved there."""
    torch.manual_seed(0)
    wide = nn.Conv2d(32, 64, 3, padding=1)
    module = nn.Sequential(
        nn.Conv2d(2, 32, 1), nn.ReLU(), wide, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 4)
    )
    network = capture(module.eval(), (2, 24, 24))
    evidence = Evidence([(torch.randn(8, 2, 24, 24), torch.arange(8) % 4)])
    edits = [Edit("quantize", path, options=options_of("quantize")) for path in PATHS]
    found = saved_together(network, to_onnx(network), edits, evidence)
    assert found is not None
    assert tuple(found) == PATHS
    assert sum(found.values()) == pytest.approx(0.5)
    nowhere = [Edit("quantize", "1", options=options_of("quantize"))]
    assert saved_together(network, to_onnx(network), nowhere, evidence) is None, "no such site"
