"""What the pages about single rewrites share: a LeNet on Fashion-MNIST per seed, variants of it, a row for each.

For each seed a LeNet is trained; every variant starts from its weights and is trained as long again, and so is the
baseline for comparison. Accuracy is that of the validation split, mean ± standard deviation over the seeds; bytes are
those of the ONNX file; speed-ups are paired against the baseline's file with their 95 % interval, for 1 and 64 images.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from _report import Cell, write_report
from torch import Tensor

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.measure.latency import compare
from compressor.models import build
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec


@dataclass(frozen=True)
class Variant:
    """One variant at one seed, with its accuracy behind the rewrite and behind the training."""

    name: str
    network: Network
    untrained: float
    trained: float


@dataclass(frozen=True)
class Start:
    """A trained LeNet, and what it takes to go on from it."""

    network: Network
    first: dict[str, Tensor]
    """The weights from before its training."""
    data: Data
    spec: TrainingSpec
    seed: int
    evidence: Evidence

    def accuracy(self, network: Network) -> float:
        return evaluate(network, self.data, self.data.validation).quality

    def train(self, network: Network, more: int = 0) -> None:
        """Once more as long as the baseline; ``more`` is added to the seed."""
        fit(network, self.data, self.spec, seed=self.seed + more)


def write_page(
    name: str, title: str, about: str, variants: Callable[[Start], Iterator[Variant]], untrained: str
) -> None:
    """Run every variant at every seed and write ``docs/results/{name}.md``. ``untrained``: what that column means."""
    arguments = argparse.ArgumentParser(description=about.partition("\n")[0])
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--train", type=int, default=12_000)
    arguments.add_argument("--epochs", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    data = load_data(DataSpec(name="fashion-mnist", limit=options.train))
    runs: dict[str, list[Variant]] = {}
    for seed in range(options.seeds):
        start = _start(data, TrainingSpec(epochs=options.epochs), seed)
        for variant in (*_baselines(start), *variants(start)):
            runs.setdefault(variant.name, []).append(variant)
    baseline = to_onnx(runs["baseline"][0].network)
    notes = [
        f"n = {options.seeds} seeds; {options.train} training images, {options.epochs} epochs (Adam 1e-3, batch 64): "
        "for the baseline and again for every variant, or in each of its rounds, from the baseline's weights",
        f"accuracy on the validation split, mean ± standard deviation over the seeds; untrained: {untrained}",
        "KiB: Σ parameters · bits / 8 / 1024, pruned weights and positions not counted; bytes: of the ONNX file; "
        "speed-ups paired, 95 % interval in brackets",
    ]
    command = f"python benchmarks/{name}.py --seeds {options.seeds} --train {options.train}"
    write_report(name, title, command, [_row(found, baseline) for found in runs.values()], notes)


def _start(data: Data, spec: TrainingSpec, seed: int) -> Start:
    torch.manual_seed(seed)
    network = capture(build("lenet"), (1, 28, 28))
    first = {name: tensor.clone() for name, tensor in network.module.state_dict().items()}
    fit(network, data, spec, seed=seed)
    return Start(network, first, data, spec, seed, Evidence(data.calibration_batches(512)))


def _baselines(start: Start) -> Iterator[Variant]:
    accuracy = start.accuracy(start.network)
    yield Variant("baseline", start.network, accuracy, accuracy)
    longer = start.network.fork()
    start.train(longer)
    yield Variant("baseline, trained on", longer, accuracy, start.accuracy(longer))


def _row(variants: Sequence[Variant], baseline: bytes) -> dict[str, Cell]:
    first = variants[0].network
    cost, model = network_cost(first), to_onnx(first)
    speeds = [compare(baseline, model, batch=batch) for batch in (1, 64)]
    return {
        "variant": variants[0].name,
        "parameters": cost.parameter_count,
        "MACs": cost.mac_count,
        "KiB": f"{cost.weight_bytes / 1024:.2f}",
        "ONNX bytes": len(model),
        "untrained": _spread([variant.untrained for variant in variants]),
        "trained": _spread([variant.trained for variant in variants]),
        "batch 1": f"{speeds[0].speedup:.2f} [{speeds[0].low:.2f}, {speeds[0].high:.2f}]",
        "batch 64": f"{speeds[1].speedup:.2f} [{speeds[1].low:.2f}, {speeds[1].high:.2f}]",
    }


def _spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * deviation:.1f} %"
