"""Time per leaf: every node of the optimised graph led back to where it came from."""

from __future__ import annotations

import pytest
import torch
from networks import NETWORKS, calibrated
from torch import Tensor, fx, nn

from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature
from compressor.measure import layers
from compressor.measure.layers import OTHER, ProfiledNode, latency_shares, profile


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2", "densenet"])
def test_every_convolution_and_linear_layer_is_found(name: str) -> None:
    network = capture(calibrated(name), NETWORKS[name][1])
    shares = latency_shares(network, runs=6)
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share >= 0 for share in shares.values())
    paths = dict(network.leaves())
    assert set(shares) - {OTHER} <= set(paths)
    assert {path for path, leaf in paths.items() if isinstance(leaf, nn.Conv2d | nn.Linear)} <= set(shares)
    assert not any(isinstance(paths[path], nn.Dropout | nn.Identity) for path in set(shares) - {OTHER})


def test_the_heavy_layer_takes_most_of_the_time() -> None:
    model = nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 96, 5, padding=2), nn.Conv2d(96, 8, 1))
    network = Network(fx.symbolic_trace(model), Signature.of("x", (8, 40, 40)))
    propagate(network)
    shares = latency_shares(network, runs=6)
    assert max(shares, key=lambda path: shares[path]) == "2"
    assert shares["2"] > 0.5


class TwoBranches(nn.Module):
    """Two convolutions whose sum and activation ONNX Runtime fuses into one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.left(x) + self.right(x))


def test_fused_sums_do_not_confuse_two_branches() -> None:
    network = Network(fx.symbolic_trace(TwoBranches()), Signature.of("x", (16, 32, 32)))
    propagate(network)
    shares = latency_shares(network, runs=10)
    assert {"left", "right"} <= set(shares)
    assert shares["left"] > shares["right"]


def test_nothing_measurable_is_all_other(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(fx.symbolic_trace(nn.Sequential(nn.ReLU())), Signature.of("x", (4,)))
    propagate(network)
    monkeypatch.setattr(layers, "profile", lambda *args, **kwargs: [ProfiledNode("0", "Relu", 0.0)])
    assert latency_shares(network) == {OTHER: 1.0}


def test_events_come_in_order_with_their_operator() -> None:
    network = Network(fx.symbolic_trace(nn.Sequential(nn.Linear(64, 64), nn.Softmax(1))), Signature.of("x", (64,)))
    propagate(network)
    events = profile(layers.to_onnx(network), runs=4)
    assert [event.op_type for event in events] == ["Gemm", "Softmax"]
    assert all(event.microseconds >= 0 for event in events)
