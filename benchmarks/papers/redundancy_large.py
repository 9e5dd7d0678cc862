"""The document's own networks, 128×128 pixels and full width, trained as theirs on a stand-in: CIFAR-10 made larger.

363 ms per training image on one core: for a GPU. Theirs: Adam 1e-3, 20 epochs of 100 batches, focal loss for the
teacher, cross entropy for the student, images turned, mirrored and noisy, 9,666 of them in each of three sets.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.device import on_device, working_device
from compressor.graph.network import Network
from compressor.models import find
from compressor.train.evaluate import evaluate
from compressor.train.spec import Augmentation, Distillation, TrainingSpec
from papers.arms import Arms, Budget, Figures, Job, mean_std
from papers.page import Table
from papers.resumed import fit
from papers.weights import trained

TEACHER, STUDENT = "vgg16-s0", "vgg16-s0-student-4tap"
TRAINING = TrainingSpec(
    lr=1e-3,
    batch=96,
    precision="bfloat16",
    augmentation=Augmentation(flip=True, rotate=60, noise=20**0.5 / 255),
)
ARMS = ("128²: teacher", "128²: student, labels alone", "128²: student, teacher's answers")
THEIRS = {ARMS[0]: "0.34 0.34 0.36", ARMS[2]: "0.29 0.30 0.30"}


@dataclass(frozen=True)
class Large:
    """``steps``: batches in an epoch; 0 takes all images once."""

    budget: Budget
    steps: int
    test: int = 0
    """Test images; 0 means all."""


OWN = Large(Budget("full", 20, train=9666), 100)
TINY = Large(Budget("rehearsal", 1, train=100), 1, test=20)


def jobs(seeds: Sequence[int], large: Large) -> Iterator[Job]:
    """A set per seed."""
    for seed in seeds:
        for name in ARMS:
            yield Job(name, seed, large.budget, functools.partial(_arm, name, seed, large))


def _arm(name: str, seed: int, large: Large) -> Figures:
    data = _data(seed, large)
    if name == ARMS[0]:
        return _scored(_teacher(seed, large), data, large)
    network, spec, teacher = _new(STUDENT, seed), _training(large), None
    if name == ARMS[2]:
        teacher, spec = _teacher(seed, large), replace(spec, distillation=Distillation(logits=0.5))
    fit(network, data, spec, seed=seed, teacher=teacher)
    return _scored(network, data, large)


def _teacher(seed: int, large: Large) -> Network:
    network, spec = _new(TEACHER, seed), replace(_training(large), loss="focal")
    trained(network, _data(seed, large), spec, seed=seed, page="vgg_redundancy", name=TEACHER)
    return network


def _training(large: Large) -> TrainingSpec:
    return replace(TRAINING, epochs=large.budget.epochs, steps_per_epoch=large.steps)


def _scored(network: Network, data: Data, large: Large) -> Figures:
    """Error on test images, opened here, once, on the device that trains."""
    test, cost = data.open_test(), network_cost(network)
    with on_device(network, working_device()):
        right = evaluate(network, data, test.take(torch.arange(large.test)) if large.test else test).quality
    return {"error": 1 - right, "parameters": cost.parameter_count, "macs": cost.mac_count}


@functools.lru_cache(1)
def _data(seed: int, large: Large) -> Data:
    """A set of its own per seed: other training images, other validation images."""
    spec = DataSpec(name="cifar-10", size=128, limit=large.budget.train, validation=1000, seed=seed)
    return load_data(spec)


def _new(name: str, seed: int) -> Network:
    torch.manual_seed(seed)
    entry = find(name)
    return capture(entry.build(), entry.input_shape, name)


def table(arms: Arms) -> list[Table]:
    """Theirs beside ours, where it has been trained."""
    if not arms.of(ARMS[0], OWN.budget):
        return []
    rows = []
    for name in ARMS:
        errors = arms.values(name, OWN.budget, "error")
        rows.append((name.removeprefix("128²: "), THEIRS.get(name, ""), mean_std(errors, digits=3)))
    note = f"CIFAR-10 made larger stands in for Caltech-256; {OWN.budget.text}, of {OWN.steps} batches of 96 each."
    return [Table("At 128×128, full width", ("arm", "error theirs (sets)", "error ours"), rows, (note,))]
