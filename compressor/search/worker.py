"""The worker: a process that has everything loaded and gives every trial a process of its own.

    python -m compressor.search.worker_process PARENT    serve: one trial or question per line of standard input
    python -m compressor.search.worker …/trial.json      run one trial of a run folder again by hand, here

Importing torch and reading the data takes longer than building a candidate. A worker does both once and then forks for
each trial, so that each starts from the same state at the cost of a fork. Where forking is not safe (anything but
Linux) a worker runs one trial and ends.

A trial is given as ``{"run": …, "folder": …, "checkpoints": …, "spec": …}``: what all trials share lies in the folder
``run``, what it writes goes to the empty ``folder``, where what was given with it lies under ``given/``. In the folder
``checkpoints`` lies what an attempt that was cut off has left; it goes on with that.

Answers are lines of JSON: ``{"patience": …}`` (seconds a rewrite may take), ``{"pid": …}``,
``{"stage": …, "share": …}``, ``{"at": …}`` (whose code runs), ``{"exit": …}``, ``{"failed": …}``, and for a question
``{"answer": …}``.
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from compressor.apart import each_apart, listen
from compressor.engine.apply import silence_of
from compressor.engine.candidate import OUTCOME, Constraints, Outcome
from compressor.engine.control import from_scratch
from compressor.engine.trial import TrialSettings, load_candidate, read_candidate, run_trial
from compressor.files import is_machine_s
from compressor.foreign import described, one_line
from compressor.graph.device import left_to_forks
from compressor.processes import FORKS, Guard, die_with_parent, kill_session
from compressor.search.arms import ARM, run_arm
from compressor.search.context import Context, context
from compressor.search.executor import MACHINE_FAILED, SPEC, TRIAL, Question, TrialSpec
from compressor.search.keeping import job_of, keep
from compressor.search.packing import GIVEN, LOG, pack, unpack
from compressor.search.questions import LookedAt, respond
from compressor.search.run_folder import RunFolder

Reply = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class Workplace:
    """Where a trial works, on the machine that it works on."""

    run: str
    """The run folder, or a copy of what of it all trials share."""
    folder: Path
    """What the trial writes goes there."""
    checkpoints: Path | None = None
    """What it needs to go on with its trainings, should it be cut off."""

    @property
    def given(self) -> Path:
        """What was given with the trial."""
        return self.folder / GIVEN


def run_job(place: Workplace, spec: TrialSpec, progress: Callable[[str, float], None]) -> Outcome:
    """Run one trial; its ``outcome.json`` is whole afterwards, whatever the trial did.

    Raises ``OSError`` where the machine failed it: then there is no outcome.
    """
    torch.set_num_threads(spec.threads)
    try:
        match spec.kind:
            case "scratch":
                return _scratch(place, spec)
            case "arm":
                return _arm(place, spec, progress)
            case _:
                return _trial(place, spec, progress)
    except (Exception, SystemExit) as error:  # a training function of the user's may raise anything
        traceback.print_exc()
        if is_machine_s(error):
            raise
        outcome = Outcome("failed", reason=described(error))
        OUTCOME.write(place.folder / "outcome.json", outcome)
        return outcome


def _trial(place: Workplace, spec: TrialSpec, progress: Callable[[str, float], None]) -> Outcome:
    shared = context(place.run)
    limits = shared.recipe.constraints if spec.kind == "trial" else Constraints()
    settings = TrialSettings(limits, shared.recipe.measure.batch, shared.recipe.data.calibration)
    return run_trial(
        spec.plan,
        shared.baseline,
        shared.data,
        settings,
        seed=spec.seed,
        folder=place.folder,
        progress=progress,
        rungs=spec.rungs,
        checkpoints=place.checkpoints,
    )


def _scratch(place: Workplace, spec: TrialSpec) -> Outcome:
    shared = context(place.run)
    network = load_candidate(place.given, shared.baseline, shared.evidence)
    score = from_scratch(network, spec.plan, shared.data, seed=spec.seed, checkpoints=place.checkpoints)
    metrics = read_candidate(place.given).metrics
    if metrics is not None:
        metrics = replace(metrics, quality=replace(metrics.quality, validation=score.quality, error=None))
    outcome = Outcome("complete", metrics)
    OUTCOME.write(place.folder / "outcome.json", outcome)
    return outcome


def _arm(place: Workplace, spec: TrialSpec, progress: Callable[[str, float], None]) -> Outcome:
    shared = context(place.run)
    recipe, network = shared.recipe, shared.baseline.network
    assert recipe.pilot is not None  # who else hands out arms
    result = run_arm(recipe, recipe.pilot, spec.source, network, shared.data, seed=spec.seed, progress=progress)
    ARM.write(place.folder / "arm.json", result)
    outcome = Outcome("complete", seconds={"train": result.seconds})
    OUTCOME.write(place.folder / "outcome.json", outcome)
    return outcome


# --- serving -----------------------------------------------------------------------------------------------------


def serve(parent: int) -> None:
    """Run the trials that come in on standard input until it ends, or ``parent`` does."""
    die_with_parent(parent)
    torch.set_num_threads(1)  # threads started before a fork would be missing after it
    _import_late_parts()
    answer = _answers()
    with left_to_forks() if FORKS else nullcontext():
        _serve(answer, Guard() if FORKS else None)


def _serve(answer: Reply, guard: Guard | None) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "question" in message:
            _respond(message["run"], pickle.loads(base64.b64decode(message["question"])), answer)
            continue
        spec = SPEC.validate_python(message["spec"])
        place = Workplace(message["run"], Path(message["folder"]), Path(message["checkpoints"]))
        if guard is None:
            _carry_out(place, spec, answer)
            answer({"exit": 0})
            return
        shared = _prepared(place.run, answer)
        if shared is not None:
            answer({"patience": shared.rewrite_seconds, "silence": silence_of(shared.recipe.limits.plugin_seconds)})
            answer({"exit": _in_child(place, spec, answer, guard)})


def _prepared(run: str, answer: Reply) -> Context | None:
    """What the run shares; None, and said so, where it cannot be read."""
    try:
        return context(run)
    except Exception as error:
        traceback.print_exc()
        answer({"failed": one_line(error)})
        return None


def _respond(run: str, question: Question, answer: Reply) -> None:
    shared = _prepared(run, answer)
    if shared is None:
        return
    try:
        _ = shared.evidence  # once, here, and not in every fork
        if isinstance(question.about, LookedAt):
            _ = shared.practice
        (found,) = each_apart(
            [question.about], lambda about: respond(about, shared, question.threads), seconds=question.seconds
        )
    except Exception as error:
        traceback.print_exc()
        answer({"failed": one_line(error)})
        return
    answer({"answer": base64.b64encode(pickle.dumps(found)).decode()})


def _import_late_parts() -> None:
    """Make torch import what the first step of an optimizer needs (over a second), once instead of in every trial."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.Adam([parameter]).step()


