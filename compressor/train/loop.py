"""The training loop: steps, epochs, the best weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from compressor.data.dataset import Data
from compressor.errors import TrialError
from compressor.graph.device import random_state, set_random_state
from compressor.graph.leaf import Leaf
from compressor.graph.nested import Nested, map_tensors
from compressor.graph.network import Network
from compressor.task import Metric
from compressor.train.batches import Batches, TrainingBatch
from compressor.train.checkpoint import Checkpoint, TrainingState
from compressor.train.distil import Distiller
from compressor.train.evaluate import evaluate
from compressor.train.history import EpochObserver, EpochReport, History
from compressor.train.layout import laid
from compressor.train.optimizers import make_optimizer
from compressor.train.precision import autocast
from compressor.train.schedule import Plateau, rate_factor
from compressor.train.spec import Precision, TrainingSpec

_CHECK_EVERY = 25
"""Steps between looks at the loss: each look waits for an accelerator to catch up."""


@dataclass
class _Best:
    """The best epoch so far, its weights, and the epochs since the metric was last bettered."""

    metric: Metric

    report: EpochReport | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)
    waited: int = 0

    def offer(self, report: EpochReport, network: Network, keep: bool) -> None:
        before = self.report
        rose = before is None or self._rank(report)[0] > self._rank(before)[0]
        self.waited = 0 if rose else self.waited + 1
        if before is None or self._rank(report) > self._rank(before):
            self.report = report
            self.weights = {k: v.clone() for k, v in network.module.state_dict().items()} if keep else {}

    def _rank(self, report: EpochReport) -> tuple[float, float]:
        return -self.metric.regret(report.validation_quality), -report.validation_loss


class TrainingLoop:
    """One training run of a network that is already on its device, with the global generators already seeded."""

    def __init__(
        self,
        network: Network,
        data: Data,
        spec: TrainingSpec,
        batches: Batches,
        distiller: Distiller | None,
        precision: Precision = "float32",
        channels_last: bool = False,
    ) -> None:
        self._network = network
        self._data = data
        self._spec = spec
        self._batches = batches
        self._stream: Iterator[TrainingBatch] = iter(batches)
        self._distiller = distiller
        self.precision: Precision = precision
        self._channels_last = channels_last
        self._parameters = [p for p in network.module.parameters() if p.requires_grad]
        self._optimizer = make_optimizer(spec, self._parameters)
        self._task = data.task.fitted(network)
        self._loss = self._task.training_loss(spec)
        self._leaves = [module for module in network.module.modules() if isinstance(module, Leaf)]
        self._steps = spec.steps_per_epoch or batches.per_pass
        self._plateau = Plateau()
        self._step = 0
        self._rate = spec.lr
        self._reports: list[EpochReport] = []
        self._best = _Best(self._task.metric)

    def run(self, progress: EpochObserver | None = None, checkpoint: Checkpoint | None = None) -> History:
        """Train to the end, or until patience runs out. Raises ``TrialError`` when the loss is no longer a number.

        Where ``checkpoint`` has a state, from there; ``progress`` is told of the epochs before it, too.
        """
        tell = progress or (lambda report: None)
        self._begin(checkpoint, tell)
        while not self._is_over():
            report = self._epoch(len(self._reports) + 1)
            self._reports.append(report)
            self._best.offer(report, self._network, self._spec.restore_best)
            tell(report)
            if self._spec.schedule == "plateau":
                self._plateau.update(report.validation_loss)
            if checkpoint:
                checkpoint.offer(self._state(), last=self._is_over())
        return self._ended()

    def _begin(self, checkpoint: Checkpoint | None, tell: EpochObserver) -> None:
        state = checkpoint.read() if checkpoint else None
        if state is not None:
            self._go_on(state)
            for report in self._reports:
                tell(report)
        elif self._spec.restore_best:
            self._best.offer(self._before(), self._network, keep=True)

    def _is_over(self) -> bool:
        return len(self._reports) == self._spec.epochs or 0 < self._spec.patience <= self._best.waited

    def _ended(self) -> History:
        """The best weights put back, where they were kept."""
        stopped, best, kept = "", self._best, self._reports[-1]
        if kept.epoch < self._spec.epochs:
            stopped = f"no better validation {self._task.metric.name} for {best.waited} epochs"
        if best.weights and best.report is not None and best.report.epoch != kept.epoch:
            self._network.module.load_state_dict(best.weights)
            kept = best.report
            if not kept.epoch:
                stopped = "no epoch was better than the network before it, whose weights stay"
        self._optimizer.zero_grad(set_to_none=True)
        device = str(self._network.device)
        return History(tuple(self._reports), best.report, stopped, device, self.precision, kept)

    def step(self) -> None:
        """The first step alone, of which nothing is told."""
        self._network.train()
        self._train_on(self._next_batch())

    def _state(self) -> TrainingState:
        """Everything that the steps to come depend on, and what there is to tell at the end."""
        best = self._best
        return {
            "weights": self._network.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "plateau": asdict(self._plateau),
            "batches": self._batches.state(),
            "random": random_state(self._network.device),
            "reports": [asdict(report) for report in self._reports],
            "best": {"report": best.report and asdict(best.report), "weights": best.weights, "waited": best.waited},
        }

    def _go_on(self, state: TrainingState) -> None:
        self._network.module.load_state_dict(state["weights"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._plateau = state["step"], Plateau(**state["plateau"])
        self._batches.go_on(state["batches"])
        set_random_state(state["random"], self._network.device)
        self._reports = [_again(report) for report in state["reports"]]
        report, weights, waited = (state["best"][name] for name in ("report", "weights", "waited"))
        self._best = _Best(self._task.metric, report and _again(report), weights, waited)

    def _before(self) -> EpochReport:
        """What training has to better: the network as it is, as epoch 0."""
        started = time.perf_counter()
        score = evaluate(self._network, self._data, self._data.validation)
        return EpochReport(
            epoch=0,
            epochs=self._spec.epochs,
            train_loss=math.nan,
            train_quality=math.nan,
            validation_loss=score.loss,
            validation_quality=score.quality,
            lr=0.0,
            seconds=time.perf_counter() - started,
        )

    def _epoch(self, epoch: int) -> EpochReport:
        started = time.perf_counter()
        self._network.train()
        device = self._network.device
        loss, meter = torch.zeros((), device=device), self._task.meter()
        seen = 0
        for index in range(self._steps):
            batch = self._next_batch()
            batch_loss, outputs = self._train_on(batch)
            loss += batch_loss * len(batch)
            seen += len(batch)
            if self._task.metered_in_training:
                meter.update(outputs, batch.target)
            if index % _CHECK_EVERY == 0 or index == self._steps - 1:
                self._check(float(loss), f"step {index + 1} of epoch {epoch}")
        score = evaluate(self._network, self._data, self._data.validation)
        self._check(score.loss, f"the validation after epoch {epoch}")
        return EpochReport(
            epoch=epoch,
            epochs=self._spec.epochs,
            train_loss=float(loss) / seen,
            train_quality=float(meter.value()),
            validation_loss=score.loss,
            validation_quality=score.quality,
            lr=self._rate,
            seconds=time.perf_counter() - started,
        )

    def _next_batch(self) -> TrainingBatch:
        batch = next(self._stream)
        return replace(batch, inputs=map_tensors(laid, batch.inputs)) if self._channels_last else batch

    def _train_on(self, batch: TrainingBatch) -> tuple[Tensor, Nested]:
        """One optimizer step; the loss and the outputs it was computed from, detached."""
        self._set_rate()
        with autocast(self._network.device, self.precision):
            outputs = self._network(batch.inputs)
        outputs = map_tensors(Tensor.float, outputs)
        loss = self._loss(outputs, batch.target)
        if self._distiller is not None:
            loss = loss + self._distiller.loss(batch, outputs)
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        if self._spec.clip_norm:
            torch.nn.utils.clip_grad_norm_(self._parameters, self._spec.clip_norm)
        self._optimizer.step()
        for leaf in self._leaves:
            leaf.after_step()
        self._step += 1
        return loss.detach(), map_tensors(Tensor.detach, outputs)

    def _set_rate(self) -> None:
        factor = rate_factor(self._spec, self._step, self._steps * self._spec.epochs)
        self._rate = self._spec.lr * factor * self._plateau.factor
        for group in self._optimizer.param_groups:
            group["lr"] = self._rate

    def _check(self, loss: float, where: str) -> None:
        if not math.isfinite(loss):
            raise TrialError(
                f"training diverged: the loss is {loss} at {where}, learning rate {self._rate:g}; lower training.lr"
            )


def _again(report: dict[str, Any]) -> EpochReport:
    """Of an epoch that was carried out before, as it was kept."""
    return EpochReport(**{**report, "before": True})
