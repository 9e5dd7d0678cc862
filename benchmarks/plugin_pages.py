"""The figures on the plugins' pages: LeNet on Fashion-MNIST, every rewrite alone, before and after short training.

    python benchmarks/plugin_pages.py [--seeds 3] [--train 20000] [--epochs 2]

For each seed a LeNet is trained; each variant starts from its weights and is trained as long again, and so is the
baseline for comparison. Accuracy is that of the validation split, mean ± standard deviation over the seeds; bytes are
those of the ONNX file; speed-ups are paired against the baseline's file with their 95 % interval, for 1 and 64 images.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from _report import Cell, write_report

from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.measure.latency import compare
from compressor.models import build
from compressor.plugin import sites_of
from compressor.registry import make
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec

BINARIZE: Mapping[str, tuple[dict[str, Any], list[str]]] = {
    "fc3": ({}, ["fc3"]),
    "fc2, fc3": ({}, ["fc2", "fc3"]),
    "fc1, fc2, fc3": ({}, ["fc1", "fc2", "fc3"]),
    "all five layers": ({}, ["conv1", "conv2", "fc1", "fc2", "fc3"]),
    "fc3, binary inputs": ({"activations": "binary"}, ["fc3"]),
    "fc2, fc3, binary inputs": ({"activations": "binary"}, ["fc2", "fc3"]),
    "fc1, fc2, fc3, binary inputs": ({"activations": "binary"}, ["fc1", "fc2", "fc3"]),
}


@dataclass(frozen=True)
class Variant:
    """One variant at one seed."""

    name: str
    network: Network
    untrained: float
    trained: float


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--train", type=int, default=20_000)
    arguments.add_argument("--epochs", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    data = load_data(DataSpec(name="fashion-mnist", limit=options.train))
    runs: dict[str, list[Variant]] = {}
    for seed in range(options.seeds):
        for variant in _variants(data, TrainingSpec(epochs=options.epochs), seed):
            runs.setdefault(variant.name, []).append(variant)
    baseline = to_onnx(runs["baseline"][0].network)
    notes = [
        f"n = {options.seeds} seeds; {options.train} training images, {options.epochs} epochs (Adam 1e-3, batch 64): "
        "for the baseline and again for every variant, which starts from the baseline's weights",
        "accuracy on the validation split, mean ± standard deviation over the seeds; untrained: after the rewrite and "
        "recalibration of BatchNorm",
        "KiB: Σ parameters · bits / 8 / 1024; bytes: of the ONNX file; speed-ups paired, 95 % interval in brackets",
    ]
    command = f"python benchmarks/plugin_pages.py --seeds {options.seeds} --train {options.train}"
    rows = [row(variants, baseline) for variants in runs.values()]
    write_report("plugin_pages", "Every rewrite of the first plugins alone: LeNet, Fashion-MNIST", command, rows, notes)


def _variants(data: Any, spec: TrainingSpec, seed: int) -> Iterator[Variant]:
    torch.manual_seed(seed)
    network = capture(build("lenet"), (1, 28, 28))
    fit(network, data, spec, seed=seed)
    accuracy = evaluate(network, data, data.validation).accuracy
    yield Variant("baseline", network, accuracy, accuracy)
    evidence = Evidence(data.calibration_batches(512))
    longer = network.fork()
    fit(longer, data, spec, seed=seed)
    yield Variant("baseline, trained on", longer, accuracy, evaluate(longer, data, data.validation).accuracy)
    plans = {f"binarize {name}": ("binarize", choices, paths) for name, (choices, paths) in BINARIZE.items()}
    for site in sites_of(make("layer-removal"), network):
        plans[f"layer-removal {site.path} ({site.about.rpartition(': ')[2]})"] = ("layer-removal", {}, [site.path])
    for name, (plugin, options, paths) in plans.items():
        variant = network.fork()
        for path in paths:
            apply_edit(variant, Edit(plugin, path, options=options), evidence)
        evidence.calibrate(variant)
        untrained = evaluate(variant, data, data.validation).accuracy
        fit(variant, data, spec, seed=seed)
        yield Variant(name, variant, untrained, evaluate(variant, data, data.validation).accuracy)


def row(variants: list[Variant], baseline: bytes) -> dict[str, Cell]:
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


def _spread(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{100 * statistics.mean(values):.1f} ± {100 * deviation:.1f} %"


if __name__ == "__main__":
    main()
