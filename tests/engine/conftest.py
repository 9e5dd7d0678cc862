"""A small trained network on real digits, and everything a trial needs around it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.baseline import Baseline, measure_baseline
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.site_measurement import measure_sensitivities
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec

PLUGINS: list[tuple[str, dict[str, object]]] = [("binarize", {}), ("layer-removal", {})]


class DigitNet(nn.Module):
    """8×8 digits: two convolutions with normalisation, the second in a residual branch, and a head of three layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8))
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(128, 32), nn.Linear(32, 24), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = torch.relu(x + self.block(x))
        x = torch.flatten(self.pool(x), 1)
        return self.fc3(torch.relu(self.fc2(torch.relu(self.fc1(x)))))


@pytest.fixture(scope="session")
def data() -> Data:
    return load_data(DataSpec(name="digits", validation=300))


@pytest.fixture(scope="session")
def baseline(data: Data) -> Baseline:
    torch.manual_seed(0)
    network = capture(DigitNet(), data.input_shape)
    fit(network, data, TrainingSpec(epochs=6, batch=32, lr=3e-3))
    return measure_baseline(network, data)


@pytest.fixture(scope="session")
def sensitivities(baseline: Baseline, data: Data) -> Sensitivities:
    return measure_sensitivities(baseline.network, PLUGINS, baseline.evidence(data, 256))


@pytest.fixture
def unchanged(baseline: Baseline) -> Callable[[], bool]:
    """Whether the baseline is still what it was when the test began."""
    before = {name: tensor.clone() for name, tensor in baseline.network.module.state_dict().items()}
    code = baseline.network.module.code

    def check() -> bool:
        return baseline.network.module.code == code and same_weights(baseline.network, before)

    return check


def same_weights(network: Network, state: dict[str, torch.Tensor]) -> bool:
    now = network.module.state_dict()
    return now.keys() == state.keys() and all(torch.equal(now[name], tensor) for name, tensor in state.items())
