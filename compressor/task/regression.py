"""Regression: numbers of any shape per sample, held to numbers of the same shape.

Outputs and target ``(N, …)``: one tensor each, or the same structure of tensors, of which each counts alike. Images
that are restored are regression too: choose ``measure = "psnr"``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from compressor.errors import DataError
from compressor.graph.nested import tensors
from compressor.graph.network import Network
from compressor.task.metric import Metric
from compressor.task.task import Guess, Problem, Samples, Task, targets_of

_LOSSES = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.smooth_l1_loss}


@dataclass(frozen=True)
class Regression(Task):
    """Numbers per sample; mean absolute error, root mean squared error or PSNR."""

    numbers: ClassVar[bool] = True
    measure: Literal["mae", "mse", "psnr"] = "mae"
    """``mae``: mean absolute error. ``mse``: mean squared error. ``psnr``: mean over the samples of the peak
    signal-to-noise ratio, decibels."""
    criterion: Literal["mse", "l1", "huber"] = "mse"
    """What training makes small."""
    unit: str = ""
    """Of the numbers, for people."""
    peak: float = 1.0
    """The largest value of the signal, for ``psnr``."""

    @property
    def metric(self) -> Metric:  # type: ignore[override]
        if self.measure == "psnr":
            return Metric("PSNR", "higher", "dB")
        squared = f"{self.unit}²" if self.unit else ""
        return Metric("MAE", "lower", self.unit) if self.measure == "mae" else Metric("MSE", "lower", squared)

    def loss(self, outputs: Any, target: Any) -> Tensor:
        losses = [_LOSSES[self.criterion](ours, theirs) for ours, theirs in _pairs(outputs, target)]
        return torch.stack(losses).mean()

    def scores(self, outputs: Any, target: Any) -> Tensor:
        """The opposite of each sample's error; for ``psnr`` the ratio itself. Mean over the outputs."""
        gaps = [(ours - theirs).reshape(len(ours), -1) for ours, theirs in _pairs(outputs, target)]
        return torch.stack([self._score(gap) for gap in gaps]).mean(0)

    def _score(self, gap: Tensor) -> Tensor:
        if self.measure == "mae":
            return -gap.abs().mean(1)
        squared = gap.square().mean(1)
        return 10 * torch.log10(self.peak**2 / squared.clamp_min(1e-12)) if self.measure == "psnr" else -squared

    def distil(self, student: Any, teacher: Any, temperature: float) -> Tensor:
        """Mean squared distance of the two answers, relative to the teacher's variance; no temperature."""
        pairs = list(_pairs(student, teacher))
        return torch.stack([F.mse_loss(a, b) / b.var(correction=0).clamp_min(1e-12) for a, b in pairs]).mean()

    def check(self, network: Network, data: Problem) -> None:
        wanted = [network.shape(node) for node in network.output_nodes]
        for split in (data.train, data.validation):
            given = [tuple(tensor.shape[1:]) for tensor in tensors(split.first(1).targets())]
            if list(map(math.prod, wanted)) != list(map(math.prod, given)):
                raise DataError(
                    f"{data.name}: task = regression is for targets of the shape of the outputs; one sample's outputs "
                    f"are {_shapes(wanted)}, its targets {_shapes(given)}"
                )
            for tensor in tensors(targets_of(split)):
                if not bool(tensor.double().isfinite().all()):
                    raise DataError(
                        f"{data.name}: a regression target is no finite number (nan or inf); leave such samples out"
                    )

    def guess(self, data: Problem, samples: Samples) -> Guess | None:
        """Answering the mean of these samples always."""
        if self.measure == "psnr" or not len(samples):
            return None
        flat = [tensor.double().reshape(len(tensor), -1) for tensor in tensors(targets_of(samples))]
        gaps = [values - values.mean(0) for values in flat]
        errors = -torch.stack([self._score(gap) for gap in gaps]).mean(0)
        spread = float(errors.std(correction=0)) / math.sqrt(len(errors))
        return Guess(float(errors.mean()), "answering the mean always", spread)


def _pairs(outputs: Any, target: Any) -> list[tuple[Tensor, Tensor]]:
    """Every output with its target, in one shape: ``(N, 1)`` and ``(N,)`` are never spread over each other."""
    pairs = list(zip(tensors(outputs), tensors(target), strict=True))
    return [(ours, theirs.reshape(ours.shape).to(ours.dtype)) for ours, theirs in pairs]


def _shapes(shapes: list[tuple[int, ...]]) -> str:
    return ", ".join(map(str, shapes)) or "none"
