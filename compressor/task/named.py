"""Tasks by name: those that come with the toolkit, and the user's own as ``package.module:name``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any

from compressor.errors import InputError, did_you_mean
from compressor.imported import call_function, import_function
from compressor.options import built
from compressor.present import LIVE, living
from compressor.task.agreement import Agreement
from compressor.task.binary import Binary
from compressor.task.classification import Classification
from compressor.task.detection import Detection
from compressor.task.embedding import Embedding
from compressor.task.multilabel import MultiLabel
from compressor.task.regression import Regression
from compressor.task.segmentation import Segmentation
from compressor.task.task import Task

TASKS: Mapping[str, type[Task]] = {
    "agreement": Agreement,
    "binary": Binary,
    "classification": Classification,
    "detection": Detection,
    "embedding": Embedding,
    "multi-label": MultiLabel,
    "regression": Regression,
    "segmentation": Segmentation,
}
USUAL = "classification"
"""The task where nobody names one."""


@dataclass(frozen=True)
class TaskSpec:
    """What is wanted of the network: the ``[task]`` table."""

    name: str = USUAL
    """``agreement`` (no labels: the network is held to its own answers), ``binary``, ``classification``,
    ``detection``, ``embedding``, ``multi-label``, ``regression``, ``segmentation``; or ``package.module:name`` of a
    task of your own, a class, an instance or a function that returns one."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The task's own options; see its page."""


def usual_task() -> Task:
    """The task where nobody names one."""
    return TASKS[USUAL]()


def make_task(spec: TaskSpec) -> Task:
    """The task that ``spec`` names. Raises ``InputError``: unknown, wrong options, or the user's own that fails."""
    if spec.name == LIVE:
        task: Task = living("task")
        return task
    if ":" in spec.name:
        return _own(spec)
    if spec.name not in TASKS:
        raise InputError(f"there is no task {spec.name!r}{did_you_mean(spec.name, TASKS)}")
    return _built(TASKS[spec.name], spec)


def _built(kind: type[Task], spec: TaskSpec) -> Task:
    try:
        return built(kind, spec.options)
    except ValueError as error:
        raise InputError(f"task {spec.name}: {error}") from None


def _own(spec: TaskSpec) -> Task:
    found: Any = import_function(spec.name, "task", callable_only=False)
    if isinstance(found, type) and issubclass(found, Task) and is_dataclass(found):
        return _built(found, spec)
    if not isinstance(found, Task):
        if not callable(found):
            raise InputError(f"task: {spec.name} is no Task and no function that returns one")
        found = call_function(found, spec.name, "task", **spec.options)
    if not isinstance(found, Task):
        raise InputError(f"task: {spec.name} gives {type(found).__name__}, which is no compressor.task.Task")
    return found
