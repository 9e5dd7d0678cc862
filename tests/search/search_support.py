"""Search without training: a made-up space, figures that follow from the plan, an executor that answers at once."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from torch import nn

from compressor.data.spec import DataSpec
from compressor.engine.baseline import Baseline
from compressor.engine.candidate import Constraints, Latency, Metrics, Outcome
from compressor.engine.course import Progress
from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.space import Parameter, PhaseSpec, PluginUse, SearchSpace
from compressor.engine.trial import WRITTEN
from compressor.engine.untrained import Untrained
from compressor.errors import CompressorError, Refusal
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.knobs import Choice, IntRange
from compressor.recipe.model import Recipe, SearchSpec
from compressor.search.executor import Job, JobResult, Question, TrialSpec
from compressor.search.packing import pack, unpack
from compressor.search.prepare import Prepared
from compressor.search.questions import LookedAt, Resolved, Sketched
from compressor.search.result import Candidate
from compressor.search.run_folder import RunFolder
from compressor.search.worker import Workplace, run_job
from compressor.stored import digest_of
from compressor.task import Quality, Task, usual_task
from compressor.train.spec import TrainingSpec

PHASE = PhaseSpec("p", (PluginUse("a"), PluginUse("b")))
SPACE = SearchSpace(
    (
        Parameter("p.a", Choice((False, True))),
        Parameter("p.a.count", IntRange(1, 4), "p.a"),
        Parameter("p.b", Choice((False, True))),
        Parameter("p.b.count", IntRange(1, 4), "p.b"),
        Parameter("p.b.kind", Choice(("x", "y", "z")), "p.b"),
    ),
    (PHASE,),
    TrainingSpec(),
)


SMALL = SearchSpace(SPACE.parameters[:2], (PhaseSpec("p", (PluginUse("a"),)),), TrainingSpec())
"""Four plans, and the one that changes nothing."""


def metrics(accuracy: float = 0.9, size: int = 1000, speedup: float = 1.0, spread: float = 0.0, **more: Any) -> Metrics:
    return Metrics(
        params=more.pop("params", size),
        size_bytes=size,
        macs=more.pop("macs", size),
        quality=Quality(accuracy, metric="accuracy", **more),
        latency=Latency(100 / speedup, speedup, speedup - spread, speedup + spread),
    )


BASELINE = metrics()


def candidate(accuracy: float = 0.9, size: int = 500, speedup: float = 1.0, **more: Any) -> Candidate:
    plan = Plan((Phase("p", (Edit("a", f"{accuracy} {size} {speedup}"),)),))
    return Candidate.of(metrics(accuracy, size, speedup, **more), plan, digest=plan.digest)


def resolved(plan: Plan, *_: object) -> Plan:
    """Stands for ``resolve``: as many edits as counted; a plan without steps is refused."""
    steps = [
        Edit(step.plugin, f"{step.plugin}{index}", {k: v for k, v in step.values.items() if k == "kind"})
        for phase in plan.phases
        for step in phase.steps
        for index in range(int(step.values.get("count", 1)))
    ]
    if not steps:
        raise Refusal("the plan changes nothing")
    return Plan((Phase("p", tuple(steps), plan.phases[0].training),))


def figures(plan: Plan) -> Metrics:
    """The more edits, the smaller and the less accurate; ``b`` is also fast."""
    a = sum(edit.plugin == "a" for edit in plan.edits)
    b = len(plan.edits) - a
    return metrics(0.9 - 0.01 * a - 0.02 * b, 1000 - 100 * a - 50 * b, 1.0 + 0.1 * b)


def untrained(plan: Plan) -> Untrained:
    """What a look at the plan would give; the loss says nothing of which plugin acts."""
    found = figures(plan)
    loss = 0.3 + 0.1 * len(plan.edits)
    return Untrained(plan, True, loss, found.size_bytes, found.macs, found.params, found.latency.speedup, 0.01)


@cache
def _network() -> Network:
    return capture(nn.Linear(2, 3), (2,))


def prepared(
    folder: Path,
    search: SearchSpec,
    constraints: Constraints | None = None,
    space: SearchSpace = SPACE,
    task: Task | None = None,
) -> Prepared:
    recipe = Recipe(DataSpec(name="digits"), phases=(PHASE,), search=search, constraints=constraints or Constraints())
    data = SimpleNamespace(validation=range(1000), calibration_batches=lambda count: [], task=task or usual_task())
    baseline = Baseline(_network(), b"", BASELINE)
    return Prepared(RunFolder(folder), recipe, cast(Any, data), baseline, Sensitivities(), space)


Answer = Callable[[TrialSpec], Outcome]


class Scripted:
    """An executor whose trials end as ``answer`` says, some with an exception first. Without a ``gate`` at once."""

    def __init__(self, answer: Answer | None = None, troubles: Iterable[Exception | None] = (), slots: int = 1) -> None:
        self.slots = slots
        self.submitted: list[TrialSpec] = []
        self.held: list[tuple[Future[JobResult], TrialSpec]] = []
        self.hold = False
        self.cancelled = 0
        self.forgotten: list[int] = []
        self.resolve = resolved
        self._answer = answer
        self._troubles = list(troubles)

    def submit(self, job: Job, progress: Progress | None = None) -> Future[JobResult]:
        self.submitted.append(job.spec)
        future: Future[JobResult] = Future()
        self.held.append((future, job.spec))
        if not self.hold:
            self.release()
        return future

    def ask(self, question: Question) -> Future[Any]:
        """Plans are settled by ``resolved``, or by what the test puts in its place, and looked at; nothing else."""
        assert isinstance(question.about, Resolved | LookedAt | Sketched)
        future: Future[Any] = Future()
        try:
            plan = self.resolve(question.about.plan)
            future.set_result(plan if isinstance(question.about, Resolved) else untrained(plan))
        except CompressorError as error:
            future.set_exception(error)
        return future

    def release(self) -> None:
        while self.held:
            future, spec = self.held.pop(0)
            trouble = self._troubles.pop(0) if self._troubles else None
            if trouble is not None:
                future.set_exception(trouble)
            else:
                future.set_result(result_of(spec, self._answer))

    def forget(self, spec: TrialSpec) -> None:
        self.forgotten.append(spec.number)

    def cancel_all(self) -> None:
        self.cancelled += 1

    def close(self) -> None:
        self.cancel_all()


def result_of(spec: TrialSpec, answer: Answer | None = None) -> JobResult:
    """What a worker sends back."""
    found = figures(spec.plan)
    outcome = answer(spec) if answer else Outcome("complete", found, Constraints().excess(found, BASELINE))
    files = {name: f"{name} of {spec.plan.digest}".encode() for name in WRITTEN}
    files["plan.json"] = spec.plan.to_json().encode()
    if outcome.metrics is not None:
        files["model.onnx"] = files["model.onnx"].ljust(outcome.metrics.size_bytes)[: outcome.metrics.size_bytes]
    return JobResult(replace(outcome, files={name: digest_of(data) for name, data in files.items()}), files)


def run_here(run: Path, job: Job, progress: Progress | None = None) -> JobResult:
    """What a worker does with a job, in this process."""
    with tempfile.TemporaryDirectory() as name:
        place = Workplace(str(run), Path(name))
        unpack(job.given, place.given)
        return pack(place.folder, run_job(place, job.spec, progress or (lambda stage, share: None)))


def waiting_training(network: Any, data: Any, spec: Any, *, teacher: Any, seed: int, progress: Any) -> None:
    """A ``training.function``: leaves the weights alone, and takes as long as the file named by HOLD exists."""
    hold = Path(os.environ["HOLD"])
    if hold.exists():
        subprocess.Popen(["sleep", "600"])  # nobody's business but the trial's: it must not outlive it
    hold.with_name("reached").touch()
    while hold.exists():
        time.sleep(0.02)


def killed_as_it_writes(network: Any, data: Any, spec: Any, *, teacher: Any, seed: int, progress: Any) -> None:
    """A ``training.function`` whose trial is killed with half of a result on the disk, while the file HOLD exists."""
    if Path(os.environ["HOLD"]).exists():
        os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)


def failing_training(network: Any, data: Any, spec: Any, *, teacher: Any, seed: int, progress: Any) -> None:
    """A ``training.function`` with a mistake in it."""
    raise ZeroDivisionError("no such luck")
