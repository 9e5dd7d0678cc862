"""The course of a trial: the phases of a plan carried out on one network, each with its figures when it is over.

    a round of a phase:   edits → BatchNorm recalibration → training → figures
    a round of a loop:    a round of each phase in it

A round that does not earn what the stop rule asks is undone: the network, the phases carried out and the weights kept
for the replay are again what they were before it. What was carried out is a list of phases of one round, ``done``, in
which every decision has become edits; it can be replayed without training from the weights with which each one began.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from compressor.data.dataset import Data
from compressor.engine.apply import apply_edit
from compressor.engine.baseline import Baseline
from compressor.engine.candidate import Constraints, StageFigures, overstepped
from compressor.engine.figures import figures, quick_latency
from compressor.engine.plan import Decision, Edit, Phase, Plan, Stop
from compressor.engine.policy import POLICIES, admitting
from compressor.engine.promises import Promises
from compressor.engine.resolve import resolve_phase
from compressor.engine.rungs import Reached, Rung, failed_at
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.site_measurement import measure_sensitivities, onnx_timer
from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.files import write_atomic
from compressor.graph.network import Network
from compressor.task import Metric, Quality, drop
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.history import EpochReport, History
from compressor.train.spec import TrainingSpec

SNAPSHOTS = "before-phase-*.safetensors"
"""The files of a candidate's folder, beside its weights, that a replay of its plan needs."""
_FORGETTING = 32
"""Steps of training after which a thirtieth is left of what BatchNorm began with, at its usual momentum."""
Progress = Callable[[str, float], None]
"""Told the stage, and how far the trial is (0…1)."""


