"""Parity of numbers, and the second opinion of torch's exporter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from exporting import network_of, randomise
from networks import NETWORKS, calibrated
from torch import Tensor, nn

from compressor.errors import InputError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.measure import crosscheck
from compressor.measure.crosscheck import cross_check
from compressor.measure.parity import acceptable, numeric_parity, relative_errors


@pytest.fixture(scope="module")
def squeezenet() -> Network:
    return capture(calibrated("squeezenet"), NETWORKS["squeezenet"][1])


def batches(network: Network, *sizes: int) -> list[Tensor]:
    return [torch.randn(size, *network.signature.input.shape) for size in sizes]


def disturbed(network: Network) -> Network:
    other = network.fork()
    with torch.no_grad():
        next(p for p in other.module.parameters() if p.dim() == 4).mul_(1.05)
    return other


def test_equal_functions_have_parity(squeezenet: Network) -> None:
    squeezenet.train()
    found = numeric_parity(
        squeezenet, to_onnx(squeezenet), [(x, torch.zeros(len(x))) for x in batches(squeezenet, 8, 3)]
    )
    assert squeezenet.module.training
    assert found.ok
    assert found.max_error < 1e-5
    assert (found.samples, found.outside) == (11, 0.0)


def test_unequal_functions_have_none(squeezenet: Network) -> None:
    found = numeric_parity(squeezenet, to_onnx(disturbed(squeezenet)), batches(squeezenet, 8))
    assert not found.ok
    assert found.max_error > 1e-3


def test_parity_of_no_samples_is_an_error(squeezenet: Network) -> None:
    with pytest.raises(InputError, match="at least one sample"):
        numeric_parity(squeezenet, to_onnx(squeezenet), [])


class Jump(nn.Module):
    """Binary activations: a sign between two random layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(400, 3000), nn.Linear(3000, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.last((self.first(x) / 1e-5).clamp(-1, 1))


def test_a_network_that_jumps_may_differ_as_often_as_rounding_makes_it() -> None:
    network = network_of(randomise(Jump()), (400,))
    images = batches(network, 60)
    found = numeric_parity(network, to_onnx(network), images, tolerance=3e-6)
    assert found.outside > 0
    assert found.ok
    assert not numeric_parity(network, to_onnx(disturbed_linear(network)), images, tolerance=3e-6).ok


def disturbed_linear(network: Network) -> Network:
    other = network.fork()
    with torch.no_grad():
        next(other.module.parameters())[:30].mul_(-1)
    return other


class Threshold(nn.Module):
    """The sign of the difference of two values."""

    def forward(self, x: Tensor) -> Tensor:
        return ((x[:, :1] - x[:, 1:]) * 1e9).clamp(-1, 1).flatten(1)


def test_one_sample_on_a_threshold_is_found_whichever_way_the_first_nudge_goes() -> None:
    network = capture(Threshold(), (2, 1, 1))
    for sample in range(20):
        images = torch.rand(20, 2, 1, 1) + torch.tensor([2.0, 0.0]).view(2, 1, 1)
        errors = np.where(np.arange(20) == sample, 2.0, 0.0)
        assert not acceptable(errors, network, [images], 1e-4)
        images[sample] = 1.0 + 1e-7  # close to equal: rounding decides
        images[sample, 1] = 1.0
        assert acceptable(errors, network, [images], 1e-4)


def test_errors_are_relative_to_the_largest_output_and_infinite_where_one_side_is_not_finite() -> None:
    expected = np.array([[1.0, -4.0], [np.inf, 2.0], [np.nan, 0.0], [1.0, 1.0]])
    found = np.array([[1.0, -3.0], [np.inf, 2.0], [np.nan, 0.0], [np.nan, 1.0]])
    assert relative_errors(expected, found).tolist() == [0.25, 0.0, 0.0, np.inf]


@pytest.mark.parametrize("closing", [nn.Sigmoid, nn.Hardsigmoid])
def test_probabilities_that_are_all_small_need_not_agree_in_every_digit(closing: type[nn.Module]) -> None:
    """No object in the image: every probability is 1e-8, and runtimes approximate the function there."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), closing())
    with torch.no_grad():
        module[1].weight.mul_(1e-3)
        module[1].bias.fill_(-18.4 if closing is nn.Sigmoid else -2.999999)
    network = capture(module, (3, 2, 2))
    images = torch.randn(4, 3, 2, 2)
    with torch.no_grad():
        assert network(images).abs().max() < 1e-2
    assert numeric_parity(network, to_onnx(network), [images]).max_error < 1e-5
    other = network.fork()
    with torch.no_grad():
        other.leaf("1").bias[0] += 9
    assert not numeric_parity(network, to_onnx(other), [images]).ok


def test_torch_exporter_agrees(squeezenet: Network, capfd: pytest.CaptureFixture[str]) -> None:
    found = cross_check(squeezenet, to_onnx(squeezenet), batches(squeezenet, 3))
    assert (found.status, "3 samples" in found.detail) == ("agrees", True)
    assert capfd.readouterr() == ("", "")


def test_torch_exporter_disagrees_with_another_function(squeezenet: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = to_onnx(squeezenet)
    monkeypatch.setattr(crosscheck, "export_by_torch", lambda network: theirs)
    found = cross_check(squeezenet, to_onnx(disturbed(squeezenet)), batches(squeezenet, 3))
    assert found.status == "differs"


def test_an_exporter_that_fails_is_reported(squeezenet: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ValueError("long advice") from RuntimeError("no decomposition\nfor this operator")

    monkeypatch.setattr(torch.onnx, "export", fail)
    found = cross_check(squeezenet, to_onnx(squeezenet), batches(squeezenet, 1))
    assert found.status == "unavailable"
    assert found.detail == "torch's exporter: RuntimeError: no decomposition"
