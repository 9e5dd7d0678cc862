"""A plan is plain data: it survives JSON, and its digest names what it does."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from compressor.engine.candidate import Constraints
from compressor.engine.plan import Decision, Edit, Gate, Phase, Plan, Stop
from compressor.train.spec import Distillation, TrainingSpec

names = st.text("abc.0_-", min_size=1, max_size=8)
values = st.one_of(st.booleans(), st.integers(-9, 9), st.floats(-9, 9), names)
choices = st.dictionaries(names, values, max_size=3)
edits = st.builds(Edit, names, names, choices, choices)
decisions = st.builds(Decision, names, st.sampled_from(["spread", "threshold", "each", "all"]), choices, choices)
trainings = st.builds(
    TrainingSpec, epochs=st.integers(0, 9), lr=st.floats(1e-5, 1), distillation=st.builds(Distillation)
)
phases = st.builds(
    Phase,
    names,
    st.lists(st.one_of(edits, decisions), max_size=3).map(tuple),
    st.none() | trainings,
    st.integers(1, 3),
    st.sampled_from(["none", "initial"]),
    st.none() | st.builds(Gate, st.floats(0, 1)),
)
loops = st.builds(
    Phase,
    names,
    rounds=st.integers(1, 3),
    phases=st.lists(phases, min_size=1, max_size=2).map(tuple),
    stop=st.none() | st.builds(Stop, st.floats(-1, 1)),
    limits=st.none() | st.builds(Constraints, max_latency=st.floats(0.1, 2)),
    timed=st.booleans(),
)
plans = st.builds(Plan, st.lists(phases | loops, max_size=3).map(tuple))


@given(plans)
def test_survives_json(plan: Plan) -> None:
    again = Plan.from_json(plan.to_json())
    assert again == plan
    assert again.digest == plan.digest


def test_the_order_of_a_choice_does_not_matter() -> None:
    left = Edit("p", "s", {"a": 1, "b": 2})
    right = Edit("p", "s", {"b": 2, "a": 1})
    assert Plan((Phase("x", (left,)),)).digest == Plan((Phase("x", (right,)),)).digest


def test_training_is_part_of_what_a_candidate_is() -> None:
    phase = Phase("x", (Edit("p", "s"),), TrainingSpec(epochs=1))
    assert Plan((phase,)).digest != Plan((replace(phase, training=TrainingSpec(epochs=2)),)).digest


def test_true_and_one_are_different_choices() -> None:
    one, true = (Plan((Phase("x", (Edit("p", "s", {"a": value}),)),)) for value in (1, True))
    assert one.digest != true.digest
    assert Plan.from_json(true.to_json()).edits[0].choice["a"] is True


def test_described_in_one_line() -> None:
    plan = Plan((Phase("a", (Edit("binarize", "fc1"), Edit("binarize", "fc2", {"ratio": 0.5}))),))
    assert plan.describe() == "binarize fc1, fc2(ratio=0.5)"
    assert Plan().describe() == "unchanged"
