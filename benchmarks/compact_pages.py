"""The figures on the pages of magnitude-prune and quantize-weights: LeNet on Fashion-MNIST, before and after training.

    python benchmarks/compact_pages.py [--seeds 3] [--train 12000] [--epochs 2]

As ``plugin_pages.py``: for each seed a LeNet is trained; every variant starts from its weights and is trained as long
again, or in each of its rounds. ``rewound`` goes back to the weights from before the training, not those behind it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from _report import write_report
from plugin_pages import Variant, row

from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edit
from compressor.engine.course import rewind
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.models import build
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec


@dataclass(frozen=True)
class Recipe:
    """One plugin at some sites, with training, in rounds."""

    name: str
    plugin: str
    sites: tuple[str, ...]
    choice: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    rounds: int = 1
    rewound: bool = False


PACKED = ("conv2", "fc1", "fc2", "fc3")
WEIGHTS = {"structure": "weights"}
RECIPES = (
    Recipe("quantize-weights 8 bits", "quantize-weights", PACKED, {"bits": 8}),
    Recipe("quantize-weights 4 bits", "quantize-weights", PACKED, {"bits": 4}),
    Recipe("4 bits, clip largest", "quantize-weights", PACKED, {"bits": 4}, {"clip": "largest"}),
    Recipe("4 bits, not trainable", "quantize-weights", PACKED, {"bits": 4}, {"trainable": False}),
    Recipe("magnitude-prune half of fc1, fc2", "magnitude-prune", ("fc1", "fc2"), {"ratio": 0.5}),
    Recipe("weights 50 %", "magnitude-prune", ("all",), {"fraction": 0.5}, WEIGHTS),
    Recipe("weights 90 %", "magnitude-prune", ("all",), {"fraction": 0.9}, WEIGHTS),
    Recipe("weights 90 %, 3 rounds", "magnitude-prune", ("all",), {"fraction": 0.9}, {**WEIGHTS, "rounds": 3}, 3),
    Recipe("as before, rewound", "magnitude-prune", ("all",), {"fraction": 0.9}, {**WEIGHTS, "rounds": 3}, 3, True),
    Recipe("weights 95 %, 3 rounds", "magnitude-prune", ("all",), {"fraction": 0.95}, {**WEIGHTS, "rounds": 3}, 3),
)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", type=int, default=3)
    arguments.add_argument("--train", type=int, default=12_000)
    arguments.add_argument("--epochs", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    data = load_data(DataSpec(name="fashion-mnist", limit=options.train))
    runs: dict[str, list[Variant]] = {}
    for seed in range(options.seeds):
        for variant in variants(data, TrainingSpec(epochs=options.epochs), seed):
            runs.setdefault(variant.name, []).append(variant)
    baseline = to_onnx(runs["baseline"][0].network)
    notes = [
        f"n = {options.seeds} seeds; {options.train} training images, {options.epochs} epochs (Adam 1e-3, batch 64): "
        "for the baseline and again for every variant and round, starting from the baseline's weights",
        "accuracy on the validation split, mean ± standard deviation over the seeds; untrained: after one rewrite",
        "KiB: Σ parameters · bits / 8 / 1024, surviving weights only, positions not counted; bytes: of the ONNX file; "
        "speed-ups paired, 95 % interval in brackets",
    ]
    command = f"python benchmarks/compact_pages.py --seeds {options.seeds} --train {options.train}"
    rows = [row(found, baseline) for found in runs.values()]
    write_report("compact_pages", "Pruning and quantization alone: LeNet, Fashion-MNIST", command, rows, notes)


def variants(data: Any, spec: TrainingSpec, seed: int) -> Iterator[Variant]:
    torch.manual_seed(seed)
    network = capture(build("lenet"), (1, 28, 28))
    first = network.module.state_dict()
    first = {name: tensor.clone() for name, tensor in first.items()}
    fit(network, data, spec, seed=seed)
    accuracy = evaluate(network, data, data.validation).accuracy
    yield Variant("baseline", network, accuracy, accuracy)
    longer = network.fork()
    fit(longer, data, spec, seed=seed)
    yield Variant("baseline, trained on", longer, accuracy, evaluate(longer, data, data.validation).accuracy)
    evidence = Evidence(data.calibration_batches(512))
    for recipe in RECIPES:
        yield carried_out(recipe, network, first, data, spec, seed, evidence)


def carried_out(
    recipe: Recipe,
    baseline: Network,
    first: dict[str, torch.Tensor],
    data: Any,
    spec: TrainingSpec,
    seed: int,
    evidence: Evidence,
) -> Variant:
    network, untrained = baseline.fork(), []
    for number in range(recipe.rounds):
        for site in recipe.sites:
            apply_edit(network, Edit(recipe.plugin, site, recipe.choice, recipe.options), evidence)
        evidence.calibrate(network)
        untrained.append(evaluate(network, data, data.validation).accuracy)
        if recipe.rewound:
            rewind(network, first)
        fit(network, data, spec, seed=seed + number)
    return Variant(recipe.name, network, untrained[0], evaluate(network, data, data.validation).accuracy)


if __name__ == "__main__":
    main()
