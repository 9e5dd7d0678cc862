"""``compressor.optimize``: from a model and data to a smaller, faster, verified ONNX file, with a verdict.

    result = compressor.optimize(model, train, validation, test, task="segmentation", budget="30m")
    result.verdict, result.best.onnx_path, result.show()

The command line goes through the same functions.
"""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn

from compressor.api.durations import seconds_of
from compressor.api.folders import free_folder
from compressor.api.prepare import check_budget, set_up
from compressor.api.result import Result
from compressor.data.open import from_loaders, open_data, suited
from compressor.data.spec import DataSpec
from compressor.errors import InputError
from compressor.graph.device import left_to_forks, used
from compressor.graph.given import InputsGiven, given_inputs
from compressor.graph.network import Network
from compressor.graph.tracing import required_inputs
from compressor.present import LIVE, present
from compressor.recipe.model import Recipe
from compressor.report.gather import gather
from compressor.report.write import write_report
from compressor.search.driver import ExecutorFactory
from compressor.search.driver import run_search as carry_out
from compressor.search.executors import executor_of, local_executor
from compressor.search.observer import Observer
from compressor.search.run_folder import RunFolder
from compressor.task import Task, TaskSpec, make_task


def optimize(
    model: nn.Module | Network | str | Path,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    *,
    data: Any = None,
    task: Task | str = "",
    recipe: str | Path = "auto",
    budget: str | float = "",
    max_drop: float | None = None,
    trials: int | None = None,
    seed: int | None = None,
    jobs: int | None = None,
    executor: str = "",
    out: str | Path | None = None,
    weights: str | Path | None = None,
    inputs: InputsGiven = None,
    overrides: Sequence[str] = (),
    trust: bool = False,
    allow_untrained: bool = False,
    observer: Observer | None = None,
) -> Result:
    """Search for a smaller, faster network, and prove it.

    ``model``: a live module (it is copied, never changed), or what the command line takes. ``train``, ``validation``,
    ``test``: datasets, loaders, or pairs of arrays; or ``data`` in their place: a folder, a file, the name of a set, a
    finished ``Data``. ``task``: a name, ``package.module:name``, or a ``Task``. ``recipe``: a file, a bundled one by
    name, or ``auto``, which chooses. ``budget``: such as ``30m``, or seconds. ``max_drop``: what the task's metric may
    lose. ``executor``: ``local``, ``ray`` or ``ray://HOST:PORT``, where trials run. ``out``: the run folder, a new one
    under ``runs/`` where none is named. ``overrides``: as ``--set``.

    Raises ``InputError`` with one line where the parts do not fit, and ``KeyboardInterrupt`` where it was interrupted:
    what is finished is in the run folder, and ``resume`` goes on with it.
    """
    own = task if isinstance(task, Task) else None
    wanted = own or make_task(TaskSpec(str(task)) if task else TaskSpec())
    as_taken = _as_taken(model, inputs)
    live = None if train is None else from_loaders(train, validation, test, as_taken, wanted)
    if live is None and not (data is None or isinstance(data, str | Path)):
        live = open_data(data, as_taken, wanted)
    if live is not None and isinstance(data, str | Path):
        raise InputError("give data, or train, validation and test; not both")
    settings = {
        "search.trials": trials,
        "search.seed": seed,
        "search.jobs": jobs,
        "search.executor": executor or None,
        "constraints.max_drop": max_drop,
    }
    said = [f"{key}={value}" for key, value in settings.items() if value is not None]
    said += ["search.allow_untrained=true"] if allow_untrained else []
    said += [f"data.inputs={json.dumps(as_taken.inputs)}"] if live is not None and as_taken.inputs else []
    with present(data=live, task=own), _forking(live is not None or own is not None):
        prepared = set_up(
            model,
            recipe,
            data=LIVE if live is not None else data,
            task=LIVE if own is not None else str(task),
            budget=seconds_of(budget),
            trials=trials,
            overrides=[*overrides, *said],
            weights=None if weights is None else Path(weights),
            trust=trust,
            inputs=inputs,
        )
        check_budget(prepared)
        folder = Path(out) if out is not None else free_folder(_name(model), str(recipe))
        run = RunFolder.create(folder, prepared.recipe, prepared.network)
        return _run(run, observer, data=live, task=own)


def resume(
    folder: str | Path,
    train: Any = None,
    validation: Any = None,
    test: Any = None,
    *,
    data: Any = None,
    task: Task | None = None,
    budget: str | float = "",
    observer: Observer | None = None,
) -> Result:
    """Go on with a run that was interrupted; no finished trial is run again.

    Live datasets and tasks that it was begun with are given again. Raises ``InputError``.
    """
    run = RunFolder.open(Path(folder))
    said = run.recipe().data
    with present(task=task):
        wanted, as_taken = make_task(run.recipe().task), DataSpec(function=LIVE, ranks=said.ranks, inputs=said.inputs)
    given = from_loaders(train, validation, test, as_taken, wanted) if train is not None else None
    live = open_data(data, as_taken, wanted) if given is None and data is not None else given
    with present(data=live, task=task), _forking(live is not None or task is not None):
        return _run(run, observer, seconds_of(budget), data=live, task=task)


def _as_taken(model: nn.Module | Network | str | Path, given: InputsGiven) -> DataSpec:
    """Live data as the model takes them, as far as it says so: sizes, and the names of several inputs.

    An argument of ``forward`` that has a default is an input where ``given`` names it.
    """
    if isinstance(model, Network):
        inputs = model.signature.inputs
        return suited(DataSpec(function=LIVE), [one.shape for one in inputs], [one.name for one in inputs])
    named = [one.name for one in given_inputs(given) if one.name]
    return suited(
        DataSpec(function=LIVE), (), named or (required_inputs(model) if isinstance(model, nn.Module) else ())
    )


def _forking(live: bool) -> AbstractContextManager[None]:
    """Live objects reach workers by fork, which have an accelerator only where this process has not used it."""
    if live and used():
        warnings.warn(
            "this process has used CUDA, so that the workers, its forks, cannot: trials run on the CPU. Call optimize "
            "in a process that has not, or name what makes data and task (package.module:function)",
            stacklevel=3,
        )
    return left_to_forks() if live else nullcontext()


def _run(run: RunFolder, observer: Observer | None, more: float | None = None, **live: Any) -> Result:
    executor: ExecutorFactory = executor_of
    if any(value is not None for value in live.values()):
        _refuse_far_workers(run.recipe())
        executor = functools.partial(local_executor, forked=True)
    finished = carry_out(run, observer=observer, executor=executor, more=more)
    if finished.result is not None:
        write_report(gather(run))
    if finished.result is None or finished.interrupted:  # what is known so far is in the folder
        raise KeyboardInterrupt(f"interrupted; go on with compressor.resume({str(run.path)!r})")
    return Result(run, finished.result, **live)


def _refuse_far_workers(recipe: Recipe) -> None:
    """Raise ``InputError`` where live objects would have to travel."""
    if recipe.search.executor != "local":
        raise InputError(
            f"search.executor = {recipe.search.executor}: live datasets and tasks cannot travel to other machines; put "
            'them into a module there, and name the functions that make them (data="package.module:function")'
        )


@functools.singledispatch
def _name(model: Any) -> str:
    return type(model).__name__


@_name.register(str)
@_name.register(Path)
def _(model: str | Path) -> str:
    return str(model)


@_name.register
def _(model: Network) -> str:
    return Path(model.source or "network").name
