"""The run folder: everything a run knows, so that ``resume`` needs nothing else.

    recipe.toml          the recipe as run, all defaults filled in
    environment.json     versions and machine; where it exists the folder was made whole
    model.pt2            the captured model
    study.db             the study (SQLite)
    baseline/            model.pt2, model.onnx, metrics.json (last), final.json
    sensitivities.json   evidence measured once; until all of it is, sensitivities.part.jsonl
    clock.json           seconds spent and allowed, all sessions together
    looks.jsonl          plans that were looked at untrained, where a model of the answers proposes
    pilot/<arm>/         trial.json, log.txt, arm.json, outcome.json
    pilot.json           what the pilot study found, once it is over
    candidates/<digest>/ trial.json, log.txt, plan.json, weights.safetensors, model.onnx, outcome.json, final.json
    controls/            control arms, like candidates
    checkpoints/<trial>/ trainings of trials that were cut off, as far as they had come
    layers.json          time per layer, of the baseline and of the best candidate
    result.json          the verdict and the figures
    report.html          the same for people
    best/                the best candidate: model.onnx, plan.json, final.json, the weights its plan needs

Every file is whole or absent, and what makes a group of files valid is written last. The folder itself is made under
another name and then renamed.
"""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from compressor.engine.candidate import Constraints, Outcome
from compressor.engine.trial import read_candidate, read_outcome
from compressor.errors import DamagedFileError, ModelFileError, RecipeError, RunFolderError
from compressor.files import write_atomic
from compressor.graph.network import Network
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe, write_recipe
from compressor.search.consistency import contradictions
from compressor.search.environment import environment_json
from compressor.search.executor import TrialSpec
from compressor.search.format import check_format
from compressor.search.locks import exclusive
from compressor.search.result import RESULT, RunResult
from compressor.stored import Stored, check_digests, content, is_there

T = TypeVar("T")

_MARK = "environment.json"
_CHECKPOINTS = "checkpoints"
ENVIRONMENT: Stored[dict[str, Any]] = Stored(dict[str, Any])


