"""A budget that no training fits is said before anything is begun, unless something may need no training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from compressor.api import prepare
from compressor.data.spec import DataSpec
from compressor.errors import InputError
from compressor.recipe.model import Recipe, SearchSpec


def check(monkeypatch: pytest.MonkeyPatch, search: SearchSpec, trial: float = 1000.0) -> None:
    monkeypatch.setattr(prepare, "estimate", lambda *_: SimpleNamespace(trial=trial))
    setup = SimpleNamespace(recipe=Recipe(DataSpec(name="digits"), search=search), network=None, data=None)
    prepare.check_budget(cast(Any, setup))


@pytest.mark.parametrize(
    "search", [SearchSpec(budget=300.0), SearchSpec(budget=300.0, sampler="surrogate", seeds=({},))]
)
def test_a_budget_that_no_trial_fits_is_refused(monkeypatch: pytest.MonkeyPatch, search: SearchSpec) -> None:
    with pytest.raises(InputError, match=r"a trial takes about 1000 s here, and of a budget of 300 s no more than"):
        check(monkeypatch, search)
    check(monkeypatch, search, trial=100.0)


@pytest.mark.parametrize("search", [SearchSpec(budget=300.0, sampler="surrogate"), SearchSpec()])
def test_what_needs_no_training_or_has_no_budget_begins(monkeypatch: pytest.MonkeyPatch, search: SearchSpec) -> None:
    check(monkeypatch, search)
