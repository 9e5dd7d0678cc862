"""One arm of the study: one tiling, one set, one repeat, trained and scored.

Tilings that share set and repeat share seed, samples and order of batches, so that they differ in nothing but pixels.
Training and validation images are tiled alike; the test split is not touched. The images are normalised after the
tiling, by the figures the model was trained with. Augmentation is left out, since it would move the tiles, and the
weights are those after the last epoch, so that the validation images choose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from compressor.data.dataset import Data, Split
from compressor.data.held import HeldSplit
from compressor.data.labels import class_indices
from compressor.data.stratify import stratified
from compressor.engine.control import reinitialise
from compressor.errors import DataError
from compressor.graph.network import Network
from compressor.stored import Figure, Stored
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.history import EpochReport
from compressor.train.spec import Augmentation, Distillation, TrainingSpec
from compressor_plugins.redundancy.tilings import NAMES, Tiling, TilingName, tile

if TYPE_CHECKING:
    from compressor_plugins.redundancy.study import Redundancy


@dataclass(frozen=True)
class Arm:
    """``set`` and ``repeat`` count from 1."""

    tiling: TilingName
    set: int
    repeat: int

    @property
    def name(self) -> str:
        """``GRI0-set2-repeat1``: also the name of its folder."""
        return f"{self.tiling}-set{self.set}-repeat{self.repeat}"

    @staticmethod
    def called(name: str) -> Arm:
        """The arm of this name."""
        tiling, number, repeat = name.split("-")
        (known,) = (found for found in NAMES if found == tiling)
        return Arm(known, int(number.removeprefix("set")), int(repeat.removeprefix("repeat")))


@dataclass(frozen=True)
class ArmScore:
    """Validation error (0…1) and cross entropy (nats per sample) after training."""

    arm: Arm
    error: Figure
    loss: Figure
    seconds: Figure
    """Of training."""


def arms_of(spec: Redundancy) -> Iterator[Arm]:
    """Every arm, set by set: after the first set every tiling was tried once."""
    for repeat in range(1, spec.repeats + 1):
        for number in range(1, spec.sets + 1):
            for tiling in spec.tilings:
                yield Arm(tiling, number, repeat)


def run_arm(
    network: Network,
    data: Data,
    spec: Redundancy,
    training: TrainingSpec,
    arm: Arm,
    *,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
) -> ArmScore:
    """Train a fork of ``network`` on the arm's data and score it. Raises what training raises."""
    report = progress or (lambda stage, share: None)
    chosen = data_of(data, spec, arm)
    own = seed + 1000 * arm.set + arm.repeat
    fork = network.fork()
    if spec.start == "scratch":
        reinitialise(fork, own)

    def told(epoch: EpochReport) -> None:
        report(f"epoch {epoch.epoch}/{epoch.epochs}", epoch.epoch / epoch.epochs)

    history = fit(fork, chosen, training_of(spec, training), seed=own, progress=told)
    score = evaluate(fork, chosen, chosen.validation)
    return ArmScore(arm, data.task.metric.regret(score.quality), score.loss, round(history.seconds, 2))


def training_of(spec: Redundancy, training: TrainingSpec) -> TrainingSpec:
    """The recipe's training within the study's own budget, on labels alone."""
    return replace(
        training,
        epochs=spec.epochs,
        patience=0,
        restore_best=False,
        augmentation=Augmentation(),
        distillation=Distillation(),
    )


def data_of(data: Data, spec: Redundancy, arm: Arm) -> Data:
    """The arm's set, tiled. Raises ``DataError`` where the data do not suffice for the sets asked for."""
    train, validation = _set_of(data, spec, arm.set - 1)
    tiling = Tiling.of(arm.tiling)
    return replace(
        data,
        train=HeldSplit(tile(train.images, tiling, spec.phase), class_indices(train.targets())),
        validation=HeldSplit(tile(validation.images, tiling, spec.phase), class_indices(validation.targets())),
        test=_sealed,
    )


def _set_of(data: Data, spec: Redundancy, index: int) -> tuple[Split, Split]:
    if spec.draw == "classes":
        return _of_classes(data, spec, index)
    return _of_samples(data, spec, index), data.validation


def _of_samples(data: Data, spec: Redundancy, index: int) -> Split:
    """Disjoint training samples, every class with its share; all sets are scored on the same validation images."""
    each = len(data.train) // spec.sets
    if each < 2:
        raise DataError(f"{data.name}: {len(data.train)} training samples are too few for {spec.sets} sets")
    count = min(spec.limit or each, each)
    left = torch.arange(len(data.train))
    for _ in range(index + 1):
        rest, drawn = stratified(class_indices(data.train.targets())[left], count, data.seed)
        left, chosen = left[rest], left[drawn]
    return data.train.take(chosen)


def _of_classes(data: Data, spec: Redundancy, index: int) -> tuple[Split, Split]:
    """Every ``sets``-th class, counted from ``index``. Labels stay what they are, and so do the network's outputs."""
    if len(data.classes) < 2 * spec.sets:
        raise DataError(f"{data.name}: {len(data.classes)} classes are too few for {spec.sets} sets of classes")
    train = data.train.take(_members(class_indices(data.train.targets()), spec.sets, index))
    if spec.limit and spec.limit < len(train):
        train = train.take(stratified(class_indices(train.targets()), spec.limit, data.seed)[1])
    return train, data.validation.take(_members(class_indices(data.validation.targets()), spec.sets, index))


def _members(labels: Tensor, sets: int, index: int) -> Tensor:
    return (labels % sets == index).nonzero().flatten()


def _sealed() -> Split:
    raise DataError("the study looks at training and validation images only")


SCORE: Stored[ArmScore] = Stored(ArmScore)
