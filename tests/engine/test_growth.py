"""Growth in the engine: ranked by the gradient it opens up, alternating with removal, rebuilt without training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_policy import KNOWN

from compressor.data.dataset import Data
from compressor.engine.apply import apply_edit
from compressor.engine.baseline import Baseline
from compressor.engine.plan import Edit
from compressor.engine.sensitivity import Sensitivities, SiteSensitivity, rank
from compressor.engine.site_measurement import _distinct_inputs, measure_sensitivities, squared_gradient
from compressor.engine.space import PhaseSpec, PluginUse, build_space
from compressor.engine.survey import surveyor
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.evidence import Evidence
from compressor.graph.verify import difference
from compressor.train.spec import TrainingSpec

DEPTH = {"grow": "depth"}
SHORT = TrainingSpec(epochs=1, batch=64, lr=1e-3)


@pytest.fixture(scope="module")
def evidence(baseline: Baseline, data: Data) -> Evidence:
    return baseline.evidence(data, 128)


@pytest.fixture(scope="module")
def growths(baseline: Baseline, evidence: Evidence) -> Sensitivities:
    return measure_sensitivities(baseline.network, [("self-grow", {}), ("binarize", {})], evidence)


def test_what_grows_ranks_by_gain_per_growth_behind_what_saves() -> None:
    known = {
        **KNOWN,
        "small": SiteSensitivity(0.0, -0.1, -0.1, gain=0.2),
        "large": SiteSensitivity(0.0, -0.4, -0.4, gain=0.4),
        "idle": SiteSensitivity(0.0, -0.1, -0.1),
    }
    paths = ["idle", "unmeasured", "large", "small", "fc", "conv1"]
    assert rank(paths, known, 1.0) == ["fc", "conv1", "small", "large", "idle", "unmeasured"]
    richer = {**known, "large": SiteSensitivity(0.0, -0.4, -0.4, gain=4.0)}
    assert rank(paths, richer, 1.0)[2:4] == ["large", "small"]
    assert rank(paths, richer, 0.0)[2:4] == ["small", "large"]


def test_the_squared_gradient_is_that_of_the_mean_loss(baseline: Baseline, evidence: Evidence) -> None:
    network = baseline.network.fork().eval()
    images, labels = (torch.cat(parts) for parts in zip(*evidence.batches, strict=True))
    torch.nn.functional.cross_entropy(network(images), labels).backward()
    by_hand = sum(float(p.grad.square().sum()) for p in network.module.parameters() if p.grad is not None)
    assert squared_gradient(baseline.network, evidence) == pytest.approx(by_hand, rel=1e-3)


def test_the_gain_of_a_gated_block_is_the_gradient_of_its_gate(
    baseline: Baseline, evidence: Evidence, growths: Sensitivities
) -> None:
    entries = growths.of("self-grow", {})
    path = next(path for path in entries if path.endswith("+depth"))
    network = baseline.network.fork()
    apply_edit(network, Edit("self-grow", path), evidence)
    evidence.calibrate(network)
    gates = [p for name, p in network.module.named_parameters() if "grown_bn2" in name]
    images, labels = (torch.cat(parts) for parts in zip(*evidence.batches, strict=True))
    loss = torch.nn.functional.cross_entropy(network.eval()(images), labels)
    by_hand = sum(float(part.square().sum()) for part in torch.autograd.grad(loss, gates))
    assert entries[path].gain == pytest.approx(by_hand, rel=1e-2)
    assert entries[path].gain > 0
    assert entries[path].saving < 0


def test_copied_units_open_no_direction(baseline: Baseline, evidence: Evidence) -> None:
    def gain(operator: str) -> float:
        network = baseline.network.fork()
        apply_edit(network, Edit("self-grow", "fc1+width", {"operator": operator}), evidence)
        return squared_gradient(network, evidence) - squared_gradient(baseline.network, evidence)

    assert gain("copy") <= 0 < gain("gradmax")
    assert _distinct_inputs(torch.tensor([[1.0, 2.0, 1.0], [3.0, 4.0, 3.0]])).square().sum() == 30
    plain = torch.randn(5, 7, 3, 3)
    assert _distinct_inputs(plain).square().sum() == pytest.approx(float(plain.square().sum()), rel=1e-5)


def test_only_exact_growth_has_a_gain(growths: Sensitivities) -> None:
    assert any(entry.gain > 0 for entry in growths.of("self-grow", {}).values())
    assert not any(entry.gain for entry in growths.of("binarize", {}).values())
    assert Sensitivities.from_json(growths.to_json()) == growths


def test_spread_grows_the_best_place_first(baseline: Baseline, evidence: Evidence, growths: Sensitivities) -> None:
    entries = growths.of("self-grow", {})
    best = max(entries, key=lambda path: entries[path].gain / -entries[path].saving)
    assert rank(list(entries), entries, 1.0)[0] == best


def test_growth_and_removal_take_turns_and_the_result_can_be_rebuilt(
    baseline: Baseline, data: Data, tmp_path: Path
) -> None:
    """Two rounds with training between; the plan carried out again, without training, takes the trained weights."""
    limit = 2 * baseline.metrics.params
    phase = PhaseSpec(
        "grow",
        (
            PluginUse("layer-removal", required=True, values={"count": 1}),
            PluginUse("self-grow", {**DEPTH, "max_params": limit}, required=True, values={"count": 1}),
        ),
        SHORT,
        rounds=2,
    )
    space = build_space([phase], surveyor(baseline.network), SHORT)
    values = {parameter.name: parameter.knob.default for parameter in space.parameters}
    outcome = run_trial(space.plan(values), baseline, data, TrialSettings(calibration=128), seed=0, folder=tmp_path)
    assert outcome.status == "complete", outcome.reason
    assert outcome.metrics is not None
    assert outcome.metrics.params <= limit
    plan = json.loads((tmp_path / "plan.json").read_text())
    carried_out = [(step["plugin"], step["site"]) for part in plan["phases"] for step in part["steps"]]
    assert [plugin for plugin, _ in carried_out].count("self-grow") == 2
    rebuilt = load_candidate(tmp_path, baseline, baseline.evidence(data, 128))
    assert rebuilt.parameter_count == outcome.metrics.params
    again = load_candidate(tmp_path, baseline, baseline.evidence(data, 64))
    assert difference(rebuilt, again, baseline.evidence(data, 64).batches) == 0
