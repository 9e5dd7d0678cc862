"""ResNet-8 by several plugins together, beside Torch-Pruning and ONNX Runtime's quantization; both trained as long.

Ours: the first block removed, the others half as wide inside, the last a quarter narrower, three epochs; then 8-bit
integers whose weights lie at 4 bits in the file, the first layer in floats where measured time says so, and one epoch
behind the rounding. Theirs: every width halved, four epochs, then each of the fast forms of ``quantize_static``.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

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

EDITS = (
    Edit("layer-removal", "stages.0.0.conv1..add"),
    Edit("magnitude-prune", "stages.1.0.conv1"),
    Edit("magnitude-prune", "stages.2.0.conv1", {"ratio": 0.5}),
    Edit("magnitude-prune", "stages.2.0.conv2", {"ratio": 0.25}),
)
BITS, EPOCHS, BEHIND = 4, 4, 1
"""Of weights in the file; of training in all; of those behind the rounding."""
OURS = "layer-removal, magnitude-prune, quantize"


def combined_rows(seeds: Sequence[int], folder: Path, kept: Kept) -> Iterator[Row]:
    """Seed by seed: of the training behind the edits, of one trained network."""
    data, network, known = at_hand("ResNet-8", folder)
    baseline = to_onnx(network)
    answers, truth = answering(data)
    for seed in seeds:
        if kept({"file": OURS, "seed": seed}):
            continue
        halved = half(network)
        fit(halved, data, _whole(EPOCHS), teacher=network, seed=seed)
        files = {"Torch-Pruning ½": to_onnx(halved)}
        files |= {f"Torch-Pruning ½, {name}": static_file(halved, known, *form) for name, form in STATIC.items()}
        files[OURS] = to_onnx(_ours(network, data, known, seed))
        for file, content in {"float": baseline, **files}.items():
            yield {
                "file": file,
                "seed": seed,
                "test %": f"{100 * (answers(content).argmax(1) == truth).mean():.2f}",
                "bytes": len(content),
                "speed over float": speed(compare(baseline, content, protocol=FULL)),
                "batch of 64": speed(compare(baseline, content, batch=64)),
            }


def _ours(network: Network, data: Data, known: Tensor, seed: int) -> Network:
    small = network.fork()
    for edit in EDITS:
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
    """One row per file: mean and standard deviation of accuracy, the rest of the seed in the middle by accuracy."""
    by_file: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_file[str(row["file"])].append(row)
    return [_summary(each) for each in by_file.values()]


def _summary(rows: Sequence[Row]) -> Row:
    found = [float(row["test %"]) for row in rows]
    spread = f" ± {statistics.stdev(found):.2f}" if len(found) > 1 else ""
    middle = dict(sorted(rows, key=lambda row: float(row["test %"]))[len(rows) // 2])
    middle.pop("seed")
    return {**middle, "test %": f"{statistics.mean(found):.2f}{spread} (n = {len(found)})"}
