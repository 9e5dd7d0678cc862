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
from compressor.data.passes import PassSplit
from compressor.graph.network import Network
from compressor.models import build
from compressor.train import checkpoint
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
    best, kept = (report and replace(report, seconds=0.0) for report in (history.best, history.kept))
    epochs = tuple(replace(report, seconds=0.0) for report in history.epochs)
    return replace(history, epochs=epochs, best=best, kept=kept, resumed=0)


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
    assert history.resumed == 4


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
    assert history.resumed == len(expected.epochs) == len(history.epochs)
    assert history.stopped == expected.stopped != ""
    assert history.seconds_before == history.seconds == expected.seconds
    assert same(weights(first), weights(again))


def test_those_told_hear_of_all_epochs(folder: Path) -> None:
    seen: list[EpochReport] = []
    cut_off(3, mlp(), digits(200), SPEC, folder)
    history = fit(mlp(), digits(200), SPEC, checkpoints=folder, progress=seen.append)
    assert tuple(seen) == history.epochs
    assert [report.epoch for report in seen] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("other", ["spec", "seed", "weights", "data", "teacher", "layers"])
def test_another_training_begins_anew(other: str, folder: Path) -> None:
    cut_off(3, mlp(), digits(200), SPEC, folder)
    spec = replace(SPEC, lr=0.01) if other == "spec" else SPEC
    data = digits(201) if other == "data" else digits(200)
    network = mlp(seed=1) if other == "weights" else mlp(drop=0.1) if other == "layers" else mlp()
    teacher = mlp(seed=2) if other == "teacher" else None
    history = fit(network, data, spec, seed=int(other == "seed"), teacher=teacher, checkpoints=folder)
    assert history.resumed == 0
    assert len(list(folder.iterdir())) == 2  # nobody's is lost


def test_samples_of_the_same_name_and_number_are_told_apart(folder: Path) -> None:
    one, two = data_of(30), data_of(30)
    two.train.images.add_(1.0)
    network = network_of(nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), (1, 4, 4))
    fit(network.fork(), one, SPEC, checkpoints=folder)
    assert fit(network.fork(), one, SPEC, checkpoints=folder).resumed == 6
    assert fit(network.fork(), two, SPEC, checkpoints=folder).resumed == 0


def test_a_damaged_file_is_said_and_written_anew(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut_off(3, mlp(), digits(200), SPEC, folder)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:-500])
    assert fit(mlp(), digits(200), SPEC, checkpoints=folder).resumed == 0
    assert "cannot be read" in caplog.text
    assert fit(mlp(), digits(200), SPEC, checkpoints=folder).resumed == 6


def test_a_disk_that_cannot_be_written_to_ends_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("no folder")
    assert len(fit(mlp(), digits(200), SPEC, checkpoints=folder).epochs) == 6
    assert "without a checkpoint" in caplog.text


def test_what_costs_more_than_a_twentieth_of_the_time_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "_TIMES", 1e9)
    fit(mlp(), digits(200), SPEC, checkpoints=folder)
    assert not folder.exists()


def test_going_on_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    cut_off(3, mlp(), digits(200), SPEC, folder)
    with caplog.at_level(logging.WARNING):
        fit(mlp(), digits(200), SPEC, checkpoints=folder)
    assert "goes on after epoch 3" in caplog.text
