"""Arms of the pilot study: what they train on, and that they see what is in the pixels they keep."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from compressor_plugins.redundancy import Redundancy
from compressor_plugins.redundancy.arms import Arm, arms_of, data_of, run_arm, training_of
from compressor_plugins.redundancy.judging import judged
from compressor_plugins.redundancy.tilings import TilingName
from torch import nn

from compressor.data.dataset import Data, Split
from compressor.data.held import HeldSplit
from compressor.errors import DataError
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.train.spec import Augmentation, Distillation, TrainingSpec

SPEC = Redundancy(tilings=("DN", "GRI0"), sets=2, limit=0, epochs=3, error_tolerance=0.05, loss_tolerance=0.2)
TRAINING = TrainingSpec(
    batch=16, lr=0.05, augmentation=Augmentation(flip=True), distillation=Distillation(logits=0.5), patience=1
)


def written_in(row: int) -> Data:
    """Two classes of noise: the brightness of the pixels at (``row``, 0) of every cell says which."""

    def split(count: int, seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        images = torch.randint(60, 196, (count, 1, 8, 8), generator=generator, dtype=torch.uint8)
        labels = torch.arange(count) % 2
        images[:, :, row::2, ::2] = (labels * 255).to(torch.uint8).view(-1, 1, 1, 1)
        return HeldSplit(images, labels)

    def test() -> Split:
        raise AssertionError("the study must not open the test split")

    return Data("cells", "made", split(128, 0), split(64, 1), ("dark", "light"), (0.5,), (0.3,), test)


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return capture(nn.Sequential(nn.Flatten(), nn.Linear(64, 2)), (1, 8, 8), "a test")


def spared(network: Network, data: Data) -> bool:
    scores = [run_arm(network, data, SPEC, TRAINING, arm) for arm in arms_of(SPEC)]
    return judged(SPEC, scores).applies


def test_pixels_that_say_nothing_are_found_redundant(network: Network) -> None:
    assert spared(network, written_in(row=0))


def test_pixels_that_say_everything_are_not(network: Network) -> None:
    assert not spared(network, written_in(row=1))


def test_the_network_itself_is_left_alone(network: Network) -> None:
    before = network.module.state_dict()["1.weight"].clone()
    run_arm(network, written_in(0), SPEC, TRAINING, Arm("DN", 1, 1))
    assert torch.equal(network.module.state_dict()["1.weight"], before)


def test_the_same_arm_gives_the_same_score_and_another_repeat_another(network: Network) -> None:
    data = written_in(0)
    first, again, other = (run_arm(network, data, SPEC, TRAINING, Arm("GRI0", 1, r)) for r in (1, 1, 2))
    assert first.loss == again.loss
    assert first.loss != other.loss


def test_trained_weights_are_a_start_too(network: Network) -> None:
    data = written_in(0)
    scratch, trained = (
        run_arm(network, data, replace(SPEC, start=start), TRAINING, Arm("DN", 1, 1))
        for start in ("scratch", "trained")
    )
    assert scratch.loss != trained.loss


def test_sets_of_samples_are_disjoint_and_tilings_share_them() -> None:
    data = written_in(0)
    data = replace(data, train=HeldSplit(data.train.images, data.train.targets()))
    sets = [data_of(data, SPEC, Arm("DN", number, 1)).train.images.flatten(1) for number in (1, 2)]
    assert [len(part) for part in sets] == [64, 64]
    assert not (sets[0][:, None] == sets[1][None]).all(2).any()
    tiled = data_of(data, SPEC, Arm("GRI0", 1, 1)).train
    assert torch.equal(tiled.images[:, :, ::2, ::2].flatten(1), sets[0].view(-1, 1, 8, 8)[:, :, ::2, ::2].flatten(1))
    assert (tiled.images[:, :, 1::2] == 0).all()


def test_sets_of_classes_are_disjoint() -> None:
    labels = torch.arange(60) % 6
    part = HeldSplit(torch.zeros(60, 1, 2, 2), labels)
    data = replace(written_in(0), train=part, validation=part, classes=tuple("abcdef"))
    spec = replace(SPEC, draw="classes", limit=10)
    seen = [set(data_of(data, spec, Arm("DN", number, 1)).train.targets().tolist()) for number in (1, 2)]
    assert seen == [{0, 2, 4}, {1, 3, 5}]
    assert set(data_of(data, spec, Arm("DN", 2, 1)).validation.targets().tolist()) == {1, 3, 5}
    assert len(data_of(data, spec, Arm("DN", 1, 1)).train) == 10


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(SPEC, sets=100), "too few for 100 sets"),
        (replace(SPEC, draw="classes"), "too few for 2 sets of classes"),
    ],
)
def test_too_little_data_is_said(spec: Redundancy, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data_of(written_in(0), spec, Arm("DN", 1, 1))


def test_nothing_moves_the_tiles_and_no_teacher_helps() -> None:
    spec = training_of(SPEC, TRAINING)
    assert spec.augmentation == Augmentation()
    assert spec.distillation == Distillation()
    assert (spec.epochs, spec.patience, spec.restore_best) == (3, 0, False)
    assert (spec.batch, spec.lr) == (16, 0.05)


def test_after_the_first_set_every_tiling_was_tried() -> None:
    names: list[TilingName] = [arm.tiling for arm in arms_of(SPEC)]
    assert names == ["DN", "GRI0", "DN", "GRI0"]