class _NotWorthIt(Exception):  # noqa: N818
    """A rung was not passed; says which, for people."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """What the stop rule goes back to."""

    network: Network
    done: int
    quality: Quality


class Course:
    """The state of a running trial: the network so far, the phases carried out, their figures, the time spent."""

    def __init__(
        self,
        baseline: Baseline,
        data: Data,
        evidence: Evidence,
        *,
        batch: int,
        seed: int,
        folder: Path,
        progress: Progress,
        rungs: Sequence[Rung] = (),
        checkpoints: Path | None = None,
    ) -> None:
        self.network = baseline.network.fork()
        self._begun: Sequence[Edit] | None = None
        """Edits of the first phase, where they have been carried out already."""
        self.done: list[Phase] = []
        self.stages: list[StageFigures] = []
        self.curve: list[Reached] = []
        self.seconds: dict[str, float] = {}
        self.onnx: bytes | None = None
        """The file of the network as it is, where it has been written."""
        self.undone = False
        """Whether a round was undone: the network is then not the one that the plan describes."""
        self._baseline, self._data, self._evidence = baseline, data, evidence
        self._batch, self._seed, self._folder, self._progress = batch, seed, folder, progress
        self._initial = baseline.network.module.state_dict()
        self._quality = baseline.metrics.quality
        self._epochs_done, self._epochs = 0, 1
        self._rungs, self._checkpoints = rungs, checkpoints
        self._refused: list[str] = []

    def begin(self, phase: Phase) -> None:
        """Carry out the edits of the first phase ahead of ``run``, which then goes on from there."""
        with self.timed("build"):
            self._begun = self._carried_out(phase)

    def run(self, plan: Plan) -> str:
        """Carry out every phase in turn; returns the reason where a gate or a rung ended it, else nothing."""
        self._epochs = sum(phase.training.epochs for phase in plan.unrolled() if phase.training) or 1
        try:
            for phase in plan.phases:
                reason = self._phase(phase, phase.name, 0)
                if reason:
                    return reason
        except _NotWorthIt as rung:
            return str(rung)
        return ""

    # --- phases and rounds ---------------------------------------------------------------------------------------

    def _phase(self, phase: Phase, name: str, earlier: int) -> str:
        """All rounds of a phase, which has been carried out ``earlier`` times before; returns a gate's reason."""
        for number in range(earlier * phase.rounds, (earlier + 1) * phase.rounds):
            before = _Kept(self.network.fork(), len(self.done), self._quality) if phase.stop else None
            reason = self._round(phase, name, number)
            if reason:
                return reason
            if phase.stop and before and self._stops(phase.stop, before, number + 1):
                break
        return self._gate(phase, name)

    def _round(self, phase: Phase, name: str, number: int) -> str:
        if not phase.phases:
            self._carry_out(phase, name, number)
        for inner in phase.phases:
            reason = self._phase(inner, f"{name}.{inner.name}", number)
            if reason:
                return reason
        return ""

    def _carry_out(self, phase: Phase, name: str, number: int) -> None:
        self.onnx = None
        with self.timed("build"):
            if self.done:
                save_weights(self.network, snapshot(self._folder, len(self.done)))
            edits, before = self._edit(phase)
            self.done.append(Phase(name, tuple(edits), phase.training, rewind=phase.rewind))
            if phase.rewind == "initial":
                rewind(self.network, self._initial)
        history = self._train(phase, name, self._seed + number)
        if before is not None and not history.taught:
            with self.timed("build"):
                self._evidence.calibrate(self.network, since=before)
            history = replace(history, kept=None)
        self._note(name, number + 1, len(edits), history)

    def _stops(self, stop: Stop, before: _Kept, number: int) -> bool:
        """Whether the round brought too little; it is undone then."""
        gain = drop(self._quality, before.quality)
        if gain >= stop.min_gain:
            return False
        for index in range(before.done, len(self.done)):
            snapshot(self._folder, index).unlink(missing_ok=True)
        del self.done[before.done :]
        self.network, self._quality, self.undone, self.onnx = before.network, before.quality, True, None
        note = f"round {number} brought {gain:.3g}, less than {stop.min_gain:g}: undone"
        self.stages[-1] = replace(self.stages[-1], note="; ".join(filter(None, [self.stages[-1].note, note])))
        return True

    def _gate(self, phase: Phase, name: str) -> str:
        if phase.gate is None:
            return ""
        lost, limit, metric = drop(self._baseline.metrics.quality, self._quality), phase.gate.max_drop, self._metric
        if lost <= limit:
            return ""
        said = f"{metric.difference(lost)} worse, and it allows {metric.difference(limit)}"
        return f"gate after {name}: {metric.name} is {said}"

    # --- one round -----------------------------------------------------------------------------------------------

    def _edit(self, phase: Phase) -> tuple[Sequence[Edit], Network | None]:
        """Carry out the edits and calibrate; with the network as it was before where that has to be done once more,
        from all samples, in case training leaves the network as it is.
        """
        before = self._baseline.network if self._begun is not None else self.network.fork()
        edits = self._carried_out(phase) if self._begun is None else self._begun
        self._begun = None
        provisional = self._evidence.calibrate(self.network, since=before, for_training=self._forgets(phase.training))
        return edits, before if provisional else None

    def _forgets(self, training: TrainingSpec | None) -> bool:
        """Whether training follows that has steps enough to forget the statistics that BatchNorm begins with."""
        if training is None or training.function:
            return False
        steps = training.steps_per_epoch or len(self._data.train) // training.batch
        return training.epochs * steps >= _FORGETTING

    def _carried_out(self, phase: Phase) -> Sequence[Edit]:
        """The edits of the phase, each held to the promise of its plugin."""
        self.network.eval()
        self._refused.clear()
        promises = Promises(self.network, self._evidence)
        apply = promises.apply if phase.limits is None else self._within(phase.limits, promises)
        edits = resolve_phase(phase, self.network, self._sensitivities(phase), self._evidence, apply)
        promises.settle()
        return edits

    def _sensitivities(self, phase: Phase) -> Sensitivities:
        """Of the plugins whose sites are chosen by measurement, on the network as it is now."""
        asking = [step for step in phase.steps if isinstance(step, Decision) and POLICIES[step.policy].measured]
        if not asking:
            return Sensitivities()
        self._progress("sensitivity", self._share())
        return measure_sensitivities(
            self.network,
            [(step.plugin, step.options) for step in asking],
            self._evidence,
            admits=admitting([(step.plugin, step.options, step.only, step.skip) for step in asking]),
            timer=onnx_timer(to_onnx(self.network), self._batch) if phase.timed else None,
            fixed=lambda name, options: [s.values for s in asking if (s.plugin, s.options) == (name, options)],
        )

    def _within(self, limits: Constraints, promises: Promises) -> Callable[[Network, Edit, Evidence], object]:
        """``apply_edit`` that refuses what takes the network over a limit, measured on a fork."""

        def apply(network: Network, edit: Edit, evidence: Evidence) -> None:
            fork = network.fork()
            apply_edit(fork, edit, evidence)
            over = self._over(limits, fork)
            if over:
                self._refused.append(f"{edit.plugin} {edit.site}: over {over}")
                raise Refusal(f"over {over}", path=edit.site)
            promises.around(edit, lambda: network.become(fork))

        return apply

    def _over(self, limits: Constraints, network: Network) -> str:
        """Which limits the network oversteps; it is timed only where the others hold."""
        onnx, unchanged = to_onnx(network), self._baseline.metrics
        metrics = figures(network, onnx, unchanged.quality, unchanged.latency)
        over = overstepped(replace(limits, max_latency=None).excess(metrics, unchanged), self._metric)
        if over or limits.max_latency is None:
            return over
        latency = quick_latency(self._baseline, onnx, batch=self._batch, seed=self._seed)
        return overstepped(limits.excess(replace(metrics, latency=latency), unchanged), self._metric)

    def _train(self, phase: Phase, name: str, seed: int) -> History:
        """Train as the phase says."""
        if phase.training is None:
            return History()

        own = bool(phase.training.function)

        def report(epoch: EpochReport) -> None:
            self._epochs_done += 1
            self._progress(f"{name} epoch {epoch.epoch}/{epoch.epochs}", self._share())
            before = self.curve[-1].share if self.curve else 0.0
            self.curve.append(Reached(self._share(), epoch.validation_quality))
            if epoch.before:  # it passed the rungs of its time
                self.seconds["train"] = self.seconds.get("train", 0.0) + epoch.seconds
            elif not own:  # nothing may be raised through somebody else's loop
                self._check_rungs(before)

        with self.timed("train"):
            return fit(
                self.network,
                self._data,
                phase.training,
                teacher=self._baseline.network,
                seed=seed,
                progress=report,
                checkpoints=self._checkpoints,
            )

    def _note(self, name: str, number: int, edits: int, history: History) -> None:
        """Keep the figures the network has now."""
        with self.timed("measure"):
            kept = history.kept.validation_quality if history.kept else None
            quality = evaluate(self.network, self._data, self._data.validation).quality if kept is None else kept
            self._quality = Quality.of(self._metric, quality)
            self.onnx = to_onnx(self.network)
            now = figures(self.network, self.onnx, self._quality, self._baseline.metrics.latency)
        count = len(self._refused)
        note = f"{count} {'edit' if count == 1 else 'edits'} refused, {self._refused[0]}" if count else ""
        self.stages.append(
            StageFigures(name, number, quality, now.params, now.macs, now.size_bytes, edits, len(history.epochs), note)
        )

    def _check_rungs(self, before: float) -> None:
        """Raise ``_NotWorthIt`` where the trial, as it is now, does not pass a rung."""
        now = self.curve[-1]
        regret = self._metric.regret(now.quality) - self._baseline.metrics.quality.regret
        rung = failed_at(self._rungs, before, now.share, regret)
        if rung is not None:
            raise _NotWorthIt(
                f"ended after {self._epochs_done} of {self._epochs} epochs: {self._metric.name} is "
                f"{self._metric.difference(regret)} worse, and what trials still gained from there on would not do"
            )

    # --- bookkeeping ---------------------------------------------------------------------------------------------

    @property
    def _metric(self) -> Metric:
        return self._data.task.metric

    def _share(self) -> float:
        return min(self._epochs_done / self._epochs, 1.0)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the wall-clock time of what is done within to ``seconds``."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


def rewind(network: Network, initial: dict[str, Tensor]) -> None:
    """Give every parameter and statistic that still has its first name and shape its first value."""
    state = network.module.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if name in initial and initial[name].shape == tensor.shape:
                tensor.copy_(initial[name])


def save_weights(network: Network, path: Path) -> None:
    """All parameters and buffers as safetensors (tied weights once, the other names in the metadata)."""
    names: dict[object, str] = {}
    tensors: dict[str, Tensor] = {}
    tied: dict[str, str] = {}
    for name, tensor in network.module.state_dict().items():
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        if tensor.numel() and place in names:
            tied[name] = names[place]
        else:
            names[place] = name
            tensors[name] = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    write_atomic(path, safetensors.torch.save(tensors, tied or None))


def snapshot(folder: Path, phase: int) -> Path:
    """Where the weights lie with which a later phase (or round) began."""
    return folder / f"before-phase-{phase}.safetensors"
