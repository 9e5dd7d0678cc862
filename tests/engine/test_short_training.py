"""A short training tells what training mends from what is ruined, where the loss untrained tells nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from compressor.engine.short_training import MOST_VALUES, practice_of, worth_while
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.train.spec import TrainingSpec

LONG = [(1, TrainingSpec(epochs=10))]


@pytest.fixture
def evidence() -> Evidence:
    """Four classes that lie apart in two of eight dimensions; the others are noise."""
    torch.manual_seed(0)
    targets = torch.arange(384) % 4
    inputs = torch.randn(384, 8)
    inputs[:, :2] += 4 * torch.stack([targets % 2, targets // 2], dim=1)
    return Evidence([(inputs[:256], targets[:256]), (inputs[256:], targets[256:])])


@pytest.fixture
def baseline(evidence: Evidence) -> Network:
    torch.manual_seed(1)
    network = capture(nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), (8,))
    optimizer = torch.optim.Adam(network.module.parameters(), lr=1e-2)
    for inputs, target in list(evidence.batches) * 60:
        optimizer.zero_grad()
        torch.autograd.backward(evidence.loss(network(inputs), target))
        optimizer.step()
    return network


def share_lost(network: Network, baseline: Network, evidence: Evidence) -> float:
    practice = practice_of(baseline, evidence)
    assert practice is not None
    return practice.share_lost(network)


def weights(network: Network) -> list[torch.Tensor]:
    return list(network.module.parameters())


def test_the_baseline_has_lost_nothing_and_a_blind_network_all(baseline: Network, evidence: Evidence) -> None:
    same, blind = baseline.fork(), baseline.fork()
    with torch.no_grad():
        weights(blind)[2].zero_()
        weights(blind)[3].zero_()
    for parameter in weights(blind):
        parameter.requires_grad_(False)
    assert share_lost(same, baseline, evidence) == pytest.approx(0.0, abs=0.15)
    assert share_lost(blind, baseline, evidence) == pytest.approx(1.0, abs=0.05)


def test_what_training_mends_has_lost_less_than_what_it_does_not(baseline: Network, evidence: Evidence) -> None:
    mends, ruined = baseline.fork(), baseline.fork()
    with torch.no_grad():
        weights(mends)[2].mul_(-0.02)  # small, and the wrong way round: a few steps turn it
        weights(ruined)[0].zero_()  # sees nothing of its inputs
        weights(ruined)[2].zero_()
    weights(ruined)[0].requires_grad_(False)
    assert evidence.mean_loss(mends) > evidence.mean_loss(ruined)
    assert share_lost(mends, baseline, evidence) < share_lost(ruined, baseline, evidence)


def test_the_baseline_and_the_random_state_are_left_as_they_were(baseline: Network, evidence: Evidence) -> None:
    before, state = [w.clone() for w in weights(baseline)], torch.random.get_rng_state()
    share_lost(baseline.fork(), baseline, evidence)
    assert all(map(torch.equal, before, weights(baseline)))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_baseline_that_knows_nothing_has_nothing_to_lose(baseline: Network, evidence: Evidence) -> None:
    blind = baseline.fork()
    with torch.no_grad():
        weights(blind)[2].zero_()
        weights(blind)[3].copy_(torch.tensor([0.0, 0.0, 0.0, 9.0]))
    assert practice_of(blind, evidence) is None


def test_a_loss_that_is_no_number_counts_as_worse_than_knowing_nothing(baseline: Network, evidence: Evidence) -> None:
    broken = baseline.fork()
    with torch.no_grad():
        weights(broken)[0].fill_(math.nan)
    assert share_lost(broken, baseline, evidence) > 1


def test_it_is_left_out_beside_short_trainings_large_images_and_somebody_elses_loop() -> None:
    assert worth_while(LONG, 50_000, MOST_VALUES)
    assert not worth_while(LONG, 10_000, MOST_VALUES)
    assert not worth_while(LONG, 50_000, MOST_VALUES + 1)
    assert not worth_while([(1, TrainingSpec(epochs=1000))], 200, MOST_VALUES)
    assert not worth_while([(1, TrainingSpec(epochs=10, function="mine:train"))], 50_000, MOST_VALUES)
