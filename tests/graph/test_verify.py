"""A promise is kept or broken by measurement; near misses on both sides."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from traced import chain, images, traced, zoo

from compressor.errors import BrokenPromise
from compressor.evidence import Evidence
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import check_promise, difference, differs, variance_lost
from compressor.plugin import Promise


def evidence(network: Network, count: int = 32) -> Evidence:
    return Evidence([(images(network, count, seed), torch.zeros(count, dtype=torch.long)) for seed in (1, 2)])


def scaled(network: Network, path: str, factor: float) -> Network:
    """A copy in which one layer's weights are multiplied."""
    fork = network.fork()
    with torch.no_grad():
        fork.leaf(path).get_parameter("weight").mul_(factor)
    return fork


def test_equal_networks() -> None:
    network = zoo("resnet")
    assert difference(network, network.fork(), [images(network)]) == 0
    assert variance_lost(network, network.fork(), [images(network)]) == 0


def test_difference_is_relative_to_the_largest_output() -> None:
    class Double(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.linear = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.linear.weight, factor)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x)

    before, after = traced(Double(2.0), (1,)), traced(Double(2.5), (1,))
    batches = [torch.tensor([[1.0], [-4.0]]), torch.tensor([[3.0]])]
    assert difference(before, after, batches) == pytest.approx(0.25)
    assert variance_lost(before, after, batches) == pytest.approx(0.25**2)


def test_unlike_shapes_and_broken_numbers_are_infinitely_far() -> None:
    network = chain(nn.Linear(4, 3), shape=(4,))
    wider, broken = network.fork(), scaled(network, "0", float("nan"))
    wider.module.set_submodule("0", nn.Linear(4, 5))
    wider.module.recompile()
    for other in (wider, broken):
        assert difference(network, other, [images(network)]) == float("inf")
        assert variance_lost(network, other, [images(network)]) == float("inf")


def test_comparing_changes_nothing() -> None:
    network = zoo("vgg").train()
    before = copy.deepcopy(network.module.state_dict())
    random_state = torch.get_rng_state()
    check_promise(Promise.APPROXIMATE, network, scaled(network, "features.0", 1.01), evidence(network))
    assert all(module.training for module in network.module.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())


def test_exact() -> None:
    network = zoo("resnet")
    shifted = scaled(network, "fc", 1 + 1e-6)
    check_promise(Promise.EXACT, network, shifted, evidence(network))
    with pytest.raises(BrokenPromise, match="promised the same function"):
        check_promise(Promise.EXACT, network, scaled(network, "fc", 1.001), evidence(network))


def test_an_exact_rewrite_passes_and_a_lossy_one_does_not() -> None:
    network = zoo("vgg")
    wider, narrower = network.fork(), network.fork()
    editor = Editor(wider)
    editor.duplicate_channels("features.0", [0, 5])
    editor.commit()
    editor = Editor(narrower)
    editor.drop_channels("features.0", [0, 5])
    editor.commit()
    check_promise(Promise.EXACT, network, wider, evidence(network))
    with pytest.raises(BrokenPromise):
        check_promise(Promise.EXACT, network, narrower, evidence(network))


def test_approximate() -> None:
    network = zoo("vgg")
    check_promise(Promise.APPROXIMATE, network, scaled(network, "classifier.6", 0.7), evidence(network))
    for factor in (0.0, -1.0, 3.0):
        with pytest.raises(BrokenPromise, match="variance"):
            check_promise(Promise.APPROXIMATE, network, scaled(network, "classifier.6", factor), evidence(network))


def test_approximate_may_recalibrate_batch_norm() -> None:
    """Six times the weights in front of a BatchNorm: wrong by its old statistics, equal by new ones."""
    network = zoo("resnet")
    loud = scaled(network, "conv1", 6.0)
    statistics = loud.leaf("bn1").get_buffer("running_mean").clone()
    assert variance_lost(network, loud, [images(network, 32)]) > 1
    check_promise(Promise.APPROXIMATE, network, loud, evidence(network))
    assert torch.equal(loud.leaf("bn1").get_buffer("running_mean"), statistics), "on a fork"


def test_trained() -> None:
    network = zoo("vgg")
    check_promise(Promise.TRAINED, network, scaled(network, "classifier.6", -5.0), evidence(network))
    with pytest.raises(BrokenPromise, match="not finite"):
        check_promise(Promise.TRAINED, network, scaled(network, "features.0", float("inf")), evidence(network))


@pytest.mark.parametrize("promise", Promise)
def test_changing_nothing_breaks_every_promise(promise: Promise) -> None:
    network = zoo("vgg")
    with pytest.raises(BrokenPromise, match="nothing changed"):
        check_promise(promise, network, network.fork(), evidence(network))


def test_what_counts_as_a_change() -> None:
    network = zoo("vgg")
    assert not differs(network, network.fork())
    assert differs(network, scaled(network, "features.0", 1.01))
    slope, structure = network.fork(), network.fork()
    slope.module.set_submodule("features.2", nn.LeakyReLU(0.1))
    editor = Editor(structure)
    editor.remove_span(structure.node("features_2"), structure.node("features_3"), [("x", nn.Identity())])
    editor.commit()
    assert differs(network, slope)
    assert differs(network, structure)
