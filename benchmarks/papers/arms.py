"""Arms: single trainings whose figures are kept, so that a page of results can grow over hours and machines.

An arm is a name, a seed and a budget; its figures are numbers and short texts. They are kept as JSON under
``docs/results/data``; what is there already is not run again, and a page is rendered from what is there.
"""

from __future__ import annotations

import json
import os
import statistics
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from _report import places, surroundings

from papers.locks import held
from papers.resumed import attempt
from papers.starts import Starts, agree, noted

CHECKPOINTS = Path(__file__).resolve().parents[2] / "runs" / "papers" / "checkpoints"
Figure = float | int | str
Figures = Mapping[str, Figure]


@dataclass(frozen=True)
class Budget:
    """How long to train: ``default`` fits two cores, ``full`` is the document's own and wants a GPU."""

    name: str
    epochs: int
    train: int = 0
    """Training samples; 0 means all."""

    def __str__(self) -> str:
        return f"{self.name}: {self.epochs} epochs of {self.train or 'all'} samples"

    @property
    def text(self) -> str:
        """As a page says it."""
        whose = ", the document's own budget" if self.name == "full" else ""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs} epochs"
        return f"{epochs} of {f'{self.train:,}' if self.train else 'all'} training images{whose}"


@dataclass(frozen=True)
class Job:
    """An arm to be: where its figures come from. It stands alone: what several start from is kept on disk."""

    name: str
    seed: int
    budget: Budget
    work: Callable[[], Figures]

    def __str__(self) -> str:
        return f"{self.name}, seed {self.seed}, {self.budget}"


@dataclass(frozen=True)
class Arm:
    """One training with one seed, and what came of it."""

    name: str
    seed: int
    budget: str
    figures: Figures
    seconds: float
    made: str
    """Day, ISO 8601."""
    where: str = ""
    """Packages and machine."""
    starts: Starts = field(default_factory=dict)
    """The shared trainings that it started from, as far as they are known."""


class Arms:
    """The arms of one page. Written after every arm; a killed run loses the arm it was at. Several processes may run
    arms of one page at a time.

    ``whole``: how many samples a budget without a number of them trains on; it is needed to tell how long they take.
    """

    def __init__(self, path: Path, whole: int = 0) -> None:
        self.path = path
        self._whole = whole
        self._arms = [Arm(**entry) for entry in json.loads(path.read_text())] if path.exists() else []

    def __iter__(self) -> Iterator[Arm]:
        return iter(self._arms)

    def missing(self, jobs: Iterable[Job]) -> list[Job]:
        """Those whose figures are not kept yet."""
        kept = {(arm.name, arm.seed, arm.budget) for arm in self._arms}
        return [job for job in jobs if (job.name, job.seed, str(job.budget)) not in kept]

    def run(self, job: Job) -> bool:
        """Do the work and keep its figures; not what another process is at, or has done. Whether it was done here."""
        with held(f"{self.path.resolve()} {job}", wait=False) as ours:
            self._arms = list(Arms(self.path))
            if not ours or not self.missing([job]):
                return False
            start = time.perf_counter()
            with noted() as starts, attempt(self._checkpoints(job)) as trained:
                figures = job.work()
                seconds = round(time.perf_counter() - start + trained.seconds_before, 1)
                made = time.strftime("%F")
                self._keep(Arm(job.name, job.seed, str(job.budget), figures, seconds, made, surroundings(), starts))
            return True

    def _checkpoints(self, job: Job) -> Path:
        return CHECKPOINTS / self.path.stem / f"{zlib.crc32(f'{self.path.resolve()} {job}'.encode()):08x}"

    def seconds(self, job: Job) -> float | None:
        """How long it takes on a quiet machine: by the fastest arm of its name, per trained sample; None before one."""
        named = [arm for arm in self._arms if arm.name == job.name]
        each = [arm.seconds / work for arm in named if (work := self._samples(arm.budget))]
        return min(each) * self._samples(str(job.budget)) if each else None

    def _samples(self, budget: str) -> int:
        """Trained samples of a budget: epochs times samples."""
        words = budget.rpartition(": ")[2].split()
        return int(words[0]) * (self._whole if words[3] == "all" else int(words[3]))

    def of(self, name: str, budget: Budget) -> list[Arm]:
        """All seeds of an arm, in order."""
        found = [arm for arm in self._arms if (arm.name, arm.budget) == (name, str(budget))]
        return sorted(found, key=lambda arm: arm.seed)

    def values(self, name: str, budget: Budget, figure: str) -> list[float]:
        """One figure over the seeds of an arm."""
        return [float(arm.figures[figure]) for arm in self.of(name, budget) if figure in arm.figures]

    def shown(self, names: Iterable[str], budgets: Sequence[Budget], seeds: int = 2) -> Budget:
        """The first budget at which all these arms have so many seeds; the last one where there is none."""
        wanted = list(names)
        for budget in budgets[:-1]:
            if all(len(self.of(name, budget)) >= seeds for name in wanted):
                return budget
        return budgets[-1]

    def merge(self, path: Path) -> int:
        """Keep the arms of another file that are not kept yet; how many there were."""
        kept = {(arm.name, arm.seed, arm.budget) for arm in self._arms}
        new = [arm for arm in Arms(path) if (arm.name, arm.seed, arm.budget) not in kept]
        for arm in new:
            self._keep(arm)
        return len(new)

    def places(self) -> list[str]:
        """What the arms were run with and on, and how many of them; which of them do not share their start."""
        return [*places([arm.where for arm in self._arms]), *self._apart()]

    def _apart(self) -> list[str]:
        """A line where one training was done more than once, with different weights."""
        digests: dict[str, set[str]] = {}
        for arm in self._arms:
            for name, digest in arm.starts.items():
                digests.setdefault(name, set()).add(digest)
        several = [name for name, found in sorted(digests.items()) if len(found) > 1]
        return [f"Trained more than once, arms of different ones are not paired: {', '.join(several)}."] * bool(several)

    def _keep(self, arm: Arm) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with held(str(self.path.resolve())):  # another process may have added to the page meanwhile
            self._arms = sorted([*Arms(self.path), arm], key=lambda arm: (arm.name, arm.budget, arm.seed))
            temporary = self.path.with_suffix(f".{os.getpid()}.tmp")
            temporary.write_text(json.dumps([_entry(arm) for arm in self._arms], indent=1) + "\n")
            temporary.replace(self.path)


def _entry(arm: Arm) -> dict[str, object]:
    """As it is kept: nothing is said of starts that are not known."""
    return {name: value for name, value in asdict(arm).items() if name != "starts" or value}


def pairs(ones: Iterable[Arm], others: Iterable[Arm]) -> list[tuple[Arm, Arm]]:
    """Seed by seed; not those that started from different weights."""
    known = {arm.seed: arm for arm in others}
    both = [(one, known[one.seed]) for one in ones if one.seed in known]
    return [(one, other) for one, other in both if agree(one.starts, other.starts)]


def differences(ones: Iterable[Arm], others: Iterable[Arm], figure: str) -> list[float]:
    """One figure less that of the other arm, pair by pair."""
    return [float(one.figures[figure]) - float(other.figures[figure]) for one, other in pairs(ones, others)]


def mean_std(values: Sequence[float], *, digits: int = 2) -> str:
    """``92.06 ± 0.11 (n = 3)``; a single value says so; none is ``not run``."""
    if not values:
        return "not run"
    if len(values) == 1:
        return f"{values[0]:.{digits}f} (n = 1)"
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f} (n = {len(values)})"
