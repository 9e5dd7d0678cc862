"""Everything ``optimize`` reads before it starts: wrong input is told before a folder is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from compressor.data.dataset import Data
from compressor.data.fit import check_fit
from compressor.data.load import load_data
from compressor.data.open import suited
from compressor.engine.normalisation import choose_normalisation
from compressor.engine.space import SearchSpace, build_space
from compressor.engine.survey import surveyor
from compressor.engine.trained import Glance, glance, refuse_untrained
from compressor.errors import InputError
from compressor.export.emit import to_onnx
from compressor.graph.given import InputsGiven
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation
from compressor.load import load_model
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe
from compressor.search.clock import Clock
from compressor.search.estimate import estimate
from compressor.task import make_task

_FRESH = "its weights (none were given: --weights FILE)"


@dataclass(frozen=True)
class Prepared:
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


def prepare(
    model: str,
    recipe: str,
    *,
    overrides: Sequence[str] = (),
    weights: Path | None = None,
    trust: bool = False,
    input_shape: InputsGiven = None,
) -> Prepared:
    """Read recipe, model and data, and see that they go together. Raises ``InputError`` or ``ExportError``.

    The model comes first: a mistyped name costs no reading of images. Where a model does not say what it takes, it
    takes what the data set has.
    """
    read = read_recipe(recipe, overrides)
    task = make_task(read.task)
    early = cache(lambda: load_data(read.data, task))
    network = load_model(
        model, weights=weights, trust=trust, input_shape=input_shape, otherwise=lambda: early().input_shape
    )
    to_onnx(network)
    asked = early.cache_info().currsize > 0
    spec = read.data if asked else suited(read.data, (network.signature.input.shape,))
    data = early() if asked else load_data(spec, task)
    check_fit(network, data)
    untrained = read.search.allow_untrained
    chosen = choose_normalisation(network, data, spec, untrained=untrained)
    network.know(replace(chosen.normalisation, folded=read.export.fold_normalisation))
    seen = glance(network, chosen.data)
    if not untrained:
        fresh = weights is None and not Path(model).is_file()
        refuse_untrained(seen, chosen.data, weights=_FRESH if fresh else "its weights")
    settled = replace(read, data=replace(spec, normalise="auto", mean=chosen.data.mean, std=chosen.data.std))
    space = build_space(read.phases, surveyor(network, read.limits.plugin_seconds), read.training)
    counts = (*_few(read.data.validation, "validation"), *_few(read.data.test, "test"))
    notes = (*network.notes, *chosen.data.notes, *chosen.notes, *counts)
    return Prepared(settled, network, chosen.data, space, seen, chosen.normalisation, notes)


def check_budget(prepared: Prepared) -> None:
    """Raise ``InputError`` where not one trial fits into the budget, by far: a guess may be wrong by half."""
    search = prepared.recipe.search
    if not search.budget:
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
        yield f"data.{key} = {wanted} is a count of images; {wanted} % of them is {wanted / 100:g}"
