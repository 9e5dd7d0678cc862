"""Before the first trial: data, measured baseline, search space; then, once it is clear that there will be trials, the
sensitivities. What was measured once is read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from compressor.data.answered import answered
from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.engine.baseline import Baseline, load_baseline, measure_baseline, save_baseline
from compressor.engine.candidate import Constraints
from compressor.engine.final import FINAL
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.space import SearchSpace, build_space
from compressor.engine.survey import surveyor
from compressor.errors import DamagedFileError
from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor.recipe.model import Recipe
from compressor.search.executor import Executor
from compressor.search.kept import kept
from compressor.search.observer import BaselineMeasured, Note, Observer, Stage
from compressor.search.result import RESULT, Candidate, PilotResult
from compressor.search.run_folder import RunFolder
from compressor.search.sensitivities import sensitivities_of
from compressor.stored import is_there
from compressor.task import make_task


@dataclass(frozen=True)
class Prepared:
    """Everything the search needs to turn values into plans and plans into trials."""

    run: RunFolder
    recipe: Recipe
    data: Data
    baseline: Baseline
    sensitivities: Sensitivities
    space: SearchSpace
    pilot: PilotResult | None = None
    """Set once the pilot study is over, where the recipe asks for one."""
    told: Mapping[str, Candidate] = field(default_factory=dict)
    """What an earlier session's result says of candidates, by digest, and of the baseline, which has none."""

    @cached_property
    def judged_by(self) -> Constraints:
        """The recipe's limits; where it states none for quality, with what the task usually may lose."""
        limits = self.recipe.constraints
        if limits.max_drop is not None:
            return limits
        task, before = self.data.task.fitted(self.baseline.network), self.baseline.metrics.quality
        return replace(limits, max_drop=task.usual_drop(before.validation))

    @cached_property
    def evidence(self) -> Evidence:
        return self.baseline.evidence(self.data, self.recipe.data.calibration)


def prepare_search(run: RunFolder, recipe: Recipe, observer: Observer) -> Prepared:
    """Measure, or read back, what the search builds on, but for the sensitivities.

    Raises ``InputError`` where the parts do not fit.
    """
    observer.notify(Stage("data", recipe.data.title))
    told = _told(run, observer)
    data = load_data(recipe.data, make_task(recipe.task))
    baseline = _baseline(run, recipe, data, observer)
    data = answered(data, baseline.network)
    observer.notify(BaselineMeasured(baseline.metrics))
    ask = surveyor(baseline.network, recipe.limits.plugin_seconds)
    space = build_space(recipe.phases, ask, recipe.training)
    for note in space.notes:
        observer.notify(Note(note))
    return Prepared(run, recipe, data, baseline, Sensitivities(), space, told=told)


def with_sensitivities(
    prepared: Prepared, executor: Executor, observer: Observer, goes_on: Callable[[], bool] = lambda: True
) -> Prepared:
    """The same with what the sites of its plugins are worth: seconds to minutes of measuring, by the workers."""
    measured = sensitivities_of(prepared.run, prepared.recipe, prepared.space, executor, observer, goes_on)
    return replace(prepared, sensitivities=measured)


def _told(run: RunFolder, observer: Observer) -> dict[str, Candidate]:
    """Read first: the file is written anew whenever the front changes."""
    result = kept(lambda: RESULT.find(run.path / "result.json"), observer, instead="it is made anew")
    return {} if result is None else {one.digest: one for one in (result.baseline, *result.front) if one.checks}


def _baseline(run: RunFolder, recipe: Recipe, data: Data, observer: Observer) -> Baseline:
    if is_there(run.baseline):
        baseline = kept(lambda: _undisputed(run.baseline), observer, instead="the baseline is measured again")
        if baseline is not None:
            return baseline
    observer.notify(Stage("baseline"))
    network = _as_fed(run.model(), data, recipe.export.fold_normalisation)
    baseline = measure_baseline(network, answered(data, network), batch=recipe.measure.batch)
    save_baseline(baseline, run.baseline)
    return baseline


def _undisputed(folder: Path) -> Baseline:
    """The baseline, where its final figures say what its first ones do. Raises ``DamagedFileError``."""
    baseline = load_baseline(folder)
    try:
        final = FINAL.find(folder / "final.json")
    except DamagedFileError:  # it is measured again
        return baseline
    if final is not None and not final.goes_with(baseline.metrics):
        raise DamagedFileError(f"{folder / 'metrics.json'}: contradicts final.json beside it")
    return baseline


def _as_fed(network: Network, data: Data, folded: bool) -> Network:
    """The network with the normalisation that the data have; where it knew the same one, how it is known stays."""
    known, fed = network.signature.normalisation, data.normalisation()
    if known is None or not known.same_as(fed):
        known = fed
    return network.know(replace(known, folded=folded))
