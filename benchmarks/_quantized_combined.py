"""Residual networks by several plugins together, beside Torch-Pruning and ONNX Runtime's quantization; both trained as
long.

Ours: blocks removed, the others half as wide inside, three epochs; then 8-bit integers whose weights lie at 4 bits in
the file, the first layer in floats where measured time says so, and one epoch behind the rounding. Theirs: every width
halved, four epochs, then each of the fast forms of ``quantize_static``.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from _cifar_networks import NETWORKS
from _quantized_cifar import Kept, answering, at_hand, behind_rounding
from _quantizers import STATIC, evidence_of, placed, static_file
from _report import Row, speed
from papers.peers import half
from torch import Tensor

from compressor.data.dataset import Data
from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.measure.latency import FULL, compare
from compressor.train.fit import fit
from compressor.train.spec import Augmentation, Distillation, TrainingSpec

HALF = {"ratio": 0.5}
EDITS = {
    "ResNet-8": (
        Edit("layer-removal", "stages.0.0.conv1..add"),
        Edit("magnitude-prune", "stages.1.0.conv1"),
        Edit("magnitude-prune", "stages.2.0.conv1", HALF),
        Edit("magnitude-prune", "stages.2.0.conv2", {"ratio": 0.25}),
    ),
    "ResNet-20": (
        Edit("layer-removal", "stages.0.1.conv1..add_1"),
        Edit("layer-removal", "stages.2.1.conv1..add_7"),
        Edit("magnitude-prune", "stages.1.0.conv1"),
        Edit("magnitude-prune", "stages.1.1.conv1"),
        Edit("magnitude-prune", "stages.1.2.conv1"),
        Edit("magnitude-prune", "stages.2.0.conv1", HALF),
        Edit("magnitude-prune", "stages.2.2.conv1", HALF),
    ),
}
BITS, EPOCHS, BEHIND = 4, 4, 1
"""Of weights in the file; of training in all; of those behind the rounding."""
OURS = "layer-removal, magnitude-prune, quantize"


def combined_rows(names: Sequence[str], seeds: Sequence[int], folder: Path, kept: Kept) -> Iterator[Row]:
    """Network by network and seed by seed: of the training behind the edits, of one trained network each."""
    for name in names:
        data, network, known = at_hand(name, folder)
        baseline = to_onnx(network)
        answers, truth = answering(data)
        titles: Row = {"network": f"{name}, {NETWORKS[name].epochs} epochs"}
        for seed in seeds:
            if kept({**titles, "file": OURS, "seed": seed}):
                continue
            files = {"float": baseline, **_halved(network, data, known, seed)}
            files[OURS] = to_onnx(_ours(network, EDITS[name], data, known, seed))
            for file, content in files.items():
                yield {
                    **titles,
                    "file": file,
                    "seed": seed,
                    "test %": f"{100 * (answers(content).argmax(1) == truth).mean():.2f}",
                    "bytes": len(content),
                    "speed over float": speed(compare(baseline, content, protocol=FULL)),
                    "batch of 64": speed(compare(baseline, content, batch=64)),
                }


def _halved(network: Network, data: Data, known: Tensor, seed: int) -> dict[str, bytes]:
    halved = half(network)
    fit(halved, data, _whole(EPOCHS), teacher=network, seed=seed)
    integers = {f"Torch-Pruning ½, {name}": static_file(halved, known, *form) for name, form in STATIC.items()}
    return {"Torch-Pruning ½": to_onnx(halved), **integers}


def _ours(network: Network, edits: Sequence[Edit], data: Data, known: Tensor, seed: int) -> Network:
    small = network.fork()
    for edit in edits:
        apply_edit(small, edit, evidence_of(known))
    fit(small, data, _whole(EPOCHS - BEHIND), teacher=network, seed=seed)
    integers = placed(small, known, bits=BITS)
    fit(integers, data, behind_rounding(BEHIND), teacher=network, seed=seed)
    return integers


def _whole(epochs: int) -> TrainingSpec:
    return TrainingSpec(
        epochs=epochs, batch=128, optimizer="sgd", lr=0.1, schedule="one-cycle", weight_decay=5e-4,
        augmentation=Augmentation(flip=True, shift=2), distillation=Distillation(logits=0.5, once=True),
    )  # fmt: skip


def over_seeds(rows: Sequence[Row]) -> list[Row]:
    """One row per network and file: mean and deviation of accuracy, the rest of the seed in the middle by accuracy."""
    by_file: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_file[str(row["network"]), str(row["file"])].append(row)
    return [_summary(each) for each in by_file.values()]


def _summary(rows: Sequence[Row]) -> Row:
    found = [float(row["test %"]) for row in rows]
    spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    middle = dict(sorted(rows, key=lambda row: float(row["test %"]))[len(rows) // 2])
    middle.pop("seed")
    middle["network"] = str(middle["network"]).partition(",")[0]
    middle["file"] = str(middle["file"]).replace("½, ONNX Runtime,", "½,")
    return {**middle, "test %": f"{statistics.mean(found):.2f}{spread} (n = {len(found)})"}
