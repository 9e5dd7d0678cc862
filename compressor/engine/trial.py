"""One trial: a plan carried out on a fork of the baseline, the cheapest question first.

    can it be built?  →  size, MACs, parameters against the limits  →  untrained ONNX latency against the limit
    →  BatchNorm recalibration  →  training  →  the figures

What a limit rules out before training costs no training. Weights change neither the latency nor the structure, so the
latency measured on the untrained file stands. The folder's ``outcome.json`` is written last: where it exists, the rest
of the folder is whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import safetensors.torch
import torch
from pydantic import TypeAdapter

from compressor.data.dataset import Data
from compressor.engine.apply import apply_checked, apply_edit_checked, apply_edits
from compressor.engine.baseline import Baseline
from compressor.engine.candidate import Accuracy, Constraints, Latency, Metrics, Outcome, StageFigures
from compressor.engine.plan import Decision, Edit, Phase, Plan
from compressor.engine.resolve import resolve_phase
from compressor.engine.sensitivity import measure_sensitivities
from compressor.errors import BrokenPromise, ExportError, GraphError, Refusal, TrialError
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.files import save_atomic, write_atomic
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.measure.latency import QUICK, compare
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.history import EpochReport

Progress = Callable[[str, float], None]
"""Told the stage, and how far the trial is (0…1)."""


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
) -> Outcome:
    """Carry out ``plan`` and write the candidate to ``folder``.

    Never raises for what a plan can bring about: a plan that cannot be built, exported or trained gives an outcome
    with its reason. ``plan`` may hold open decisions; the plan written is the one carried out.
    """
    trial = _Trial(baseline, data, settings, seed, folder, progress or (lambda stage, share: None))
    try:
        outcome = trial.run(plan)
    except (Refusal, BrokenPromise, GraphError, ExportError, TrialError) as error:
        reason = f"{type(error).__name__}: {error}"
        outcome = Outcome("failed", reason=reason, seconds=trial.seconds, stages=tuple(trial.stages))
    write_atomic(folder / "outcome.json", OUTCOME.dump_json(outcome, indent=1))
    return outcome


class _Trial:
    """The state of a running trial: the network so far, the edits carried out, the time spent."""

    def __init__(
        self, baseline: Baseline, data: Data, settings: TrialSettings, seed: int, folder: Path, progress: Progress
    ) -> None:
        self.baseline, self.data, self.settings = baseline, data, settings
        self.seed, self.folder, self.progress = seed, folder, progress
        self.evidence = baseline.evidence(data, settings.calibration)
        self.seconds: dict[str, float] = {}
        self.done: list[Phase] = []
        self.stages: list[StageFigures] = []

    def run(self, plan: Plan) -> Outcome:
        torch.manual_seed(self.seed)
        total_epochs = sum(p.rounds * p.training.epochs for p in plan.phases if p.training) or 1
        self._epochs_done, self._epochs = 0, total_epochs
        self.progress("build", 0.0)
        screened = self._screen(plan)
        if isinstance(screened, Outcome):
            return self._write(screened, None, plan)
        network, stopped = self._carry_out(plan)
        self.progress("measure", 1.0)
        metrics = self._measure(network, screened)
        effective = Plan(tuple(self.done))
        excess = self.settings.constraints.excess(metrics, self.baseline.metrics)
        outcome = Outcome(
            "stopped" if stopped else "complete", metrics, excess, stopped, self.seconds, tuple(self.stages)
        )
        return self._write(outcome, network, effective)

    # --- before training -----------------------------------------------------------------------------------------

    def _screen(self, plan: Plan) -> Outcome | Latency:
        """Build without training and hold size and latency against the limits: a verdict, or the latency measured."""
        if any(isinstance(step, Decision) for phase in plan.phases for step in phase.steps):
            return Latency(0.0, 0.0, 0.0, 0.0)  # what it will be is only known while it runs
        with self._timed("build"):
            network = self.baseline.network.fork()
            apply_edits(network, plan.edits, self.evidence)
        with self._timed("screen"):
            return self._against_limits(network)

    def _against_limits(self, network: Network) -> Outcome | Latency:
        self.progress("screen", 0.0)
        metrics = self._figures(
            network, to_onnx(network), Accuracy(validation=self.baseline.metrics.accuracy.validation)
        )
        free = replace(self.settings.constraints, max_accuracy_drop=None)
        excess = replace(free, max_latency=None).excess(metrics, self.baseline.metrics)
        if any(amount > 0 for amount in excess.values()):
            return Outcome("screened", metrics, excess, _overstepped(excess), self.seconds)
        latency = self._time(to_onnx(network))
        metrics = replace(metrics, latency=latency)
        excess = free.excess(metrics, self.baseline.metrics)
        if free.max_latency is not None and 1.0 / latency.high > free.max_latency:
            return Outcome("screened", metrics, excess, _overstepped(excess), self.seconds)
        return latency

    # --- the phases ----------------------------------------------------------------------------------------------

    def _carry_out(self, plan: Plan) -> tuple[Network, str]:
        """Every phase in turn; returns the network and, when a gate ended it, the reason."""
        network = self.baseline.network.fork()
        initial = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
        for phase in plan.phases:
            for round_number in range(phase.rounds):
                with self._timed("build"):
                    if self.done:
                        save_weights(network, snapshot(self.folder, len(self.done)))
                    edits = self._edit(phase, network)
                    self.done.append(replace(phase, steps=tuple(edits), rounds=1))
                    if phase.rewind == "initial":
                        rewind(network, initial)
                epochs = self._train(phase, network, self.seed + round_number)
                self._note(phase, round_number + 1, network, len(edits), epochs)
            reason = self._gate(phase)
            if reason:
                return network, reason
        return network, ""

    def _edit(self, phase: Phase, network: Network) -> Sequence[Edit]:
        network.eval()
        open_uses = [(step.plugin, step.options) for step in phase.steps if isinstance(step, Decision)]
        if open_uses:
            self.progress("sensitivity", self._share())
            known = measure_sensitivities(network, open_uses, self.evidence)
            edits: Sequence[Edit] = resolve_phase(phase, network, known, self.evidence, apply_edit_checked)
        else:
            edits = [step for step in phase.steps if isinstance(step, Edit)]
            apply_checked(network, edits, self.evidence)
        self.evidence.calibrate(network)
        return edits

    def _train(self, phase: Phase, network: Network, seed: int) -> int:
        """Train as the phase says; returns the epochs it took."""
        if phase.training is None:
            return 0

        def report(epoch: EpochReport) -> None:
            self._epochs_done += 1
            self.progress(f"{phase.name} epoch {epoch.epoch}/{epoch.epochs}", self._share())

        with self._timed("train"):
            history = fit(network, self.data, phase.training, teacher=self.baseline.network, seed=seed, progress=report)
        return len(history.epochs)

    def _note(self, phase: Phase, round_number: int, network: Network, edits: int, epochs: int) -> None:
        """Keep the figures the network has now."""
        with self._timed("measure"):
            accuracy = evaluate(network, self.data, self.data.validation).accuracy
            cost, size = network_cost(network), len(to_onnx(network))
        self.stages.append(
            StageFigures(phase.name, round_number, accuracy, cost.parameter_count, cost.mac_count, size, edits, epochs)
        )

    def _gate(self, phase: Phase) -> str:
        if phase.gate is None:
            return ""
        drop = self.baseline.metrics.accuracy.validation - self.stages[-1].accuracy
        if drop <= phase.gate.max_accuracy_drop:
            return ""
        limit = phase.gate.max_accuracy_drop
        return f"gate after {phase.name}: accuracy dropped by {drop:.3f}, more than the {limit:.3f} it allows"

    # --- the figures ---------------------------------------------------------------------------------------------

    def _measure(self, network: Network, screened: Latency) -> Metrics:
        with self._timed("measure"):
            network.eval()
            onnx = to_onnx(network)
            accuracy = Accuracy(validation=evaluate(network, self.data, self.data.validation).accuracy)
            latency = screened if screened.us else self._time(onnx)
            return replace(self._figures(network, onnx, accuracy), latency=latency)

    def _figures(self, network: Network, onnx: bytes, accuracy: Accuracy) -> Metrics:
        cost = network_cost(network)
        return Metrics(cost.parameter_count, len(onnx), cost.mac_count, accuracy, self.baseline.metrics.latency)

    def _time(self, onnx: bytes) -> Latency:
        timing = compare(self.baseline.onnx, onnx, batch=self.settings.batch, protocol=QUICK, seed=self.seed)
        return Latency(timing.candidate_us, timing.speedup, timing.low, timing.high)

    # --- bookkeeping ---------------------------------------------------------------------------------------------

    def _share(self) -> float:
        return min(self._epochs_done / self._epochs, 1.0)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def _write(self, outcome: Outcome, network: Network | None, plan: Plan) -> Outcome:
        write_atomic(self.folder / "plan.json", plan.to_json())
        if network is not None:
            save_weights(network, self.folder / "weights.safetensors")
            write_atomic(self.folder / "model.onnx", to_onnx(network))
        return outcome


def rewind(network: Network, initial: dict[str, torch.Tensor]) -> None:
    """Give every parameter and statistic that still has its first name and shape its first value."""
    state = network.module.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if name in initial and initial[name].shape == tensor.shape:
                tensor.copy_(initial[name])


def save_weights(network: Network, path: Path) -> None:
    """All parameters and buffers as safetensors (tied weights once)."""
    save_atomic(path, lambda temporary: safetensors.torch.save_model(network.module, str(temporary)))


def load_candidate(folder: Path, baseline: Baseline, evidence: Evidence) -> Network:
    """The trained network of a candidate's folder: its plan replayed on a fork of the baseline, then its weights.

    A rewrite may depend on the weights it meets, so each later phase starts from the weights it started from.
    """
    plan = Plan.from_json((folder / "plan.json").read_bytes())
    network = baseline.network.fork()
    for index, phase in enumerate(plan.phases):
        if snapshot(folder, index).exists():
            safetensors.torch.load_model(network.module, str(snapshot(folder, index)))
        apply_edits(network, [step for step in phase.steps if isinstance(step, Edit)], evidence)
    safetensors.torch.load_model(network.module, str(folder / "weights.safetensors"))
    return network.eval()


def snapshot(folder: Path, phase: int) -> Path:
    """Where the weights lie with which a later phase (or round) began."""
    return folder / f"before-phase-{phase}.safetensors"


def _overstepped(excess: dict[str, float]) -> str:
    over = [f"{name} by {amount:.3g}" for name, amount in excess.items() if amount > 0]
    return "before training, over " + ", ".join(over)


OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Outcome)