def _answers() -> Reply:
    """The way back to the driver; from now on nothing else can write to it by accident."""
    channel = os.dup(1)
    os.dup2(2, 1)

    def answer(message: dict[str, Any]) -> None:
        left = memoryview(json.dumps(message).encode() + b"\n")
        while left:
            left = left[os.write(channel, left) :]

    return answer


def _in_child(place: Workplace, spec: TrialSpec, answer: Reply, guard: Guard) -> int:
    """Fork, run the trial there, and return its exit status; a signal's is negative. Nothing it started outlives it."""
    mother = os.getpid()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setsid()
            die_with_parent(mother)
            _carry_out(place, spec, answer)
            status = 0
        except OSError as error:
            if is_machine_s(error):
                status = MACHINE_FAILED
                answer({"machine": error.strerror})
            traceback.print_exc()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    guard.watch(child)
    status = os.waitpid(child, 0)[1]
    kill_session(child)
    guard.watch(0)
    return os.waitstatus_to_exitcode(status)


def _carry_out(place: Workplace, spec: TrialSpec, answer: Reply) -> None:
    answer({"pid": os.getpid()})
    log = os.open(place.folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    listen(lambda whose, culprit: answer({"at": whose}), lambda sign: answer({"goes_on": sign}))
    run_job(place, spec, lambda stage, share: answer({"stage": stage, "share": share}))


def by_hand(file: Path) -> None:
    """Run the trial that a ``trial.json`` of a run folder describes, in its place."""
    run = RunFolder.open(file.parents[2])
    job = job_of(run, TRIAL.read(file))
    with tempfile.TemporaryDirectory() as name:
        place = Workplace(str(run.path), Path(name))
        unpack(job.given, place.given)
        outcome = run_job(place, job.spec, lambda stage, share: print(stage, share))
        keep(file.parent, pack(place.folder, outcome))
    print(OUTCOME.to_json(outcome).decode())


if __name__ == "__main__":
    by_hand(Path(sys.argv[1]).absolute())
