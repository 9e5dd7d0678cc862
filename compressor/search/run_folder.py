"""The run folder: everything a run knows, so that ``resume`` needs nothing else.

    recipe.toml          the recipe as run, all defaults filled in
    environment.json     versions and machine; where it exists the folder was made whole
    model.pt2            the captured model
    study.db             the study (SQLite)
    baseline/            model.pt2, model.onnx, metrics.json (last), final.json
    sensitivities.json   evidence measured once; until all of it is, sensitivities.part.jsonl
    probe/<arm>/         trial.json, log.txt, score.json, outcome.json
    probe.json           what the probe found, once it is over
    candidates/<digest>/ trial.json, log.txt, plan.json, weights.safetensors, model.onnx, outcome.json, final.json
    controls/            control arms, like candidates
    result.json          the verdict and the figures
    report.html          the same for people
    best/                the best candidate: model.onnx, plan.json, final.json, the weights its plan needs

Every file is whole or absent, and what makes a group of files valid is written last. The folder itself is made under
another name and then renamed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import AbstractContextManager
from pathlib import Path

from compressor.engine.candidate import Outcome
from compressor.engine.course import SNAPSHOTS
from compressor.engine.trial import OUTCOME
from compressor.errors import RunFolderError
from compressor.files import write_atomic
from compressor.graph.network import Network
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe, write_recipe
from compressor.search.environment import environment_json
from compressor.search.locks import exclusive
from compressor.search.result import RESULT, Result

_MARK = "environment.json"
_BEST = ("model.onnx", "weights.safetensors", "plan.json", "final.json")


class RunFolder:
    """The layout of one run folder, and its files read and written whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- make and open -------------------------------------------------------------------------------------------

    @staticmethod
    def create(path: Path, recipe: Recipe, network: Network) -> RunFolder:
        """A new run folder at ``path``, which must not exist or be empty. Raises ``RunFolderError``."""
        path = path.absolute()
        _refuse_taken(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
        try:
            write_recipe(recipe, temporary / "recipe.toml")
            write_pt2(network, temporary / "model.pt2")
            write_atomic(temporary / _MARK, environment_json(network.source))
            temporary.chmod(0o755)
            if path.exists():
                path.rmdir()
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return RunFolder(path)

    @staticmethod
    def open(path: Path) -> RunFolder:
        """The run folder at ``path``. Raises ``RunFolderError`` when it is missing or not one of ours."""
        run = RunFolder(path.absolute())
        missing = [name for name in (_MARK, "recipe.toml", "model.pt2") if not (run.path / name).is_file()]
        if not run.path.is_dir():
            raise RunFolderError(f"{path}: there is no such folder")
        if missing:
            raise RunFolderError(f"{path}: not a run folder ({missing[0]} is missing)")
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
    def probe(self) -> Path:
        return self.path / "probe.json"

    def arm(self, name: str) -> Path:
        return self.path / "probe" / name

    @property
    def best(self) -> Path:
        return self.path / "best"

    def candidate(self, digest: str) -> Path:
        return self.path / "candidates" / digest

    def control(self, digest: str, name: str) -> Path:
        return self.path / "controls" / f"{digest}-{name}"

    # --- contents ------------------------------------------------------------------------------------------------

    def recipe(self) -> Recipe:
        """The recipe as run."""
        return read_recipe(self.path / "recipe.toml")

    def model(self) -> Network:
        """The captured model."""
        return read_pt2(self.path / "model.pt2")

    def source(self) -> str:
        """Where the model came from."""
        return str(json.loads((self.path / _MARK).read_bytes())["model"])

    def outcome(self, digest: str) -> Outcome | None:
        """How the candidate's trial ended; None where it has not."""
        return self.outcome_in(self.candidate(digest))

    @staticmethod
    def outcome_in(folder: Path) -> Outcome | None:
        """How what was run in ``folder`` ended; None where it has not."""
        try:
            return OUTCOME.validate_json((folder / "outcome.json").read_bytes())
        except FileNotFoundError:
            return None

    def result(self) -> Result:
        """What ``result.json`` holds. Raises ``RunFolderError`` when the run has none yet."""
        try:
            return RESULT.validate_json((self.path / "result.json").read_bytes())
        except FileNotFoundError:
            raise RunFolderError(f"{self.path}: no result yet; go on with: compressor resume {self.path}") from None

    def write_result(self, result: Result) -> None:
        write_atomic(self.path / "result.json", RESULT.dump_json(result, indent=1))

    def publish_best(self, digest: str) -> None:
        """Make ``best/`` a copy of the candidate's files."""
        temporary = Path(tempfile.mkdtemp(prefix=".best.", suffix=".part", dir=self.path))
        source = self.candidate(digest)
        for file in [*(source / name for name in _BEST), *source.glob(SNAPSHOTS)]:
            shutil.copyfile(file, temporary / file.name)
        temporary.chmod(0o755)
        self.withdraw_best()
        temporary.rename(self.best)

    def withdraw_best(self) -> None:
        """Remove ``best/``."""
        shutil.rmtree(self.best, ignore_errors=True)


def _refuse_taken(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise RunFolderError(f"{path}: is a file; a run needs a folder of its own")
    if (path / _MARK).is_file() and (path / "recipe.toml").is_file():
        raise RunFolderError(f"{path}: holds a run already; go on with: compressor resume {path}")
    if any(path.iterdir()):
        raise RunFolderError(f"{path}: is not empty; a run needs a folder of its own")
