"""What a trial costs besides training, scoring and timing: CPU seconds of one process with one thread.

A plan with its effective edits is carried out as the search does it, in two phases, each trained for a few steps, and
the CPU time of the whole trial is taken, and of what is called for in it:

    train      the training loop, its validation and what the teacher says about the training images
    score      the metric on validation images
    time       ONNX Runtime's timing
    calibrate  passes over the calibration images, for BatchNorm and for what leaves learn without training
    besides    all else: edits, checks, files

Kept for ``benchmarks/search.py --render``:

    python benchmarks/trial_overhead.py
"""

from __future__ import annotations

import argparse
import functools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from engine import resnet
from searches.kept import beside, keep_beside

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.engine import course, figures, trial
from compressor.engine.baseline import Baseline, measure_baseline
from compressor.engine.plan import Decision, Phase, Plan
from compressor.engine.resolve import resolve
from compressor.engine.sensitivity import Sensitivities
from compressor.engine.trial import TrialSettings, run_trial
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.leaf import Shape
from compressor.models import build
from compressor.train.spec import Distillation, TrainingSpec

NETWORKS: dict[str, tuple[Callable[[], torch.nn.Module], Shape, int]] = {
    "LeNet, 28²": (functools.partial(build, "lenet"), (1, 28, 28), 10),
    "ResNet-8, 32²": (functools.partial(build, "resnet8"), (3, 32, 32), 10),
    "ResNet-50, 224²": (lambda: resnet((3, 4, 6, 3), bottleneck=True), (3, 224, 224), 1000),
}
CALIBRATION = 64
TRAINING = TrainingSpec(epochs=1, batch=8, steps_per_epoch=2, distillation=Distillation(logits=0.5), restore_best=False)
"""Two steps stand for the many of a real training, behind which BatchNorm has forgotten what it began with."""
PLAN = Plan(
    (
        Phase("shape", (Decision("magnitude-prune", "all", {}, {"block": 0}),), TRAINING),
        Phase("bits", (Decision("quantize-weights", "all", {"bits": 4}),), TRAINING),
    )
)
CALLS: dict[str, list[tuple[Any, str]]] = {
    "train": [(course, "fit")],
    "score": [(course, "evaluate"), (trial, "evaluate")],
    "time": [(figures, "compare")],
    "calibrate": [(Evidence, "calibrate"), (Evidence, "calibrate_leaves")],
}


class Clocks:
    """CPU seconds by what was called for; a call within another counts with the outer one."""

    def __init__(self) -> None:
        self.spent = dict.fromkeys(CALLS, 0.0)
        self._within = False

    @contextmanager
    def running(self) -> Iterator[None]:
        with ExitStack() as stack:
            for name, places in CALLS.items():
                for home, function in places:
                    stack.enter_context(patch.object(home, function, self._clocked(name, getattr(home, function))))
            yield

    def _clocked(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def clocked(*arguments: Any, **named: Any) -> Any:
            if self._within:
                return function(*arguments, **named)
            self._within, start = True, time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self._within = False
                self.spent[name] += time.process_time() - start

        return clocked


def overhead(name: str, repeats: int) -> dict[str, float]:
    """The least of some trials: what else the machine does only adds."""
    model, shape, classes = NETWORKS[name]
    torch.manual_seed(0)
    baseline, data = _baseline(model(), shape, classes)
    plan = resolve(PLAN, baseline.network, Sensitivities(), baseline.evidence(data, CALIBRATION))
    found = [_trial(plan, baseline, data) for _ in range(repeats)]
    return min(found, key=lambda one: one["besides"])


def _baseline(model: torch.nn.Module, shape: Shape, classes: int) -> tuple[Baseline, Data]:
    def split(count: int) -> HeldSplit:
        return HeldSplit(torch.randint(0, 256, (count, *shape), dtype=torch.uint8), torch.arange(count) % classes)

    names = tuple(map(str, range(classes)))
    data = Data(
        "noise", "a benchmark", split(64), split(16), names, (0.5,) * shape[0], (0.3,) * shape[0], lambda: split(8)
    )
    return measure_baseline(capture(model.eval(), shape, "network"), data), data


def _trial(plan: Plan, baseline: Baseline, data: Data) -> dict[str, float]:
    clocks = Clocks()
    with tempfile.TemporaryDirectory() as folder, clocks.running(), patch.object(course, "_FORGETTING", 1):
        start = time.process_time()
        settings = TrialSettings(calibration=CALIBRATION)
        outcome = run_trial(plan, baseline, data, settings, seed=0, folder=Path(folder))
        spent = time.process_time() - start
    if outcome.status != "complete":
        raise SystemExit(outcome.reason)
    return {**clocks.spent, "besides": spent - sum(clocks.spent.values()), "edits": len(plan.edits)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=NETWORKS, action="append")
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found = beside("trial_overhead")
    for name in options.only or NETWORKS:
        found[name] = overhead(name, options.repeats)
        print(name, {key: round(value, 2) for key, value in found[name].items()}, flush=True)
        keep_beside(found, "trial_overhead")


if __name__ == "__main__":
    main()
