"""What is asked of a plan before it is trained: with a short training where trials train long, or without."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compressor.data.load import load_data
from compressor.engine.baseline import load_baseline
from compressor.engine.plan import Decision, Phase, Plan
from compressor.engine.short_training import SAMPLES
from compressor.search.context import Context
from compressor.search.questions import LookedAt, Sketched
from compressor.search.run_folder import RunFolder
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec

PLAN = Plan((Phase("p", (Decision("binarize", "all"),)),))


@pytest.fixture
def shared(made: RunFolder) -> Context:
    """Trials that train for a while, with the toolkit's own loop."""
    recipe = made.recipe()
    recipe = replace(recipe, data=replace(recipe.data, limit=0), training=TrainingSpec(epochs=200))
    data, baseline = load_data(recipe.data), load_baseline(made.baseline)
    fit(baseline.network, data, TrainingSpec(epochs=3, batch=32), seed=0)  # it has to know something that can be lost
    return Context(made, recipe, baseline, data)


def test_looks_train_on_more_images_than_calibrate_and_sketches_not_at_all(shared: Context) -> None:
    assert shared.practice is not None
    images = shared.practice.held.count + shared.practice.rest.count
    assert images == min(SAMPLES, len(shared.data.train)) > 10 * shared.evidence.count
    look, sketch = LookedAt(PLAN).answer(shared), Sketched(PLAN).answer(shared)
    assert look.lost is not None
    assert sketch.lost is None
    assert (sketch.plan, sketch.size_bytes, sketch.loss) == (look.plan, look.size_bytes, look.loss)


def test_beside_short_trainings_looks_do_not_train(shared: Context) -> None:
    short = replace(shared, recipe=replace(shared.recipe, training=TrainingSpec(epochs=1)))
    assert short.practice is None
    assert LookedAt(PLAN).answer(short).lost is None
