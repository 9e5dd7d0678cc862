"""What types cannot say: numbers in range, names that agree, plugins that exist and take these options.

Plugins are imported in a process of their own: what a recipe names is anybody's code.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields

from compressor.apart import each_apart
from compressor.engine.candidate import Constraints
from compressor.engine.space import PhaseSpec, PluginUse, uses_of
from compressor.errors import CompressorError, NoAnswer, did_you_mean
from compressor.recipe.executors import unusable
from compressor.recipe.limits import (
    AUGMENTATION,
    DATA,
    DISTILLATION,
    LIMITS,
    MEASURE,
    PHASE,
    SEARCH,
    TRAINING,
    outside,
    percentage,
)
from compressor.recipe.model import Recipe
from compressor.registry import PILOTS, make, titled, unknown
from compressor.train.spec import TrainingSpec

_PERCENTAGES = 10, 100
"""A limit of so many times the baseline's figure will have been a percentage. What is higher lifts the limit."""

RecipeProblem = tuple[tuple[str | int, ...], str]
"""Where, and what is wrong there."""


def problems(recipe: Recipe) -> Iterator[RecipeProblem]:
    """Everything wrong with a recipe of the right form, in the order of the file."""
    yield from _training(recipe.training, ("training",))
    if not recipe.phases:
        yield ("phases",), "a recipe needs at least one phase"
    yield from _phases(recipe.phases, ("phases",))
    if not recipe.objectives or len(set(recipe.objectives)) < len(recipe.objectives):
        yield ("objectives",), "expected at least one objective, each once"
    yield from _constraints(recipe.constraints, ("constraints",))
    yield from _search(recipe)
    yield from outside(recipe.limits, ("limits",), LIMITS)
    yield from _plugins(recipe)
    yield from _pilot(recipe)


def _phases(phases: Sequence[PhaseSpec], at: tuple[str | int, ...]) -> Iterator[RecipeProblem]:
    for name, count in Counter(phase.name for phase in phases).items():
        if count > 1:
            yield at, f"{count} phases are called {name!r}; names must differ"
    for index, phase in enumerate(phases):
        yield from _phase(phase, (*at, index))
        if phase.phases and at != ("phases",):
            yield (*at, index, "phases"), "a loop inside a loop is one too deep; put its phases into the outer loop"
        elif phase.phases:
            yield from _loop(phase, (*at, index))


def _loop(phase: PhaseSpec, at: tuple[str | int, ...]) -> Iterator[RecipeProblem]:
    for key, given in (
        ("plugins", bool(phase.plugins)),
        ("training", phase.training is not None),
        ("rewind", phase.rewind != "none"),
        ("limits", phase.limits is not None),
        ("timed", phase.timed),
    ):
        if given:
            yield (*at, key), "a loop has phases in its place; move it into one of them"
    yield from _phases(phase.phases, (*at, "phases"))


def _phase(phase: PhaseSpec, at: tuple[str | int, ...]) -> Iterator[RecipeProblem]:
    if not phase.name or "." in phase.name:
        yield (*at, "name"), f"expected a name without dots; found {phase.name!r}"
    yield from outside(phase, at, PHASE)
    if phase.gate is not None and (message := _points(phase.gate.max_drop)):
        yield (*at, "gate", "max_drop"), message
    if phase.stop is not None and (message := _points(phase.stop.min_gain)):
        yield (*at, "stop", "min_gain"), message
    if phase.limits is not None:
        yield from _constraints(phase.limits, (*at, "limits"))
        if phase.limits.max_drop is not None:
            yield (*at, "limits", "max_drop"), "edits are held to size and time; for quality there is a gate"
    if phase.training is not None:
        yield from _training(phase.training, (*at, "training"))
    for name, count in Counter(use.name for use in phase.plugins).items():
        if count > 1:
            yield (*at, "plugins"), f"{name!r} is used {count} times; use a second phase for a second use"
    for index, use in enumerate(phase.plugins):
        if message := unknown(use.name):
            yield (*at, "plugins", index), message


