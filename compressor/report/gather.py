"""Everything a report needs, read from a run folder once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compressor.engine.candidate import Outcome
from compressor.engine.plan import Plan
from compressor.engine.sensitivity import Sensitivities
from compressor.report.layers import LayerChange, layer_changes
from compressor.report.structure import Structure, read_structure
from compressor.search.result import Result
from compressor.search.run_folder import RunFolder


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
    """Read the run folder. Raises ``RunFolderError`` when the run has no result yet."""
    result = run.result()
    return Facts(
        folder=run.path,
        result=result,
        environment=json.loads((run.path / "environment.json").read_text(encoding="utf-8")),
        recipe=(run.path / "recipe.toml").read_text(encoding="utf-8"),
        trials=tuple(sorted(_trials(run), key=lambda trial: (trial.number is None, trial.number or 0))),
        changes=_changes(run, result),
        structure=read_structure(run.baseline, run.candidate(result.best.digest)) if result.best else None,
        controls=_controls(run, result),
        sensitivities=_sensitivities(run),
    )


def _trials(run: RunFolder) -> list[Trial]:
    """Every candidate whose trial ended."""
    folders = sorted(file.parent for file in run.path.glob("candidates/*/outcome.json"))
    ended = [(folder, run.outcome_in(folder)) for folder in folders]
    return [_trial(folder, outcome) for folder, outcome in ended if outcome is not None]


def _trial(folder: Path, outcome: Outcome) -> Trial:
    try:
        plan = Plan.from_json((folder / "plan.json").read_bytes())
        about = plan.describe()
    except FileNotFoundError:  # a plan that could not even be settled
        plan, about = Plan(), ""
    try:
        number = json.loads((folder / "trial.json").read_text(encoding="utf-8")).get("number")
    except FileNotFoundError:
        number = None
    return Trial(number, folder.name, about, outcome, plan)


def _sensitivities(run: RunFolder) -> Sensitivities:
    if not run.sensitivities.is_file():
        return Sensitivities()
    return Sensitivities.from_json(run.sensitivities.read_bytes())


def _controls(run: RunFolder, result: Result) -> dict[str, Outcome]:
    if result.best is None:
        return {}
    digest = result.best.digest
    ended = {name: run.outcome_in(run.control(digest, name)) for name in result.controls}
    return {name: outcome for name, outcome in ended.items() if outcome is not None}


def _changes(run: RunFolder, result: Result) -> tuple[LayerChange, ...]:
    if result.best is None:
        return ()
    before = run.baseline / "model.onnx"
    after = run.candidate(result.best.digest) / "model.onnx"
    if not (before.is_file() and after.is_file()):
        return ()
    return tuple(layer_changes(before.read_bytes(), after.read_bytes()))
