"""Recipes at random, for round trips."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from compressor.data.spec import DataSpec
from compressor.engine.candidate import Constraints
from compressor.engine.plan import Gate, Stop
from compressor.engine.space import PhaseSpec, PluginUse, uses_of
from compressor.knobs import Value
from compressor.recipe.model import ControlsSpec, MeasureSpec, Recipe, SearchSpec
from compressor.train.spec import Augmentation, Distillation, TrainingSpec

names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="."), min_size=1, max_size=8)
shares = st.floats(0.001, 0.99)
values = st.booleans() | st.integers(-1000, 1000) | st.floats(-1e6, 1e6) | st.text(max_size=5)
trainings = st.builds(
    TrainingSpec,
    epochs=st.integers(0, 9),
    batch=st.integers(1, 512),
    optimizer=st.sampled_from(["adam", "adamw", "sgd"]),
    lr=st.floats(1e-6, 1.0),
    schedule=st.sampled_from(["constant", "cosine", "one-cycle"]),
    restore_best=st.booleans(),
    augmentation=st.builds(Augmentation, flip=st.booleans(), shift=st.integers(0, 4), rotate=st.floats(0, 90)),
    distillation=st.builds(Distillation, logits=st.floats(0, 1), temperature=st.floats(0.1, 9)),
)
uses = st.builds(
    PluginUse,
    name=st.sampled_from(["binarize", "layer-removal"]),
    policy=st.sampled_from(["spread", "threshold", "each", "all"]),
    required=st.booleans(),
    values=st.dictionaries(names, values, max_size=3),
    only=st.lists(st.text(max_size=5), max_size=2).map(tuple),
)
simple_phases = st.builds(
    PhaseSpec,
    name=names,
    plugins=st.lists(uses, max_size=2, unique_by=lambda use: use.name).map(tuple),
    training=st.none() | trainings,
    rounds=st.integers(1, 5),
    rewind=st.sampled_from(["none", "initial"]),
    gate=st.none() | st.builds(Gate, max_drop=shares),
    stop=st.none() | st.builds(Stop, min_gain=st.floats(-1, 0.99)),
    limits=st.none() | st.builds(Constraints, max_latency=shares),
    timed=st.booleans(),
)
loops = st.builds(
    PhaseSpec,
    name=names,
    rounds=st.integers(1, 5),
    phases=st.lists(simple_phases, min_size=1, max_size=2, unique_by=lambda phase: phase.name).map(tuple),
)
phases = simple_phases | loops
plain_recipes = st.builds(
    Recipe,
    data=st.builds(DataSpec, name=names, validation=st.integers(1, 9) | st.floats(0.1, 0.9), limit=st.integers(0, 9)),
    training=trainings,
    phases=st.lists(phases, min_size=1, max_size=3, unique_by=lambda phase: phase.name).map(tuple),
    objectives=st.lists(st.sampled_from(["quality", "size", "latency"]), min_size=1, unique=True).map(tuple),
    constraints=st.builds(Constraints, max_drop=st.none() | shares, max_size=st.none() | shares),
    search=st.builds(
        SearchSpec,
        trials=st.integers(1, 99),
        sampler=st.sampled_from(["tpe", "random", "nsga2"]),
        timeout=st.floats(0, 1e5),
    ),
    measure=st.builds(MeasureSpec, batch=st.integers(1, 64)),
    controls=st.builds(ControlsSpec, scratch=st.booleans()),
)


def _with_seed(recipe: Recipe, knobs: dict[str, Value]) -> Recipe:
    """The recipe with a seed for its first plugin, where it has one."""
    switches = [switch for switch, _ in uses_of(recipe.phases)]
    seeds = ({f"{switches[0]}.{name}": value for name, value in knobs.items()},) if switches else ()
    return replace(recipe, search=replace(recipe.search, seeds=seeds))


recipes = st.builds(_with_seed, plain_recipes, st.dictionaries(names, values, max_size=3))
