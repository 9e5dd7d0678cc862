"""Torch-Pruning as its users search with it: a grid of ratios, scopes and importances, each pruned and trained.

Every network of the grid is trained as long as a trial of the toolkit's, by the same recipe with the baseline as
teacher. With ONNX Runtime's quantization each has a second file: dense layers in dynamic 8 bits where that is the
faster form (LeNet), every layer in static 8 bits elsewhere. The order is shuffled by the seed.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from papers.peers import dynamic_int8, pruned, static_int8

from compressor.data.load import load_data
from compressor.engine.baseline import measure_baseline
from compressor.engine.candidate import Metrics
from compressor.engine.figures import figures, quick_latency
from compressor.engine.final import as_fed
from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.graph.pt2 import read_pt2
from compressor.measure.quality import onnx_quality
from compressor.task import Quality
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from searches.points import Point, Search, cpu_seconds, point
from searches.tasks import Task

GRID = "torch-pruning"
QUANTIZED = "torch-pruning, 8 bits"
RATIOS = (0.2, 0.35, 0.5, 0.65, 0.8)
IMPORTANCES = ("l1", "l2", "lamp", "fpgm")
CALIBRATION = 512
"""Training images from which 8-bit scales are taken."""


@dataclass(frozen=True)
class Setting:
    ratio: float
    everywhere: bool
    """One ranking for the whole network, rather than one a layer."""
    importance: str

    def applied(self, network: Network) -> Network:
        """The network, narrowed and not yet trained."""
        import torch_pruning.pruner.importance as known

        importances: Mapping[str, Callable[[], Callable[..., object]]] = {
            "l1": lambda: known.MagnitudeImportance(p=1),
            "l2": lambda: known.MagnitudeImportance(p=2),
            "lamp": known.LAMPImportance,
            "fpgm": known.FPGMImportance,
        }
        return pruned(network, self.ratio, importances[self.importance](), everywhere=self.everywhere)


def settings(seed: int) -> list[Setting]:
    """The whole grid, in an order of the seed's."""
    grid = [Setting(*chosen) for chosen in itertools.product(RATIOS, (False, True), IMPORTANCES)]
    random.Random(seed).shuffle(grid)
    return grid


def search(task: Task, seed: int, work: Path) -> tuple[Search, Search]:
    """The grid's first networks, in floats alone and with a second file in 8 bits."""
    start = cpu_seconds()
    recipe = task.recipe_of("random", seed, task.grid)
    data = load_data(recipe.data)
    baseline = measure_baseline(read_pt2(task.baseline(work)), data)
    spec = replace(recipe.training, epochs=task.epochs * len(recipe.phases))
    images = [inputs for inputs, _ in data.calibration_batches(CALIBRATION)]

    def figures_of(network: Network, file: bytes, quality: float) -> Metrics:
        """Timed as a trial's file is."""
        latency = quick_latency(baseline, file, batch=1, seed=seed)
        return figures(network, file, Quality.of(data.task.metric, quality), latency)

    floats: list[Point] = []
    both: list[Point] = []
    extra = 0.0
    for setting in settings(seed)[: task.grid]:
        network = setting.applied(baseline.network)
        fit(network, data, spec, teacher=baseline.network, seed=seed)
        score = evaluate(network, data, data.validation)
        measured = figures_of(network, to_onnx(network.eval()), score.quality)
        floats.append(point(cpu_seconds() - start - extra, measured, baseline.metrics, task.drop))
        both.append(replace(floats[-1], cpu=cpu_seconds() - start))
        began = cpu_seconds()
        file = dynamic_int8(network) if task.dynamic else static_int8(network, images)
        quality = onnx_quality(file, as_fed(network, data, data.validation), data.task)
        measured = figures_of(network, file, quality)
        both.append(point(cpu_seconds() - start, measured, baseline.metrics, task.drop))
        extra += cpu_seconds() - began
    return Search(GRID, seed, tuple(floats)), Search(QUANTIZED, seed, tuple(both))