def _plugins(recipe: Recipe) -> Iterator[RecipeProblem]:
    """What is wrong with the plugins and their options."""
    places = list(_places(recipe.phases, ("phases",)))

    def check(place: tuple[tuple[str | int, ...], PluginUse]) -> None:
        make(place[1].name, place[1].options)

    for (at, use), answer in zip(places, each_apart(places, check, seconds=recipe.limits.plugin_seconds), strict=True):
        if isinstance(answer, NoAnswer):
            yield at, f"{titled(use.name)} cannot be used: importing it {answer}"
        elif isinstance(answer, CompressorError):
            yield at, str(answer)


def _pilot(recipe: Recipe) -> Iterator[RecipeProblem]:
    """What is wrong with the pilot study and its options."""
    spec = recipe.pilot
    if spec is None:
        return
    (answer,) = each_apart(
        [spec],
        lambda spec: PILOTS.make(PILOTS.meant(spec.name), spec.options) and None,
        seconds=recipe.limits.plugin_seconds,
    )
    if isinstance(answer, NoAnswer):
        yield ("pilot",), f"{PILOTS.titled(spec.name)} cannot be used: importing it {answer}"
    elif isinstance(answer, CompressorError):
        yield ("pilot",), str(answer)


def _places(
    phases: Sequence[PhaseSpec], at: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], PluginUse]]:
    """Every use of a plugin, and where it stands."""
    for index, phase in enumerate(phases):
        for number, use in enumerate(phase.plugins):
            yield (*at, index, "plugins", number), use
        yield from _places(phase.phases, (*at, index, "phases"))


def _training(spec: TrainingSpec, at: tuple[str | int, ...]) -> Iterator[RecipeProblem]:
    yield from outside(spec, at, TRAINING)
    yield from outside(spec.augmentation, (*at, "augmentation"), AUGMENTATION)
    yield from outside(spec.distillation, (*at, "distillation"), DISTILLATION)


def _constraints(constraints: Constraints, at: tuple[str | int, ...]) -> Iterator[RecipeProblem]:
    for field in fields(constraints):
        value = getattr(constraints, field.name)
        if value is None:
            continue
        if field.name == "max_drop":
            if message := _points(value):
                yield (*at, field.name), message
        elif not 0 < value < float("inf"):
            yield (*at, field.name), f"expected a positive share of the baseline; found {value:g}"
        elif _PERCENTAGES[0] <= value <= _PERCENTAGES[1]:
            found = f"found {value:g}, which is {value:g} times as much{percentage(value)}"
            yield (*at, field.name), f"expected a share of the baseline's figure; {found}"


def _points(value: float) -> str:
    """What is wrong with a gain or loss of a metric; empty where nothing is."""
    if -1 <= value < 1:
        return ""
    several = f"were {value:g} points" if value > 1 else "was one point"
    meant = f"; {several} meant ({value / 100:g})?" if 1 <= value <= 100 else ""
    return f"expected a share of 1, at most 0.99 (0.01 is one point); found {value:g}{meant}"


def _search(recipe: Recipe) -> Iterator[RecipeProblem]:
    switches = [switch for switch, _ in uses_of(recipe.phases)]
    for index, seed in enumerate(recipe.search.seeds):
        for name in seed:
            if not any(name == switch or name.startswith(f"{switch}.") for switch in switches):
                yield (
                    ("search", "seeds", index),
                    f"{name!r} is no parameter of a plugin here{did_you_mean(name, switches)}",
                )
    if not recipe.search.trials and not recipe.search.budget:
        yield ("search", "trials"), "0 means as many as the budget allows, and there is none: [search] budget"
    if recipe.search.sampler == "gp" and importlib.util.find_spec("scipy") is None:
        yield ("search", "sampler"), "'gp' needs scipy: pip install 'compressor[gp]', or choose another sampler"
    if any(not 0 < share < 1 for share in recipe.search.rungs):
        yield ("search", "rungs"), f"shares lie between 0 and 1, not {list(recipe.search.rungs)}"
    if complaint := unusable(recipe.search.executor):
        yield ("search", "executor"), complaint
    yield from outside(recipe.search, ("search",), SEARCH)
    yield from outside(recipe.measure, ("measure",), MEASURE)
    yield from outside(recipe.data, ("data",), DATA)
