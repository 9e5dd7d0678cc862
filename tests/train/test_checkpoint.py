"""A training that is cut off and gone on with is the training that was not: the same weights, the same history."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_training import data_of, digits, mlp, network_of, same, weights
from torch import nn

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.data.passes import PassSplit
from compressor.graph.network import Network
from compressor.models import build
from compressor.task import Task
from compressor.task.classification import Classification
from compressor.train import checkpoint
from compressor.train.checkpoint import training_key
from compressor.train.fit import fit
from compressor.train.history import EpochReport, History
from compressor.train.spec import Augmentation, Distillation, TrainingSpec

SPEC = TrainingSpec(epochs=6, lr=0.02, augmentation=Augmentation(shift=1, noise=0.05))


class CutOff(Exception):  # noqa: N818
    """What ends a training in the middle of an epoch."""


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A state is kept after each epoch, however short."""
    monkeypatch.setattr(checkpoint, "_TIMES", 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


def cut_off(after: int, network: Network, data: Data, spec: TrainingSpec, folder: Path, **options: object) -> None:
    """Train, and be cut off within the epoch that follows ``after``."""
    seen = 0

    def tell(report: EpochReport) -> None:
        nonlocal seen
        seen += 1
        if seen > after:
            raise CutOff

    with pytest.raises(CutOff):
        fit(network, data, spec, progress=tell, checkpoints=folder, **options)  # type: ignore[arg-type]


def plain(history: History) -> History:
    """Without what the clock says, and which of its epochs were carried out when."""

    def bare(report: EpochReport) -> EpochReport:
        return replace(report, seconds=0.0, before=False)

    best, kept = (report and bare(report) for report in (history.best, history.kept))
    return replace(history, epochs=tuple(map(bare, history.epochs)), best=best, kept=kept)


def resumed(history: History) -> int:
    """How many of its epochs had been carried out before."""
    return sum(report.before for report in history.epochs)


SPECS = {
    "adam": SPEC,
    "momentum": replace(SPEC, optimizer="sgd", schedule="one-cycle"),
    "the last weights": replace(SPEC, optimizer="adamw", restore_best=False, schedule="cosine"),
    "plateau": replace(SPEC, lr=0.3, schedule="plateau", epochs=9),
    "within a pass": replace(SPEC, steps_per_epoch=2),
    "over several passes": replace(SPEC, steps_per_epoch=13),
    "a teacher": replace(SPEC, distillation=Distillation(logits=0.5, features=0.1)),
}


@pytest.mark.parametrize("name", SPECS)
def test_it_ends_in_the_same_weights(name: str, folder: Path) -> None:
    spec, data, teacher = SPECS[name], digits(300), mlp(drop=0.2, seed=1)
    whole, parts = mlp(drop=0.2), mlp(drop=0.2)
    expected = fit(whole, data, spec, seed=3, teacher=teacher)
    cut_off(2, parts, data, spec, folder, seed=3, teacher=teacher)
    cut_off(4, mlp(drop=0.2), data, spec, folder, seed=3, teacher=teacher)
    parts = mlp(drop=0.2)
    torch.rand(5)
    history = fit(parts, data, spec, seed=3, teacher=teacher, checkpoints=folder)
    assert same(weights(whole), weights(parts))
    assert plain(history) == plain(expected)
    assert resumed(history) == 4


def test_it_is_another_one_without_its_optimizer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: what is kept beside the weights matters."""
    whole, parts = mlp(), mlp()
    fit(whole, digits(300), SPEC)
    cut_off(3, mlp(), digits(300), SPEC, folder)
    monkeypatch.setattr(torch.optim.Adam, "load_state_dict", lambda optimizer, state: None)
    fit(parts, digits(300), SPEC, checkpoints=folder)
    assert not same(weights(whole), weights(parts))


def test_convolutions_channels_last_go_on_too(folder: Path) -> None:
    def network() -> Network:
        torch.manual_seed(0)
        return network_of(build("digits-cnn"), (1, 8, 8))

    whole, parts = network(), network()
    fit(whole, digits(300), SPEC)
    cut_off(1, network(), digits(300), SPEC, folder)
    fit(parts, digits(300), SPEC, checkpoints=folder)
    assert same(weights(whole), weights(parts))


def test_a_loader_of_ones_own_goes_on_with_the_batches_that_follow(folder: Path) -> None:
    held = digits(100).train
    data = replace(digits(100), train=PassSplit(lambda _: list(held.batches(25)), "a loader"))
    spec = TrainingSpec(epochs=4, steps_per_epoch=3)
    whole, parts = mlp(), mlp()
    fit(whole, data, spec)
    cut_off(2, mlp(), data, spec, folder)
    fit(parts, data, spec, checkpoints=folder)
    assert same(weights(whole), weights(parts))


def test_one_that_ended_is_not_run_again(folder: Path) -> None:
    spec = TrainingSpec(epochs=40, lr=1e-9, patience=2)
    first, again = mlp(), mlp()
    expected = fit(first, digits(200), spec, checkpoints=folder)
    history = fit(again, digits(200), spec, checkpoints=folder)
    assert resumed(history) == len(expected.epochs) == len(history.epochs)
    assert history.stopped == expected.stopped != ""
    assert history.seconds_before == history.seconds == expected.seconds
    assert same(weights(first), weights(again))


def test_those_told_hear_of_all_epochs(folder: Path) -> None:
    seen: list[EpochReport] = []
    cut_off(3, mlp(), digits(200), SPEC, folder)
    history = fit(mlp(), digits(200), SPEC, checkpoints=folder, progress=seen.append)
    assert tuple(seen) == history.epochs
    assert [report.epoch for report in seen] == [1, 2, 3, 4, 5, 6]


def test_a_pass_is_as_long_as_a_loader_makes_it(folder: Path) -> None:
    """Its first batch tells how many there are in a pass, and need not be right: the next epoch begins within one."""
    held = digits(100).train
    sizes = [32, 32, 4, 32]
    data = replace(
        digits(100), train=PassSplit(lambda _: [b for size in sizes for b in held.first(size).batches(32)], "a loader")
    )
    spec = TrainingSpec(epochs=5)
    whole, parts = mlp(), mlp()
    fit(whole, data, spec)
    cut_off(1, mlp(), data, spec, folder)
    fit(parts, data, spec, checkpoints=folder)
    assert same(weights(whole), weights(parts))


@pytest.mark.parametrize("other", ["spec", "seed", "weights", "data", "layers"])
def test_another_training_begins_anew(other: str, folder: Path) -> None:
    cut_off(3, mlp(), digits(200), SPEC, folder)
    spec = replace(SPEC, lr=0.01) if other == "spec" else SPEC
    data = digits(201) if other == "data" else digits(200)
    network = mlp(seed=1) if other == "weights" else mlp(drop=0.1) if other == "layers" else mlp()
    history = fit(network, data, spec, seed=int(other == "seed"), checkpoints=folder)
    assert resumed(history) == 0
    assert len(list(folder.iterdir())) == 2  # nobody's is lost


def test_a_key_knows_the_task_and_a_teacher_that_is_listened_to() -> None:
    def key(task: Task, teacher: Network | None = None) -> str:
        return training_key(mlp(), replace(digits(100), task=task), SPEC, teacher, 0, "float32")

    same = Classification()
    assert key(same) == key(Classification())
    assert len({key(same), key(Classification(probabilities=True)), key(same, mlp()), key(same, mlp(seed=1))}) == 4


def test_samples_of_the_same_name_and_number_are_told_apart(folder: Path) -> None:
    network = network_of(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), (1, 4, 4))
    fit(network.fork(), data_of(30), SPEC, checkpoints=folder)
    assert resumed(fit(network.fork(), data_of(30), SPEC, checkpoints=folder)) == 6
    for part in ("train", "validation"):
        corrected = data_of(30)
        split = getattr(corrected, part)
        relabelled = HeldSplit(split.images, torch.cat([split.targets()[:-1], torch.tensor([0])]))
        other = replace(corrected, **{part: relabelled})
        assert resumed(fit(network.fork(), other, SPEC, checkpoints=folder)) == 0, part


def test_a_damaged_file_is_said_and_written_anew(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut_off(3, mlp(), digits(200), SPEC, folder)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-500])
    assert resumed(fit(mlp(), digits(200), SPEC, checkpoints=folder)) == 0
    assert "cannot be read" in caplog.text
    assert resumed(fit(mlp(), digits(200), SPEC, checkpoints=folder)) == 6


def test_a_disk_that_cannot_be_written_to_ends_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("no folder")
    assert len(fit(mlp(), digits(200), SPEC, checkpoints=folder).epochs) == 6
    assert caplog.text.count("goes on without checkpoints") == 1


def test_what_costs_more_than_a_twentieth_of_the_time_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_TIMES", 1e9)
    fit(mlp(), digits(200), SPEC, checkpoints=folder)
    assert not folder.exists()


def test_where_one_was_kept_the_last_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that follows begins with it, and is known by it."""
    cut_off(3, mlp(), digits(200), SPEC, folder)
    monkeypatch.setattr(checkpoint, "_TIMES", 1e9)
    assert resumed(fit(mlp(), digits(200), SPEC, checkpoints=folder)) == 3
    assert resumed(fit(mlp(), digits(200), SPEC, checkpoints=folder)) == 6


def test_going_on_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut_off(3, mlp(), digits(200), SPEC, folder)
    with caplog.at_level(logging.WARNING):
        fit(mlp(), digits(200), SPEC, checkpoints=folder)
    assert "goes on after epoch 3" in caplog.text
