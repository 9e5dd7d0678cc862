"""What all trials and questions of a run share in a worker: read once, before anything is forked."""

from __future__ import annotations

import functools
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from compressor.data.answered import answered
from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.engine.apply import rewrite_seconds
from compressor.engine.baseline import Baseline, load_baseline
from compressor.engine.sensitivity import SENSITIVITIES, Sensitivities
from compressor.engine.short_training import SAMPLES, Practice, practice_of, worth_while
from compressor.engine.space import uses_of
from compressor.errors import PluginError
from compressor.evidence import Evidence
from compressor.recipe.model import Recipe
from compressor.registry import PILOTS, load
from compressor.search.estimate import trainings
from compressor.search.run_folder import RunFolder
from compressor.task import make_task


@dataclass(frozen=True)
class Context:
    """A run as its workers know it; never its test split."""

    run: RunFolder
    recipe: Recipe
    baseline: Baseline
    data: Data

    @functools.cached_property
    def evidence(self) -> Evidence:
        return self.baseline.evidence(self.data, self.recipe.data.calibration)

    @functools.cached_property
    def practice(self) -> Practice | None:
        """What looks train on for some steps; None where they do not."""
        epochs, samples = trainings(self.recipe.phases, self.recipe.training), len(self.data.train)
        if not worth_while(epochs, samples, self.evidence.values_of_one):
            return None
        return practice_of(self.baseline.network, self.baseline.evidence(self.data, SAMPLES))

    @functools.cached_property
    def rewrite_seconds(self) -> float:
        """How long a plugin may take over one rewrite; measured once, before anything is forked."""
        return rewrite_seconds(self.recipe.limits.plugin_seconds, self.baseline.network, self.evidence)

    @functools.cached_property
    def sensitivities(self) -> Sensitivities:
        """Asked for when they have been measured; none where the run measures none."""
        return SENSITIVITIES.find(self.run.sensitivities) or Sensitivities()


@functools.lru_cache(maxsize=1)
def context(run: str) -> Context:
    """Read the run folder and the data, and import the plugins: reading the recipe has shown, elsewhere, that they can
    be.
    """
    folder = RunFolder.open(Path(run))
    recipe = folder.recipe()
    for _, use in uses_of(recipe.phases):
        with suppress(PluginError):
            load(use.name)
    if recipe.pilot is not None:
        with suppress(PluginError):
            PILOTS.load(recipe.pilot.name)
    baseline = load_baseline(folder.baseline)
    data = load_data(recipe.data, make_task(recipe.task), check=False)
    return Context(folder, recipe, baseline, answered(data, baseline.network))
