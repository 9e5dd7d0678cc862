"""Everything a report needs, read from a run folder once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from compressor.engine.baseline import check_baseline
from compressor.engine.candidate import OUTCOME, Outcome
from compressor.engine.plan import PLAN, Plan
from compressor.engine.sensitivity import SENSITIVITIES, Sensitivities
from compressor.engine.trial import read_candidate
from compressor.errors import DamagedFileError
from compressor.report.layers import LayerChange, layer_changes
from compressor.report.structure import Structure, read_structure
from compressor.search.executor import TRIAL
from compressor.search.result import Result
from compressor.search.run_folder import RunFolder
from compressor.stored import Stored, content

T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """One trial as its folder tells it. ``number`` is None where that was never written."""

    number: int | None
    digest: str
    about: str
    outcome: Outcome
    plan: Plan = field(default_factory=Plan)
    """As it was carried out; empty for one that could not even be settled."""


@dataclass(frozen=True)
class Facts:
    """A run, as plain data."""

    folder: Path
    result: Result
    environment: Mapping[str, Any]
    recipe: str
    """The recipe as run, TOML."""
    trials: tuple[Trial, ...]
    changes: tuple[LayerChange, ...]
    """Baseline against the best candidate, layer by layer."""
    structure: Structure | None = None
    """Both, stage by stage; None where there is no best candidate or it cannot be rebuilt."""
    controls: Mapping[str, Outcome] = field(default_factory=dict)
    """How the control arms of the best candidate ended, by name."""
    sensitivities: Sensitivities = field(default_factory=Sensitivities)


def gather(run: RunFolder) -> Facts:
    """Read the run folder.

    Raises ``RunFolderError`` when the run has no result yet, ``DamagedFileError`` when its result, or the file that the
    result is about, is not what was written. What else is damaged is left out, or shown as what it is.
    """
    result = run.final_result()
    return Facts(
        folder=run.path,
        result=result,
        environment=run.environment(),
        recipe=content(run.path / "recipe.toml").decode(errors="replace"),
        trials=tuple(sorted(_trials(run), key=lambda trial: (trial.number is None, trial.number or 0))),
        changes=_changes(run, result),
        structure=read_structure(run.baseline, run.candidate(result.best.digest)) if result.best else None,
        controls=_controls(run, result),
        sensitivities=_sensitivities(run),
    )


def _trials(run: RunFolder) -> list[Trial]:
    """Every candidate whose trial ended."""
    return [_trial(file.parent) for file in sorted(run.path.glob("candidates/*/outcome.json"))]


def _trial(folder: Path) -> Trial:
    try:
        outcome = OUTCOME.read(folder / "outcome.json")
    except DamagedFileError as error:
        outcome = Outcome("failed", reason=f"{error}; resume runs it again")
    plan = _or_none(PLAN, folder / "plan.json")  # None for one that could not even be settled
    spec = _or_none(TRIAL, folder / "trial.json")
    number = None if spec is None else spec.number
    return Trial(number, folder.name, "" if plan is None else plan.describe(), outcome, plan or Plan())


def _or_none(stored: Stored[T], file: Path) -> T | None:
    try:
        return stored.find(file)
    except DamagedFileError:
        return None


def _sensitivities(run: RunFolder) -> Sensitivities:
    return _or_none(SENSITIVITIES, run.sensitivities) or Sensitivities()


def _controls(run: RunFolder, result: Result) -> dict[str, Outcome]:
    if result.best is None:
        return {}
    digest = result.best.digest
    ended = {name: _or_none(OUTCOME, run.control(digest, name) / "outcome.json") for name in result.controls}
    return {name: outcome for name, outcome in ended.items() if outcome is not None}


def _changes(run: RunFolder, result: Result) -> tuple[LayerChange, ...]:
    if result.best is None:
        return ()
    candidate = run.candidate(result.best.digest)
    try:
        check_baseline(run.baseline)
        read_candidate(candidate)
        return tuple(layer_changes(content(run.baseline / "model.onnx"), content(candidate / "model.onnx")))
    except DamagedFileError:
        return ()