class RunFolder:
    """The layout of one run folder, and its files read and written whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- make and open -------------------------------------------------------------------------------------------

    @staticmethod
    def create(path: Path, recipe: Recipe, network: Network) -> RunFolder:
        """A new run folder at ``path``, which must not exist or be empty. Raises ``RunFolderError``."""
        path = path.absolute()
        temporary = _place_beside(path)
        try:
            write_recipe(recipe, temporary / "recipe.toml")
            write_pt2(network, temporary / "model.pt2")
            write_atomic(temporary / _MARK, environment_json(network.source))
            temporary.chmod(0o755)
            _move_to(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return RunFolder(path)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """The run folder at ``path``. Raises ``RunFolderError`` when it is missing or not one of ours."""
        run = RunFolder(path.absolute())
        missing = [name for name in (_MARK, "recipe.toml", "model.pt2") if not (run.path / name).exists()]
        if not run.path.is_dir():
            raise RunFolderError(f"{path}: there is no such folder")
        if missing:
            raise RunFolderError(f"{path}: not a run folder ({missing[0]} is missing)")
        check_format(run.path, run.environment())
        return run

    def lock(self) -> AbstractContextManager[None]:
        """Hold the folder for this process alone. Raises ``RunFolderError`` when another one holds it."""
        return exclusive(self.path / "lock")

    def sweep(self) -> None:
        """Remove what a killed process left half-written. Only the holder of the lock may call this."""
        for leftover in self.path.rglob(".*.part"):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)

    def forget_trials(self) -> None:
        """Remove what trials of the search that were cut off would go on with: none is going to be run again."""
        for folder in (self.path / _CHECKPOINTS).glob("trial-*"):
            shutil.rmtree(folder, ignore_errors=True)

    # --- places --------------------------------------------------------------------------------------------------

    @property
    def study(self) -> Path:
        return self.path / "study.db"

    @property
    def baseline(self) -> Path:
        return self.path / "baseline"

    @property
    def sensitivities(self) -> Path:
        return self.path / "sensitivities.json"

    @property
    def measured_sites(self) -> Path:
        return self.path / "sensitivities.part.jsonl"

    @property
    def clock(self) -> Path:
        return self.path / "clock.json"

    @property
    def looks(self) -> Path:
        return self.path / "looks.jsonl"

    @property
    def layers(self) -> Path:
        return self.path / "layers.json"

    @property
    def pilot(self) -> Path:
        return self.path / "pilot.json"

    def arm(self, name: str) -> Path:
        return self.path / "pilot" / name

    @property
    def best(self) -> Path:
        return self.path / "best"

    def candidate(self, digest: str) -> Path:
        return self.path / "candidates" / digest

    def control(self, digest: str, name: str) -> Path:
        return self.path / "controls" / f"{digest}-{name}"

    # --- contents ------------------------------------------------------------------------------------------------

    def recipe(self) -> Recipe:
        """The recipe as run. Raises ``DamagedFileError``."""
        file = self.path / "recipe.toml"
        try:
            content(file)
            return read_recipe(file)
        except (DamagedFileError, RecipeError) as error:
            raise DamagedFileError(f"{error}; put it back as it was, or start a new run") from None

    def model(self) -> Network:
        """The captured model. Raises ``DamagedFileError``."""
        file = self.path / "model.pt2"
        try:
            content(file)
            return read_pt2(file)
        except (DamagedFileError, ModelFileError) as error:
            raise DamagedFileError(f"{error}; put it back as it was, or start a new run") from None

    def environment(self) -> dict[str, Any]:
        """Versions, machine and origin of the model, for people; empty where that is lost, since nothing needs it."""
        try:
            return ENVIRONMENT.read(self.path / _MARK)
        except DamagedFileError:
            return {}

    def source(self) -> str:
        """Where the model came from."""
        return str(self.environment().get("model", "unknown"))

    def outcome(self, digest: str) -> Outcome | None:
        """How the candidate's trial ended; None where it has not. Raises ``DamagedFileError``."""
        folder = self.candidate(digest)
        return read_candidate(folder) if is_there(folder / "outcome.json") else None

    @staticmethod
    def outcome_in(folder: Path) -> Outcome | None:
        """How what was run in ``folder`` ended; None where it has not. Raises ``DamagedFileError``."""
        return read_outcome(folder) if is_there(folder / "outcome.json") else None

    def result(self) -> RunResult:
        """What ``result.json`` holds. Raises ``RunFolderError`` when the run has none yet."""
        found = self._remedied(RESULT.find, self.path / "result.json")
        if found is None:
            raise RunFolderError(f"{self.path}: no result yet; go on with: compressor resume {self.path}")
        return found

    def final_result(self) -> RunResult:
        """``result``, once it is clear that ``best/`` holds the file that the result is about, and that it says what
        the figures of the run say. Raises ``DamagedFileError``.
        """
        result = self.result()
        if result.final and result.best is not None:
            model = "" if result.best.checks is None else result.best.checks.model
            self._remedied(lambda file: check_digests(file.parent, {file.name: model}), self.best / "model.onnx")
        self._remedied(lambda file: self._check_figures(result, file), self.path / "result.json")
        return result

    def _check_figures(self, result: RunResult, file: Path) -> None:
        try:
            limits: Constraints | None = self.recipe().constraints
        except DamagedFileError:  # which is told elsewhere
            limits = None
        for what in contradictions(result, self.baseline, self.best, self.path / "candidates", limits):
            raise DamagedFileError(f"{file}: is damaged ({what})")

    def _remedied(self, read: Callable[[Path], T], file: Path) -> T:
        try:
            return read(file)
        except DamagedFileError as error:
            raise DamagedFileError(f"{error}; made anew by: compressor resume {self.path}") from None

    def write_result(self, result: RunResult) -> None:
        RESULT.write(self.path / "result.json", result)

    def publish_best(self, digest: str) -> None:
        """Make ``best/`` a copy of the candidate's files, each held against what its trial wrote.

        Raises ``DamagedFileError``, and then ``best/`` is what it was.
        """
        source = self.candidate(digest)
        files = read_candidate(source).files
        temporary = Path(tempfile.mkdtemp(prefix=".best.", suffix=".part", dir=self.path))
        try:
            for name in (*files, "final.json"):
                write_atomic(temporary / name, content(source / name))
            check_digests(temporary, files)
            temporary.chmod(0o755)
            self.withdraw_best()
            temporary.rename(self.best)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def withdraw_best(self) -> None:
        """Remove ``best/`` at one stroke; what is left of it afterwards is swept away."""
        if is_there(self.best):
            gone = Path(tempfile.mkdtemp(prefix=".best.", suffix=".part", dir=self.path))
            self.best.rename(gone / "best")
            shutil.rmtree(gone, ignore_errors=True)


def checkpoints_of(run: Path, spec: TrialSpec) -> Path:
    """Where a trial keeps its trainings as far as they have come, whatever number it has when it is proposed again."""
    return run / _CHECKPOINTS / "-".join(filter(None, [spec.kind, spec.plan.digest, spec.source, str(spec.seed)]))


def _place_beside(path: Path) -> Path:
    """A new folder beside ``path``, which is free. Raises ``RunFolderError``, or ``OSError`` where the disk is full."""
    try:
        _refuse_taken(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".run.", suffix=".part", dir=path.parent))
    except ValueError as error:  # a NUL in it
        raise RunFolderError(f"{str(path)!r}: no folder can be called that ({error})") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        raise RunFolderError(f"{path}: cannot be made ({error.strerror}); choose another folder") from None


def _move_to(temporary: Path, path: Path) -> None:
    """Give the folder its name, unless another process was quicker."""
    try:
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    except OSError:
        _refuse_taken(path)
        raise


def _refuse_taken(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise RunFolderError(f"{path}: is a file; a run needs a folder of its own")
    if (path / _MARK).is_file() and (path / "recipe.toml").is_file():
        raise RunFolderError(f"{path}: holds a run already; go on with: compressor resume {path}")
    if any(path.iterdir()):
        raise RunFolderError(f"{path}: is not empty; a run needs a folder of its own")
