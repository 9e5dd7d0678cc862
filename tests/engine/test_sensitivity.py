"""What is measured of sites: which of them, and how fast the network is without each."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from compressor_plugins.layer_removal.plugin import LayerRemoval
from torch import nn

from compressor.data.dataset import Data
from compressor.engine.baseline import Baseline
from compressor.engine.policy import admitting
from compressor.engine.sensitivity import Sensitivities, rank
from compressor.engine.site_measurement import Speedup, measure_sensitivities, onnx_timer
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.plugin import Site

USE = [("layer-removal", {})]


def measured(baseline: Baseline, data: Data, found: Speedup | None) -> Sensitivities:
    evidence, shares = baseline.evidence(data, 64), {"fc1": 0.25}
    return measure_sensitivities(baseline.network, USE, evidence, latency_shares=shares, timer=lambda network: found)


@pytest.mark.parametrize(
    ("found", "saved"),
    [(Speedup(2.0, 1.8, 2.1), 0.5), (Speedup(0.5, 0.4, 0.6), -1.0), (Speedup(1.01, 0.99, 1.03), 0.0)],
)
def test_the_speed_of_each_rewrite_is_kept_and_counts_where_it_is_certain(
    baseline: Baseline, data: Data, found: Speedup, saved: float
) -> None:
    known = measured(baseline, data, found)
    entries = known.of(*USE[0])
    assert entries
    assert all(entry.speedup == found.estimate for entry in entries.values())
    assert all(entry.latency_saved == pytest.approx(saved) for entry in entries.values())
    assert Sensitivities.from_json(known.to_json()) == known


def test_equal_work_counts_the_same_and_unequal_work_does_not() -> None:
    """Of four equal convolutions the last is followed by a 1×1, which takes it in; the timer says what it likes."""
    layers = [nn.Conv2d(8, 8, 3, padding=1) for _ in range(4)]
    other = [nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 3, padding=1)]
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 8, 3), *layers, *other, nn.Flatten(), nn.Linear(4 * 36, 10))
    network = capture(module.eval(), (1, 8, 8), "row")
    evidence = Evidence([(torch.randn(4, 1, 8, 8), torch.arange(4))])
    speedups = iter((5.0, 1.1, 2.0, 1.25, 2.5, 4.0))

    def timer(network: Network) -> Speedup:
        found = next(speedups)
        return Speedup(found, 0.99 * found, 1.01 * found)

    entries = measure_sensitivities(network, USE, evidence, timer=timer).of(*USE[0])
    assert [entry.speedup for entry in entries.values()] == [5.0, 1.1, 2.0, 1.25, 2.5, 4.0]
    assert [entry.latency_saved for entry in entries.values()] == pytest.approx([0.8, 0.2, 0.2, 0.2, 0.6, 0.75])


def test_where_nothing_was_timed_the_share_of_what_vanished_stands_in(baseline: Baseline, data: Data) -> None:
    entries = measured(baseline, data, None).of(*USE[0])
    saved = {path: entry.latency_saved for path, entry in entries.items() if entry.latency_saved}
    assert [path.partition("..")[0] for path in saved] == ["fc1"]
    assert set(saved.values()) == {0.25}
    assert {entry.speedup for entry in entries.values()} == {0.0}


def test_the_timer_times_files_and_says_nothing_of_what_has_none(baseline: Baseline) -> None:
    timer = onnx_timer(baseline.onnx)
    found = timer(baseline.network)
    assert found is not None
    assert 0 < found.low <= found.estimate <= found.high
    odd = baseline.network.fork()
    odd.module.fc3 = torch.nn.Bilinear(4, 4, 4)  # nothing that an ONNX file could say
    assert timer(odd) is None


def test_a_plugin_may_say_which_sites_are_worth_it(
    baseline: Baseline, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def last(self: LayerRemoval, network: Network, sites: Sequence[Site], evidence: Evidence) -> Sequence[Site]:
        return sites[-1:]

    evidence = baseline.evidence(data, 64)
    everything = list(measure_sensitivities(baseline.network, USE, evidence).of(*USE[0]))
    monkeypatch.setattr(LayerRemoval, "worth_measuring", last)
    known = measure_sensitivities(baseline.network, USE, evidence).of(*USE[0])
    assert list(known) == everything[-1:]
    assert rank(everything, known, 1.0)[0] == everything[-1]


def test_what_no_use_admits_is_not_measured(baseline: Baseline, data: Data) -> None:
    evidence, (name, options) = baseline.evidence(data, 64), USE[0]
    everything = list(measure_sensitivities(baseline.network, USE, evidence).of(name, options))
    twice = [(name, options, everything[:1], ()), (name, options, everything[-1:], ())]
    known = measure_sensitivities(baseline.network, USE * 2, evidence, admits=admitting(twice)).of(name, options)
    assert list(known) == [everything[0], everything[-1]]
