"""What ``search.executor`` may say, and the one line for what it may not."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from compressor.errors import RecipeError
from compressor.recipe.executors import unusable
from compressor.recipe.read import read_recipe


def test_local_needs_nothing() -> None:
    assert unusable("local") == ""


@pytest.mark.parametrize("name", ["", "dask", "ray:", "ray://", "RAY"])
def test_an_unknown_executor_is_named_with_those_there_are(name: str) -> None:
    with pytest.raises(RecipeError, match=r"search\.executor.*expected local, ray or ray://HOST:PORT, found"):
        read_recipe("quickstart", [f"search.executor={name!r}"])


@pytest.mark.parametrize("name", ["ray", "ray://head:10001"])
def test_ray_is_asked_for_where_it_is_missing(name: str) -> None:
    complaint = "" if find_spec("ray") else f"{name!r} needs ray: pip install 'compressor[ray]', or take local"
    assert unusable(name) == complaint
