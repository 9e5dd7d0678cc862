"""Everything ``optimize`` reads before it starts: wrong input is told before a folder is made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from torch import nn

from compressor.api.auto import auto_recipe
from compressor.data.answered import answered
from compressor.data.dataset import Data
from compressor.data.fit import check_fit, inputs_of
from compressor.data.load import load_data
from compressor.data.open import spec_of, suited
from compressor.data.spec import SOURCES, DataSpec
from compressor.engine.normalisation import choose_normalisation
from compressor.engine.space import SearchSpace, build_space
from compressor.engine.survey import suggestions, surveyor
from compressor.engine.trained import Glance, glance, refuse_untrained
from compressor.errors import CaptureError, InputError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.given import Given, InputsGiven
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation
from compressor.load import load_model
from compressor.load.isolated import LOAD_SECONDS
from compressor.options import default_of
from compressor.present import LIVE
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe, read_text, recipe_data
from compressor.registry import discover
from compressor.search.clock import Clock
from compressor.search.estimate import estimate, seconds_per_sample, trainings
from compressor.task import TaskSpec, make_task
from compressor.train.rehearsal import rehearse, try_task

AUTO = "auto"
"""The recipe that is chosen from the network, the task and the time there is."""
_FRESH = "its weights (none were given: --weights FILE)"
_OPEN = '[[phases]]\nname = "chosen"\n'
"""Stands for the phases while nobody has looked at the network."""


@dataclass(frozen=True)
class RunSetup:
    """What a run starts from."""

    recipe: Recipe
    """With the normalisation written out: nobody need find it again."""
    network: Network
    data: Data
    space: SearchSpace
    glance: Glance
    normalisation: Normalisation
    notes: tuple[str, ...] = ()
    """What the user should be told."""
    text: str = ""
    """The recipe as it was chosen, with comments; empty where one was given."""


def set_up(
    model: nn.Module | Network | str | Path,
    recipe: str | Path = AUTO,
    *,
    data: str | Path | None = None,
    task: str = "",
    budget: float | None = None,
    trials: int | None = None,
    overrides: Sequence[str] = (),
    weights: Path | None = None,
    trust: bool = False,
    inputs: InputsGiven = None,
) -> RunSetup:
    """Read recipe, model and data, and see that they go together. Raises ``InputError`` or ``ExportError``.

    The model comes first: a mistyped name costs no reading of images. Where a model does not say what it takes, it
    takes what the data set has. ``data`` and ``task`` take the place of the recipe's; a ``budget`` that of its count of
    trials, not of one that is asked for beside it.
    """
    said = [*_sources(data), *([f"task.name={json.dumps(task)}"] if task else []), *overrides]
    limits = _limits(budget, trials)
    chosen = str(recipe) == AUTO
    if chosen and data is None:
        raise InputError("without a recipe, say which data: --data FOLDER, FILE or NAME (or --recipe R)")
    read = read_text(_OPEN, AUTO, [*said, *limits]) if chosen else read_recipe(recipe, [*said, *limits])
    early = cache(lambda: load_data(read.data, make_task(read.task)))
    seconds = max(LOAD_SECONDS, read.limits.plugin_seconds)
    network = _network(model, weights, trust, inputs, lambda: inputs_of(early()), seconds)
    to_onnx(network)
    asked = early.cache_info().currsize > 0
    given = network.signature.inputs
    spec = read.data if asked else suited(read.data, [one.shape for one in given], [one.name for one in given])
    loaded = early() if asked else load_data(spec, make_task(read.task))
    check_fit(network, loaded)
    if not loaded.task.own_answers:
        try_task(network, loaded)
    untrained = read.search.allow_untrained
    found = choose_normalisation(network, loaded, spec, untrained=untrained)
    network.know(replace(found.normalisation, folded=read.export.fold_normalisation))
    used = answered(found.data, network)
    seen = glance(network, used, error=chosen)
    if not untrained:
        fresh = weights is None and isinstance(model, str) and not Path(model).is_file()
        refuse_untrained(seen, used, weights=_FRESH if fresh else "its weights")
    ask = surveyor(network, read.limits.plugin_seconds)
    text = ""
    if chosen:
        source = {
            "data": _said(recipe_data(read)["data"], DataSpec),
            "task": _said(recipe_data(read)["task"], TaskSpec),
        }
        pace = seconds_per_sample(network, used, batch=64)
        able = suggestions(network, [found.name for found in discover()], read.limits.plugin_seconds)
        if not able:
            raise InputError(
                f"no plugin has anything to suggest for {network.source or 'this network'}: `compressor inspect` says "
                "what each could do to it, and why not; a recipe of your own (--recipe) asks for it"
            )
        text = auto_recipe(network, used, able, source=source, seen=seen, pace=pace, budget=budget or 0.0)
        read = read_text(text, AUTO, [*said, *limits])
    settled = replace(read, data=replace(spec, normalise="auto", mean=used.mean, std=used.std))
    space = build_space(read.phases, ask, read.training)
    rehearse(network, used, (spec for _, spec in trainings(read.phases, read.training)))
    counts = (*_few(read.data.validation, "validation"), *_few(read.data.test, "test"))
    notes = tuple(dict.fromkeys((*network.notes, *used.notes, *found.notes, *counts)))
    return RunSetup(settled, network, used, space, seen, found.normalisation, notes, text)


def _said(table: Mapping[str, Any], kind: type[Any]) -> dict[str, Any]:
    """What of a table is not as it is anyway; the name of a task is always worth saying."""
    usual = {field.name: default_of(field) for field in fields(kind)}
    return {key: value for key, value in table.items() if key == "name" or (value and value != _plain(usual.get(key)))}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _sources(data: str | Path | None) -> list[str]:
    """Overrides that put ``data`` in the place of the recipe's source."""
    if data is None:
        return []
    if str(data) == LIVE:
        return [f"data.function={json.dumps(LIVE)}"]
    spec = spec_of(data)
    return [f"data.{key}={json.dumps(getattr(spec, key))}" for key in SOURCES if getattr(spec, key)]


