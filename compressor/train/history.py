"""What a training run tells: a report per epoch while it runs, a history when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EpochReport:
    """One epoch. Losses are means per sample, qualities values of the task's metric; training figures are running means
    in training mode."""

    epoch: int
    """Counted from 1; 0 is the network before training, which has no training figures."""
    epochs: int
    train_loss: float
    """The loss that was minimised, distillation terms included."""
    train_quality: float
    """NaN where the metric costs too much to be taken of training batches."""
    validation_loss: float
    """The task's loss, plain."""
    validation_quality: float
    lr: float
    """Learning rate of the last step."""
    seconds: float
    before: bool = False
    """Whether it was carried out by an attempt that was cut off: it is only told again."""


EpochObserver = Callable[[EpochReport], None]


@dataclass(frozen=True)
class History:
    """All epochs of a run, the one whose weights the network ended with, and why it ended."""

    epochs: tuple[EpochReport, ...] = ()
    best: EpochReport | None = None
    """The epoch with the best validation quality (lowest validation loss among equals), among them the network before
    training where the best is restored; None when none was run."""
    stopped: str = ""
    """Why it ended before the last epoch, or did not begin; empty when it ran to the end."""
    device: str = "cpu"
    precision: str = "float32"
    """The one used, which is not the one asked for where the hardware or the network does not bear it."""
    kept: EpochReport | None = None
    """The epoch whose weights the network ended with, where that is known: what it measured holds."""

    @property
    def taught(self) -> bool:
        """Whether the network ended with other weights than it began with, as far as that is known."""
        return self.kept is not None and self.kept.epoch > 0

    @property
    def seconds(self) -> float:
        return sum(report.seconds for report in self.epochs)

    @property
    def seconds_before(self) -> float:
        """Of the epochs that an attempt that was cut off had carried out."""
        return sum(report.seconds for report in self.epochs if report.before)
