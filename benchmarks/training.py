"""What makes training fast, one thing after the other, against plain PyTorch.

Every line of the first table adds one thing to the line above it. The first is a loop as one writes it: a Dataset, a
DataLoader, random crops and mirroring per sample, Adam. The second table is about trials of a search: all begin with
the weights of one trained network, which is rewritten, and not with new ones. Three minutes on a quiet core:

    python benchmarks/training.py [repeats]
"""

from __future__ import annotations

import functools
import random
import resource
import statistics
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from _report import RESULTS, spread, surroundings
from papers.page import Page, Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edits
from compressor.engine.control import reinitialise
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.models import find
from compressor.train.batches import Batches
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.layout import channels_last, laid
from compressor.train.optimizers import make_optimizer
from compressor.train.precision import autocast, usable
from compressor.train.spec import Augmentation, Precision, TrainingSpec

BATCH = 64
SHIFT = 2
NETWORKS = {
    "LeNet": ("lenet", "fashion-mnist", 960),
    "small CNN (A2)": ("a2", "fashion-mnist", 960),
    "ResNet-8": ("resnet8", "cifar-10", 384),
}
"""Name → network of the zoo, data, images per repetition."""


@dataclass(frozen=True)
class Variant:
    """A way to train."""

    name: str
    source: str
    """``samples`` or ``workers``: a DataLoader in this process or in two others; ``memory``: whole batches."""
    fused: bool = False
    layout: bool = False
    precision: Precision = "float32"


PLAIN = Variant("plain PyTorch: DataLoader, per-sample augmentation", "samples")
MEMORY = Variant("+ data in memory, whole-batch augmentation", "memory")
LADDER = (
    PLAIN,
    Variant("the same with two worker processes", "workers"),
    MEMORY,
    replace(MEMORY, name="+ fused optimizer", fused=True),
    replace(MEMORY, name="+ channels last", fused=True, layout=True),
    replace(MEMORY, name="+ bfloat16", fused=True, layout=True, precision="bfloat16"),
)


# --- plain PyTorch -------------------------------------------------------------------------------------------------


class Samples(Dataset[tuple[Tensor, int]]):
    """One image at a time: to 0…1, mirrored, shifted, normalised."""

    def __init__(self, data: Data, count: int) -> None:
        self.images, self.labels = data.train.images[:count], data.train.targets()[:count]
        self.mean = torch.tensor(data.mean).view(-1, 1, 1)
        self.std = torch.tensor(data.std).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images[index].float() / 255
        if random.random() < 0.5:
            image = image.flip(2)
        height, width = image.shape[1:]
        framed = F.pad(image, (SHIFT,) * 4)
        top, left = random.randint(0, 2 * SHIFT), random.randint(0, 2 * SHIFT)
        image = framed[:, top : top + height, left : left + width]
        return (image - self.mean) / self.std, int(self.labels[index])