def _limits(budget: float | None, trials: int | None) -> list[str]:
    said = [] if trials is None else [f"search.trials={trials}"]
    if budget is None:
        return said
    return [f"search.budget={budget:g}", *(said or ["search.trials=0"])]


def _captured(model: nn.Module, given: Sequence[Given]) -> Network:
    """A live module that takes what the data have."""
    try:
        return capture(model, given, type(model).__name__)
    except CaptureError as error:
        shapes = [one.shape for one in given]
        last = next((shape for shape in shapes if len(shape) == 3 and shape[2] <= 4 < shape[0]), None)
        if last is None:
            raise
        size = "×".join(map(str, last))
        raise CaptureError(
            f"{error}; the data's images are {size}: channels that stand last are to stand first"
        ) from None


def _network(
    model: nn.Module | Network | str | Path,
    weights: Path | None,
    trust: bool,
    inputs: InputsGiven,
    otherwise: Callable[[], Sequence[Given]],
    seconds: float,
) -> Network:
    if isinstance(model, Network):
        return model.fork()
    if isinstance(model, nn.Module):
        if inputs is not None:
            return capture(model, inputs, type(model).__name__)
        return _captured(model, otherwise())
    return load_model(
        str(model),
        weights=weights,
        trust=trust,
        input_shape=inputs,
        otherwise=otherwise,
        seconds=seconds,
    )


def check_budget(prepared: RunSetup) -> None:
    """Raise ``InputError`` where not one trial fits into the budget, by far: a guess may be wrong by half.

    A run that begins with what needs no training has something to do all the same.
    """
    search = prepared.recipe.search
    if not search.budget or search.begins_untrained:
        return
    trial = estimate(prepared.recipe, prepared.network, prepared.data).trial
    clock = Clock(prepared.recipe, Path())
    if trial > 1.5 * clock.for_trials:
        raise InputError(
            f"a trial takes about {trial:.0f} s here, and of a budget of {search.budget:.0f} s no more than "
            f"{clock.for_trials:.0f} s are left for trials: give it more time, or train less (--set training.epochs=1)"
        )


def _few(wanted: int | float, key: str) -> Iterator[str]:
    """A count of samples that looks like a percentage."""
    if isinstance(wanted, int) and wanted < 100:
        yield f"data.{key} = {wanted} is a count of samples; {wanted} % of them is {wanted / 100:g}"
