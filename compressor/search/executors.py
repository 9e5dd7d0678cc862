"""Which executor a recipe asks for: processes of this machine, or workers in a Ray cluster."""

from __future__ import annotations

from compressor.errors import InputError
from compressor.recipe.executors import LOCAL, unusable
from compressor.recipe.model import Recipe
from compressor.search.executor import Executor
from compressor.search.local import LocalExecutor
from compressor.search.run_folder import RunFolder


def executor_of(run: RunFolder, recipe: Recipe, *, name: str = "") -> Executor:
    """The one that the recipe names, or that ``name`` does.

    Raises ``InputError`` where the cluster does not answer, or its workers are of another version.
    """
    name = name or recipe.search.executor
    if complaint := unusable(name):
        raise InputError(f"executor: {complaint}")
    if name == LOCAL:
        return local_executor(run, recipe)
    from compressor.search.remote.on_ray import RayExecutor  # where it is not asked for, it need not be there

    return RayExecutor(run, recipe, name)


def local_executor(run: RunFolder, recipe: Recipe, *, forked: bool = False) -> Executor:
    """As many worker processes as the recipe has jobs; ``forked``: with the live objects of this one."""
    jobs = min(recipe.search.jobs, recipe.search.trials or recipe.search.jobs)
    executor = LocalExecutor(run.path, jobs, threads=1 if forked else recipe.search.threads, forked=forked)
    executor.warm()
    return executor
