"""Loops, stop rules and limits on edits: what is carried out, undone and refused, and that it can be replayed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from compressor.data.dataset import Data
from compressor.engine.baseline import Baseline
from compressor.engine.candidate import Constraints, Outcome
from compressor.engine.control import from_scratch
from compressor.engine.plan import Decision, Edit, Gate, Phase, Plan, Stop
from compressor.engine.resolve import resolve
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.space import PhaseSpec, PluginUse, build_space
from compressor.engine.survey import surveyor
from compressor.engine.trial import TrialSettings, load_candidate, run_trial
from compressor.graph.verify import difference
from compressor.train.spec import TrainingSpec

SHORT = TrainingSpec(epochs=1, batch=64, lr=1e-3)
GROW = Phase("grow", (Decision("self-grow", "spread", {"count": 1}, {"grow": "depth"}),), SHORT)
REMOVE = Phase("remove", (Decision("layer-removal", "spread", {"count": 1}),), SHORT)
LOOP = Phase("loop", rounds=2, phases=(GROW, REMOVE))
BINARY = Phase("pack", (Decision("binarize", "spread", {"count": 1}),), SHORT)


@pytest.fixture
def run(baseline: Baseline, data: Data, tmp_path: Path) -> Callable[..., Outcome]:
    def call(*phases: Phase, seed: int = 0) -> Outcome:
        settings = TrialSettings(calibration=128)
        return run_trial(Plan(phases), baseline, data, settings, seed=seed, folder=tmp_path / "a")

    return call


def carried_out(folder: Path) -> Plan:
    return Plan.from_json((folder / "plan.json").read_bytes())


def test_a_loop_repeats_its_phases_and_is_replayed_from_its_folder_alone(
    run: Callable[..., Outcome], baseline: Baseline, data: Data, tmp_path: Path
) -> None:
    outcome = run(LOOP, BINARY)
    assert outcome.status == "complete", outcome.reason
    names = ["loop.grow", "loop.remove", "loop.grow", "loop.remove", "pack"]
    assert [(stage.phase, stage.round) for stage in outcome.stages] == list(zip(names, [1, 1, 2, 2, 1], strict=True))
    plan = carried_out(tmp_path / "a")
    assert [phase.name for phase in plan.phases] == names
    assert [edit.plugin for edit in plan.edits] == ["self-grow", "layer-removal"] * 2 + ["binarize"]
    assert sorted(path.name for path in (tmp_path / "a").glob("before-phase-*")) == [
        f"before-phase-{index}.safetensors" for index in range(1, 5)
    ]
    moved = shutil.copytree(tmp_path / "a", tmp_path / "elsewhere")
    evidence = baseline.evidence(data, 64)
    rebuilt = load_candidate(moved, baseline, evidence)
    assert outcome.metrics is not None
    assert rebuilt.parameter_count == outcome.metrics.params
    assert difference(rebuilt, load_candidate(tmp_path / "a", baseline, evidence), evidence.batches) == 0


def test_a_round_that_brings_too_little_is_undone_and_ends_the_loop(
    run: Callable[..., Outcome], baseline: Baseline, data: Data, tmp_path: Path
) -> None:
    outcome = run(BINARY, replace(LOOP, stop=Stop(min_gain=1.0), rounds=3))
    assert outcome.status == "complete", outcome.reason
    assert [stage.phase for stage in outcome.stages] == ["pack", "loop.grow", "loop.remove"]
    assert "round 1 brought" in outcome.stages[-1].note
    assert outcome.stages[-1].note.endswith("less than 1: undone")
    assert [phase.name for phase in carried_out(tmp_path / "a").phases] == ["pack"]
    assert not list((tmp_path / "a").glob("before-phase-*"))
    assert outcome.metrics is not None
    assert outcome.metrics.params == outcome.stages[0].params
    assert outcome.metrics.quality.validation == outcome.stages[0].quality
    assert outcome.metrics.size_bytes == (tmp_path / "a" / "model.onnx").stat().st_size == outcome.stages[0].size_bytes
    assert load_candidate(tmp_path / "a", baseline, baseline.evidence(data, 64)).parameter_count


def test_rounds_that_earn_their_gain_are_kept_and_what_follows_goes_on_from_there(
    run: Callable[..., Outcome], tmp_path: Path
) -> None:
    run(replace(BINARY, rounds=2, stop=Stop(min_gain=-1.0)), REMOVE)
    assert [phase.name for phase in carried_out(tmp_path / "a").phases] == ["pack", "pack", "remove"]
    shutil.rmtree(tmp_path / "a")
    run(replace(BINARY, rounds=2, stop=Stop(min_gain=1.0)), REMOVE)
    assert [phase.name for phase in carried_out(tmp_path / "a").phases] == ["remove"]


def test_a_gate_in_a_loop_and_behind_it_ends_the_trial(run: Callable[..., Outcome]) -> None:
    never = Gate(max_drop=-1.0)
    inside = run(replace(LOOP, phases=(replace(GROW, training=None, gate=never), REMOVE)))
    assert (inside.status, len(inside.stages)) == ("stopped", 1)
    assert inside.reason.startswith("gate after loop.grow: ")
    behind = run(replace(LOOP, rounds=1, gate=never, phases=(replace(GROW, training=None),)), BINARY)
    assert (behind.status, len(behind.stages)) == ("stopped", 1)
    assert behind.reason.startswith("gate after loop: ")


def test_an_edit_over_a_limit_is_refused_and_said_so(
    run: Callable[..., Outcome], baseline: Baseline, tmp_path: Path
) -> None:
    untrained = replace(GROW, training=None)
    free = run(untrained)
    assert free.metrics is not None
    assert free.metrics.params > baseline.metrics.params
    limited = run(replace(untrained, limits=Constraints(max_params=1.0)))
    assert limited.metrics is not None
    assert limited.metrics.params == baseline.metrics.params
    assert "refused, self-grow" in limited.stages[0].note
    assert "over max_params by" in limited.stages[0].note
    timed = run(replace(untrained, limits=Constraints(max_params=9.0, max_latency=0.01)))
    assert "over max_latency by" in timed.stages[0].note
    roomy = run(replace(untrained, limits=Constraints(max_params=9.0, max_latency=99.0)))
    assert roomy.stages[0].note == ""


def test_efficiency_may_count_measured_time(run: Callable[..., Outcome]) -> None:
    outcome = run(
        replace(REMOVE, training=None, timed=True, steps=(Decision("layer-removal", "threshold", {"tau": 1e6}),))
    )
    assert outcome.stages[0].edits > 0


def test_a_loop_stays_open_until_it_runs(baseline: Baseline, data: Data) -> None:
    plan = Plan((LOOP,))
    assert resolve(plan, baseline.network, Sensitivities(), baseline.evidence(data, 64)) == plan


def test_a_control_is_trained_as_often_as_the_loop_trains(baseline: Baseline, data: Data) -> None:
    inner = Phase("train", training=TrainingSpec(epochs=1, batch=64, steps_per_epoch=2))
    score = from_scratch(baseline.network, Plan((Phase("loop", rounds=3, phases=(inner, inner)),)), data, seed=0)
    again = from_scratch(baseline.network, Plan((replace(inner, rounds=6),)), data, seed=0)
    assert score == again


def test_a_loop_in_the_search_space_has_its_phases_parameters(baseline: Baseline) -> None:
    grow = PhaseSpec("grow", (PluginUse("self-grow", {"grow": "depth"}, required=True),))
    remove = PhaseSpec("remove", (PluginUse("layer-removal"),))
    rest = PhaseSpec("rest")
    space = build_space(
        [PhaseSpec("loop", rounds=3, phases=(grow, remove, rest), stop=Stop(0.0))], surveyor(baseline.network), SHORT
    )
    names = {parameter.name for parameter in space.parameters}
    assert {"loop.grow.self-grow.count", "loop.remove.layer-removal"} <= names
    assert "loop.grow.self-grow" not in names
    plan = space.plan({"loop.grow.self-grow.count": 2, "loop.remove.layer-removal": False})
    (loop,) = plan.phases
    assert (loop.rounds, loop.stop, loop.training) == (3, Stop(0.0), None)
    assert [phase.name for phase in loop.phases] == ["grow", "rest"]
    (step,) = loop.phases[0].steps
    assert isinstance(step, Decision)
    assert step.values == {"count": 2}
    assert [phase.name for phase in space.plan({"loop.remove.layer-removal": True}).phases[0].phases] == [
        "grow",
        "remove",
        "rest",
    ]


def test_a_loop_in_which_nothing_is_chosen_is_left_out(baseline: Baseline) -> None:
    loop = PhaseSpec("loop", phases=(PhaseSpec("remove", (PluginUse("layer-removal"),)), PhaseSpec("train")))
    space = build_space([loop], surveyor(baseline.network), SHORT)
    assert space.plan({"loop.remove.layer-removal": False}).phases == ()


def test_a_plan_with_a_loop_survives_json_and_is_described() -> None:
    edits = Phase("a", (Edit("binarize", "fc1"),))
    plan = Plan((Phase("loop", rounds=2, phases=(edits, replace(edits, name="b")), stop=Stop(0.01)),))
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.digest != Plan((replace(plan.phases[0], stop=None),)).digest
    assert plan.describe() == "binarize fc1, fc1"
    assert [phase.name for phase in plan.unrolled()] == ["loop.a", "loop.b"] * 2