def batches(variant: Variant, data: Data, count: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One pass over ``count`` images."""
    if variant.source == "memory":
        limited = replace(data, train=data.train.take(torch.arange(count)))
        ours = Batches(limited, BATCH, Augmentation(flip=True, shift=SHIFT), 0, torch.device("cpu"))
        for _, batch in zip(range(ours.per_pass), ours, strict=False):
            yield batch.inputs, batch.target
        return
    workers = 2 if variant.source == "workers" else 0
    yield from DataLoader(Samples(data, count), batch_size=BATCH, shuffle=True, num_workers=workers)


# --- one step after the other --------------------------------------------------------------------------------------


def feed(variant: Variant, data: Data, count: int) -> None:
    """Make the batches and train on none."""
    for _ in batches(variant, data, count):
        pass


def train(variant: Variant, network: Network, data: Data, count: int) -> None:
    """One pass."""
    precision = usable(variant.precision, network)
    with ExitStack() as stack:
        if variant.layout:
            stack.enter_context(channels_last(network, precision))
        optimizer = _optimizer(variant, network.train().module)
        for images, labels in batches(variant, data, count):
            with autocast(network.device, precision):
                logits = network(laid(images) if variant.layout else images)
            optimizer.zero_grad()
            torch.autograd.backward(F.cross_entropy(logits.float(), labels))
            optimizer.step()


def _optimizer(variant: Variant, module: nn.Module) -> torch.optim.Optimizer:
    if variant.fused:
        return make_optimizer(TrainingSpec(), module.parameters())
    return torch.optim.Adam(module.parameters())


def cpu_seconds() -> float:
    """CPU time of this process and of the worker processes that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def timed(action: Any, *arguments: Any) -> float:
    start = cpu_seconds()
    action(*arguments)
    return cpu_seconds() - start


def ladder(repeats: int) -> Table:
    """All variants in turn, ``repeats`` times after a warm-up, so that what else the machine does meets them all."""
    rows: list[list[str]] = []
    for label, (name, source, count) in NETWORKS.items():
        data, network = _data(source), _new(name)
        fed: dict[str, list[float]] = {variant.name: [] for variant in LADDER}
        trained: dict[str, list[float]] = {variant.name: [] for variant in LADDER}
        for repeat in range(repeats + 1):
            for variant in LADDER:
                times = timed(feed, variant, data, count), timed(train, variant, network.fork(), data, count)
                if repeat:
                    fed[variant.name].append(times[0] / count)
                    trained[variant.name].append(times[1] / count)
        first = statistics.median(trained[PLAIN.name])
        rows += [
            [
                label,
                variant.name,
                spread(fed[variant.name], scale=1e3),
                spread(trained[variant.name], scale=1e3),
                f"{first / statistics.median(trained[variant.name]):.2f}×",
            ]
            for variant in LADDER
        ]
    notes = [
        f"CPU milliseconds per image, workers' included, median (least…most) of n = {repeats} passes after one that "
        f"warms up; batches of {BATCH}, one thread, mirrored and shifted by up to {SHIFT} pixels. The variants take "
        "turns.",
        f"bfloat16 here: {usable('bfloat16', _new('lenet'))} was used. Weights, loss and optimizer are float32 in "
        "every line.",
        "With workers a pass includes starting them; wall-clock can be shorter than CPU time only while cores are "
        "free.",
    ]
    columns = ["network", "training", "batches alone, ms/image", "with training, ms/image", "gain"]
    return Table("One step after the other", columns, rows, notes)


# --- one warm start for all trials ---------------------------------------------------------------------------------

HALVED = [Edit("magnitude-prune", path, {"ratio": 0.5}, {"block": 0}) for path in ("conv1", "conv2", "fc1", "fc2")]
"""What the trial does to LeNet: half of all channels and features go."""
SAMPLES = 3_000
QUARTER = SAMPLES // BATCH // 4
LONGEST = 40
"""Quarters of an epoch after which a network that has not arrived is given up."""


def warm_start(seeds: int) -> Table:
    """Training until the validation accuracy is what six epochs from new weights lead to."""
    lines: dict[str, list[tuple[float, float]]] = {"new weights": [], "one warm start": []}
    shared, targets = [], []
    for seed in range(seeds):
        data = _data("fashion-mnist", SAMPLES)
        spec = TrainingSpec(epochs=6, batch=BATCH, lr=1e-3)
        trained = _new("lenet", seed)
        shared.append(timed(functools.partial(fit, trained, data, spec, seed=seed)))
        halved = trained.fork()
        evidence = Evidence(data.calibration_batches(512))
        apply_edits(halved, HALVED, evidence)
        fresh = halved.fork()
        reinitialise(fresh, seed)
        reference = fresh.fork()
        fit(reference, data, spec, seed=seed)
        targets.append(evaluate(reference, data, data.validation).quality)
        for name, network in (("new weights", fresh), ("one warm start", halved)):
            lines[name].append(until(network, data, targets[-1], seed))
    rows = [
        [name, spread([epochs for epochs, _ in found]), spread([seconds for _, seconds in found])]
        for name, found in lines.items()
    ]
    notes = [
        f"LeNet on {SAMPLES:,} images of Fashion-MNIST, half of its channels and features removed. Training goes on "
        "until validation accuracy reaches what six epochs from new weights lead to (mean "
        f"{100 * statistics.mean(targets):.1f} %), looked at every quarter of an epoch, at most {LONGEST / 4:g} "
        f"epochs; median (least…most) of n = {seeds} seeds.",
        f"The shared network itself took {spread(shared)} CPU seconds, once for all trials of a study.",
    ]
    return Table("One warm start for all trials", ["trial begins with", "epochs", "CPU seconds"], rows, notes)


def until(network: Network, data: Data, accuracy: float, seed: int) -> tuple[float, float]:
    """Epochs and CPU seconds until validation reaches ``accuracy``."""
    spec = TrainingSpec(epochs=1, batch=BATCH, lr=1e-3, steps_per_epoch=QUARTER, restore_best=False)
    seconds = 0.0
    for quarter in range(1, LONGEST + 1):
        seconds += timed(functools.partial(fit, network, data, spec, seed=100 * seed + quarter))
        if evaluate(network, data, data.validation).quality >= accuracy:
            break
    return quarter / 4, seconds


@functools.cache
def _data(name: str, limit: int = 0) -> Data:
    return load_data(DataSpec(name=name, limit=limit))


def _new(name: str, seed: int = 0) -> Network:
    entry = find(name)
    torch.manual_seed(seed)
    return capture(entry.build(), entry.input_shape, name)


def main(repeats: int = 5) -> None:
    torch.set_num_threads(1)
    random.seed(0)
    page = Page(
        name="training",
        title="What makes training fast",
        about="Each line of the first table adds one thing to the one above it; all of them together are what the "
        "toolkit's own loop does (bfloat16 where a recipe says `training.precision`).",
        commands=["python benchmarks/training.py"],
        tables=[ladder(repeats), warm_start(repeats)],
        claims=[],
    )
    path = RESULTS / f"{page.name}.md"
    path.write_text(page.markdown([surroundings()]), encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
