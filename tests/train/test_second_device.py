"""Everything that runs a network over data does so on the accelerator, and comes back: shown with a second device."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from second_device import AWAY, Away, second_device
from torch import Tensor, nn

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.engine.site_measurement import measure_sensitivities
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.measure.parity import numeric_parity
from compressor.models.small_cnn import digits_cnn
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.search.estimate import seconds_per_sample
from compressor.train.evaluate import evaluate, predict, scores
from compressor.train.fit import fit
from compressor.train.spec import Augmentation, Distillation, TrainingSpec


@pytest.fixture(scope="module")
def data() -> Data:
    return load_data(DataSpec(name="digits", limit=300))


@pytest.fixture
def network(data: Data) -> Network:
    torch.manual_seed(0)
    return capture(digits_cnn(), data.input_shape)


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with second_device(monkeypatch):
        yield


def is_home(network: Network) -> bool:
    return not any(isinstance(tensor, Away) for tensor in network.module.state_dict().values())


def test_the_second_device_is_strict(away: None) -> None:
    here, there = torch.ones(2), torch.ones(2).to(AWAY)
    with pytest.raises(RuntimeError, match="two devices"):
        _ = here + there
    with pytest.raises((RuntimeError, TypeError, NotImplementedError)):
        there.numpy()
    assert torch.equal((there * 2).cpu(), here * 2)


def test_training_goes_there_and_ends_where_it_ends_here(data: Data, network: Network, monkeypatch: Any) -> None:
    spec = TrainingSpec(
        epochs=2, batch=64, optimizer="adamw", lr=2e-3, clip_norm=1.0, augmentation=Augmentation(shift=1, flip=True),
        distillation=Distillation(logits=0.5, features=0.5),
    )  # fmt: skip
    ours, other = network.fork(), network.fork()
    fit(ours, data, spec, teacher=network.fork(), seed=0)
    with second_device(monkeypatch):
        history = fit(other, data, spec, teacher=network.fork(), seed=0)
        assert is_home(other)
        assert history.device == str(AWAY)
    for key, value in ours.module.state_dict().items():
        assert torch.allclose(value.double(), other.module.state_dict()[key].double(), atol=2e-2), key
    start = network.module.state_dict()
    assert any(not torch.allclose(value, start[key]) for key, value in ours.module.state_dict().items())


def test_scores_and_answers_are_those_of_the_cpu(data: Data, network: Network, monkeypatch: Any) -> None:
    here = evaluate(network, data, data.validation, error=True), scores(network, data, data.validation)
    said = predict(network, data, data.validation)
    with second_device(monkeypatch):
        there = evaluate(network, data, data.validation, error=True), scores(network, data, data.validation)
        heard = predict(network, data, data.validation)
        seconds_per_sample(network, data, batch=16)
    assert here[0].quality == there[0].quality
    assert here[0].loss == pytest.approx(there[0].loss)
    assert torch.equal(here[1], there[1])
    assert torch.allclose(said, heard)
    assert is_home(network)
    fit(network, data, TrainingSpec(epochs=1, batch=64), seed=0)  # no tensor is left that cannot be trained


def test_sensitivities_and_calibration_are_those_of_the_cpu(data: Data, network: Network, monkeypatch: Any) -> None:
    evidence = Evidence(data.calibration_batches(64), data.task)
    plugins = [(name, {}) for name in ("magnitude-prune", "quantize", "self-grow", "layer-removal", "binarize")]
    here = measure_sensitivities(network, plugins, evidence)
    with second_device(monkeypatch):
        there = measure_sensitivities(network, plugins, evidence)
        quantized = network.fork()
        for site in sites_of(make("quantize"), quantized):
            apply_edit(quantized, Edit("quantize", site.path), evidence)
        evidence.calibrate(quantized)
        fit(quantized, data, TrainingSpec(epochs=1, batch=64), seed=0)
    assert here.entries.keys() == there.entries.keys()
    for key, sites in here.entries.items():
        for path, one in sites.items():
            assert there.entries[key][path].loss_increase == pytest.approx(one.loss_increase, abs=1e-4), (key, path)
    assert is_home(quantized)
    assert numeric_parity(quantized, to_onnx(quantized), data.calibration_batches(32)).ok


class Placed(nn.Module):
    """Makes tensors of its own in forward: on whatever device it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(4, 10)

    def forward(self, x: Tensor) -> Tensor:
        ramp = torch.arange(8, device=x.device, dtype=x.dtype) / 8
        x = self.conv(x) + ramp
        return self.head(x.mean((2, 3)) + torch.zeros(x.shape[0], 4, device=x.device))


def test_tensors_that_a_network_makes_itself_go_with_it(data: Data, monkeypatch: Any) -> None:
    network = capture(Placed(), data.input_shape)
    said = predict(network, data, data.validation)
    with second_device(monkeypatch):
        assert torch.allclose(predict(network, data, data.validation), said, atol=1e-6)


def test_a_batch_transform_and_a_small_pass_stay_on_one_device(data: Data, network: Network, away: None) -> None:
    spec = TrainingSpec(epochs=1, batch=32, augmentation=Augmentation(rotate=5.0, noise=0.1, cutout=2, crop=0.8))
    fit(network, replace(data, train=data.train.first(64)), spec, seed=0)
    assert is_home(network)
