"""Everything a report needs, read from a run folder once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from compressor.engine.baseline import check_baseline
from compressor.engine.candidate import OUTCOME, Constraints, Outcome
from compressor.engine.plan import PLAN, Plan
from compressor.engine.sensitivity import SENSITIVITIES, Sensitivities
from compressor.engine.trial import read_candidate
from compressor.errors import DamagedFileError
from compressor.report.layers import LayerChange, layer_changes
from compressor.report.section import Section
from compressor.report.structure import Structure, read_structure
from compressor.report.told import told
from compressor.report.usage import Entries, entries_of
from compressor.report.wiring import Wiring, wiring
from compressor.search.executor import TRIAL
from compressor.search.layer_times import LayerTimes, read_layer_times
from compressor.search.result import RunResult
from compressor.search.run_folder import RunFolder
from compressor.stored import content

A = TypeVar("A")
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

    @property
    def seconds(self) -> float:
        """Of all its stages; what is no number counts as nothing."""
        return sum(value for value in self.outcome.seconds.values() if math.isfinite(value))

    @property
    def name(self) -> str:
        """Its number, or else the name of its folder."""
        return self.digest if self.number is None else str(self.number)


@dataclass(frozen=True)
class Facts:
    """A run, as plain data."""

    folder: Path
    result: RunResult
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
    limits: Constraints | None = None
    """Those of the recipe; None where it cannot be read."""
    wiring: tuple[Wiring, Wiring] = (Wiring(), Wiring())
    """How the layers of the baseline and of the best candidate hang together."""
    times: LayerTimes = field(default_factory=LayerTimes)
    """Time by layer, of the same two; empty where nobody measured it."""
    entries: Entries = field(default_factory=Entries)
    """Inputs and outputs of the best candidate's file."""
    told: tuple[Section, ...] = ()
    """What the plugins of the run, and its pilot study, say about it."""


def gather(run: RunFolder) -> Facts:
    """Read the run folder.

    Raises ``RunFolderError`` when the run has no result yet, ``DamagedFileError`` when its result, or the file that the
    result is about, is not what was written. What else is damaged is left out, or shown as what it is.
    """
    result = run.final_result()
    best = None if result.best is None else run.candidate(result.best.digest)
    files = None if best is None else _files(run.baseline, best)
    facts = Facts(
        folder=run.path,
        result=result,
        environment=run.environment(),
        recipe=content(run.path / "recipe.toml").decode(errors="replace"),
        trials=tuple(sorted(_trials(run), key=lambda trial: (trial.number is None, trial.number or 0))),
        changes=() if files is None else tuple(layer_changes(*files)),
        structure=None if best is None else read_structure(run.baseline, best),
        controls=_controls(run, result),
        sensitivities=_or_nothing(SENSITIVITIES.find, run.sensitivities) or Sensitivities(),
        wiring=(Wiring(), Wiring()) if files is None else (wiring(files[0]), wiring(files[1])),
        entries=Entries() if files is None else entries_of(files[1]),
        times=(files and _or_nothing(lambda both: read_layer_times(run, *both), files)) or LayerTimes(),
    )
    recipe = _or_nothing(RunFolder.recipe, run)
    return facts if recipe is None else replace(facts, limits=recipe.constraints, told=told(facts, recipe))


def _trials(run: RunFolder) -> list[Trial]:
    """Every candidate whose trial ended."""
    return [_trial(file.parent) for file in sorted(run.path.glob("candidates/*/outcome.json"))]


def _trial(folder: Path) -> Trial:
    try:
        outcome = OUTCOME.read(folder / "outcome.json")
    except DamagedFileError as error:
        outcome = Outcome("failed", reason=f"{error}; resume runs it again")
    plan = _or_nothing(PLAN.find, folder / "plan.json")  # None for one that could not even be settled
    spec = _or_nothing(TRIAL.find, folder / "trial.json")
    number = None if spec is None else spec.number
    about = "" if plan is None else plan.describe()
    return Trial(number, folder.name, about, outcome, plan or Plan())


def _or_nothing(read: Callable[[A], T | None], source: A) -> T | None:
    """What is damaged is left out."""
    try:
        return read(source)
    except DamagedFileError:
        return None


def _controls(run: RunFolder, result: RunResult) -> dict[str, Outcome]:
    if result.best is None:
        return {}
    digest = result.best.digest
    ended = {name: _or_nothing(OUTCOME.find, run.control(digest, name) / "outcome.json") for name in result.controls}
    return {name: outcome for name, outcome in ended.items() if outcome is not None}


def changes_of(run: RunFolder, digest: str) -> tuple[LayerChange, ...]:
    """The baseline against a candidate, layer by layer; empty where either file is missing or damaged."""
    files = _files(run.baseline, run.candidate(digest))
    return () if files is None else tuple(layer_changes(*files))


def _files(baseline: Path, candidate: Path) -> tuple[bytes, bytes] | None:
    """Both ONNX files, where they are what was written."""
    try:
        check_baseline(baseline)
        read_candidate(candidate)
        return content(baseline / "model.onnx"), content(candidate / "model.onnx")
    except DamagedFileError:
        return None
