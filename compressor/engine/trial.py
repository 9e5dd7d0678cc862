"""One trial: a plan carried out on a fork of the baseline, the cheapest question first.

    can it be built?  →  size, MACs, parameters against the limits  →  untrained ONNX latency against the limit
    →  BatchNorm recalibration  →  training  →  the figures

What a limit rules out before training costs no training. Weights change neither the latency nor the structure, so the
latency measured on the untrained file stands. The folder's ``outcome.json`` is written last: where it exists, the rest
of the folder is whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import safetensors.torch
import torch

from compressor.data.dataset import Data
from compressor.engine.apply import apply_edits
from compressor.engine.baseline import Baseline, check_size
from compressor.engine.candidate import OUTCOME, Constraints, Latency, Outcome, overstepped
from compressor.engine.course import SNAPSHOTS, Course, Progress, save_weights, snapshot
from compressor.engine.figures import figures, quick_latency
from compressor.engine.plan import PLAN, Decision, Edit, Plan
from compressor.engine.resolve import depends_on_its_course
from compressor.engine.rungs import Rung
from compressor.errors import BrokenPromise, DamagedFileError, ExportError, GraphError, Refusal, TrialError
from compressor.evidence import Evidence, calibrating
from compressor.export.emit import to_onnx
from compressor.files import write_atomic
from compressor.graph.nested import rows
from compressor.graph.network import Network
from compressor.stored import check_digests, digests_of
from compressor.task import Quality
from compressor.train.evaluate import evaluate

_GLIMPSE = 16
"""Samples that say how a network is built, not how good it is."""
WRITTEN = ("model.onnx", "plan.json", "weights.safetensors")
"""What a trial that was trained leaves in its folder, beside ``outcome.json`` and the weights phases began with."""


@dataclass(frozen=True)
class TrialSettings:
    """What all trials of a study share."""

    constraints: Constraints = field(default_factory=Constraints)
    batch: int = 1
    """Samples per call when timing."""
    calibration: int = 512
    """Training samples used as evidence and to recalibrate BatchNorm."""


def run_trial(
    plan: Plan,
    baseline: Baseline,
    data: Data,
    settings: TrialSettings,
    *,
    seed: int,
    folder: Path,
    progress: Progress | None = None,
    rungs: Sequence[Rung] = (),
    checkpoints: Path | None = None,
) -> Outcome:
    """Carry out ``plan`` and write the candidate to ``folder``.

    Never raises for what a plan can bring about: a plan that cannot be built, exported or trained gives an outcome
    with its reason. ``plan`` may hold open decisions; the plan written is the one carried out. ``rungs``: where it ends
    early. ``checkpoints``: where its trainings are kept as far as they have come, so that a trial that is run again
    goes on with them.
    """
    clear(folder)
    tell = progress or (lambda stage, share: None)
    trial = _Trial(baseline, data, settings, seed, folder, tell, rungs, checkpoints)
    try:
        outcome = trial.run(plan)
    except (Refusal, BrokenPromise, GraphError, ExportError, TrialError) as error:
        reason = f"{type(error).__name__}: {error}"
        outcome = Outcome("failed", reason=reason, seconds=trial.course.seconds, stages=tuple(trial.course.stages))
    OUTCOME.write(folder / "outcome.json", outcome)
    return outcome


class _Trial:
    """A trial from the cheapest question to the figures; what happens between is its ``course``."""

    def __init__(
        self,
        baseline: Baseline,
        data: Data,
        settings: TrialSettings,
        seed: int,
        folder: Path,
        progress: Progress,
        rungs: Sequence[Rung],
        checkpoints: Path | None,
    ) -> None:
        self.baseline, self.data, self.settings = baseline, data, settings
        self.seed, self.folder, self.progress = seed, folder, progress
        self.evidence = baseline.evidence(data, settings.calibration)
        self.course = Course(
            baseline,
            data,
            self.evidence,
            batch=settings.batch,
            seed=seed,
            folder=folder,
            progress=progress,
            rungs=rungs,
            checkpoints=checkpoints,
        )

    def run(self, plan: Plan) -> Outcome:
        torch.manual_seed(self.seed)
        self.progress("build", 0.0)
        screened = self._screen(plan)
        if isinstance(screened, Outcome):
            write_atomic(self.folder / "plan.json", plan.to_json())
            return replace(screened, files=digests_of(self.folder, ["plan.json"]))
        stopped = self.course.run(plan)
        return self._measured(stopped, None if stopped or self.course.undone else screened)

    # --- before training -----------------------------------------------------------------------------------------

    def _screen(self, plan: Plan) -> Outcome | Latency | None:
        """Build without training and hold size and latency against the limits: a verdict, or the latency measured.

        None where only the course of the trial shows what the network will be.
        """
        decisions = any(isinstance(step, Decision) for phase in plan.parts for step in phase.steps)
        if decisions or any(depends_on_its_course(phase) for phase in plan.phases):
            return None
        network = self._built(plan)
        with self.course.timed("screen"):
            return self._against_limits(self._glimpsed(network))

    def _built(self, plan: Plan) -> Network:
        """The network after all edits, untrained. The first phase is what the course goes on with."""
        if not plan.phases:
            return self.course.network
        first, *later = plan.phases
        self.course.begin(first)
        edits = [step for phase in later for step in phase.steps if isinstance(step, Edit)]
        if not edits:
            return self.course.network
        with self.course.timed("build"):
            network = self.course.network.fork()
            apply_edits(network, edits, self.evidence)
        return network

    def _glimpsed(self, network: Network) -> Network:
        """The network as its file will be built: leaves that calibrate have another form there once they have."""
        if not calibrating(network):
            return network
        inputs, target = self.evidence.batches[0]
        glimpsed, some = network.fork(), slice(_GLIMPSE)
        Evidence([(rows(inputs, some), rows(target, some))], self.evidence.task).calibrate_leaves(glimpsed)
        return glimpsed

    def _against_limits(self, network: Network) -> Outcome | Latency:
        self.progress("screen", 0.0)
        base, onnx = self.baseline.metrics, to_onnx(network)
        metrics = figures(network, onnx, base.quality, base.latency)
        free = replace(self.settings.constraints, max_drop=None)
        excess = replace(free, max_latency=None).excess(metrics, base)
        if not any(by > 0 for by in excess.values()):
            latency = self._time(onnx)
            if free.max_latency is None or 1.0 / latency.high <= free.max_latency:
                return latency
            metrics = replace(metrics, latency=latency)
            excess = free.excess(metrics, base)
        reason = f"over {overstepped(excess, self.data.task.metric)}"
        return Outcome("screened", metrics, excess, reason, self.course.seconds)

    # --- the figures ---------------------------------------------------------------------------------------------

    def _measured(self, stopped: str, latency: Latency | None) -> Outcome:
        """The outcome of a course that is over, and the candidate's files; timed unless the ``latency`` is known."""
        self.progress("measure", 1.0)
        course = self.course
        with course.timed("measure"):
            onnx = course.onnx or to_onnx(course.network.eval())
            score = evaluate(course.network, self.data, self.data.validation, error=True)
            quality = Quality.of(self.data.task.metric, score.quality, score.error, score.parts)
            metrics = figures(course.network, onnx, quality, latency or self._time(onnx))
        write_atomic(self.folder / "plan.json", Plan(tuple(course.done)).to_json())
        save_weights(course.network, self.folder / "weights.safetensors")
        write_atomic(self.folder / "model.onnx", onnx)
        excess = self.settings.constraints.excess(metrics, self.baseline.metrics)
        status: Literal["stopped", "complete"] = "stopped" if stopped else "complete"
        files = digests_of(self.folder, [*WRITTEN, *(file.name for file in self.folder.glob(SNAPSHOTS))])
        return Outcome(
            status, metrics, excess, stopped, course.seconds, tuple(course.stages), tuple(course.curve), files
        )

    def _time(self, onnx: bytes) -> Latency:
        return quick_latency(self.baseline, onnx, batch=self.settings.batch, seed=self.seed)


