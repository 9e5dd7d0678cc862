"""A student with layers gone learns from the network it comes from: by its answers, and by the values both have."""

from __future__ import annotations

import functools

import pytest
import torch
from compressor_plugins.layer_removal.plugin import LayerRemoval
from rewriting import apply
from torch import nn

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edits
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.train.distil import shared_leaves
from compressor.train.fit import fit
from compressor.train.spec import Distillation, TrainingSpec


class Digits(nn.Module):
    """A residual block, and linear layers of one width."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.pool = nn.MaxPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(128, 32), nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.norm0(self.stem(x)))
        x = torch.relu(x + self.norm(self.conv(x)))
        x = torch.relu(self.fc1(self.pool(x).flatten(1)))
        return self.fc3(torch.relu(self.fc2(x)))


@functools.cache
def digits() -> Data:
    return load_data(DataSpec(name="digits", validation=300))


@functools.cache
def teacher() -> Network:
    torch.manual_seed(0)
    network = capture(Digits(), digits().input_shape)
    fit(network, digits(), TrainingSpec(epochs=3, batch=32, lr=3e-3))
    return network.eval()


def evidence() -> Evidence:
    return Evidence(digits().calibration_batches(256), teacher=teacher())


def student(*paths: str) -> Network:
    network, data = teacher().fork(), evidence()
    apply_edits(network, [Edit("layer-removal", path) for path in paths], data)
    data.calibrate(network)
    return network


def value(network: Network, path: str) -> torch.Tensor:
    (node,) = network.calls_of(path)
    return evidence().activations(network, [node])[node.name].flatten()


def test_a_merged_layer_is_paired_with_the_one_whose_output_it_gives() -> None:
    """Both linear layers are 32 wide: by shape alone, the merged one could be taken for either."""
    taught = student("fc1..relu_2")
    shared = shared_leaves(taught, teacher())
    assert "fc2" in shared
    assert "fc1" not in shared
    pair = torch.stack([value(taught, "fc2"), value(teacher(), "fc2")])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.9
    wrong = torch.stack([value(taught, "fc2"), value(teacher(), "fc1")])
    assert float(torch.corrcoef(wrong)[0, 1]) < 0.5


def test_so_is_a_composed_one() -> None:
    torch.manual_seed(0)
    before = capture(
        nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
                      nn.Flatten(), nn.Linear(512, 10)).eval(), digits().input_shape,
    )  # fmt: skip
    after = apply(LayerRemoval(), before.fork(), "0..1")
    assert shared_leaves(after, before) == ["2", "5"]


@pytest.mark.parametrize(
    "wanted", [Distillation(logits=5.0), Distillation(features=5.0), Distillation(logits=5.0, features=5.0)]
)
@pytest.mark.parametrize("gone", [("conv..add",), ("conv..add", "fc1..relu_2")])
def test_it_comes_nearer_to_its_teacher_than_by_labels_alone(wanted: Distillation, gone: tuple[str, ...]) -> None:
    taught, alone = student(*gone), student(*gone)
    spec = TrainingSpec(epochs=2, batch=32, lr=1e-3, distillation=wanted)
    fit(taught, digits(), spec, teacher=teacher())
    fit(alone, digits(), TrainingSpec(epochs=2, batch=32, lr=1e-3))
    far = [float((value(network, "fc2") - value(teacher(), "fc2")).square().mean()) for network in (taught, alone)]
    assert far[0] < far[1]