def clear(folder: Path) -> None:
    """Remove what an earlier attempt left, but for its log and its spec; ``outcome.json`` first."""
    for name in ("outcome.json", "final.json", "score.json", *WRITTEN, *(file.name for file in folder.glob(SNAPSHOTS))):
        (folder / name).unlink(missing_ok=True)


def read_outcome(folder: Path) -> Outcome:
    """How the trial in ``folder`` ended, with every file it wrote held against what it wrote.

    Raises ``DamagedFileError`` for the first that is missing or is something else.
    """
    outcome = OUTCOME.read(folder / "outcome.json")
    check_digests(folder, outcome.files)
    return outcome


def read_candidate(folder: Path) -> Outcome:
    """``read_outcome`` of a trial of the search: one that is complete has figures, and files that they are about."""
    outcome = read_outcome(folder)
    if outcome.status == "complete" and (outcome.metrics is None or not set(WRITTEN) <= set(outcome.files)):
        raise DamagedFileError(f"{folder / 'outcome.json'}: is damaged (a complete trial without figures or files)")
    if outcome.status == "complete" and outcome.metrics is not None:
        check_size(outcome.metrics, folder, "outcome.json")
    return outcome


def load_candidate(folder: Path, baseline: Baseline, evidence: Evidence) -> Network:
    """The trained network of a candidate's folder: its plan replayed on a fork of the baseline, then its weights.

    A rewrite may depend on the weights it meets, so each later phase starts from the weights it started from.
    """
    plan = PLAN.read(folder / "plan.json")
    network = baseline.network.fork()
    for index, phase in enumerate(plan.phases):
        if snapshot(folder, index).exists():
            safetensors.torch.load_model(network.module, str(snapshot(folder, index)))
        apply_edits(network, [step for step in phase.steps if isinstance(step, Edit)], evidence)
    safetensors.torch.load_model(network.module, str(folder / "weights.safetensors"))
    return network.eval()
