from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from small_training import CountingScale, data_of, digits, mlp, network_of, same, weights
from torch import nn

from compressor.data.dataset import Data
from compressor.data.passes import PassSplit
from compressor.errors import DataError, InputError, TrialError
from compressor.graph.network import Network
from compressor.models import build
from compressor.train.batches import Batches
from compressor.train.evaluate import evaluate, predict
from compressor.train.fit import fit
from compressor.train.history import EpochReport
from compressor.train.spec import Augmentation, TrainingSpec


def test_a_small_network_learns_the_digits_in_four_epochs() -> None:
    network = network_of(build("digits-cnn"), (1, 8, 8))
    history = fit(network, digits(), TrainingSpec(epochs=4, lr=3e-3, schedule="one-cycle"))
    assert history.best is not None
    assert history.best.validation_quality >= 0.95
    assert evaluate(network, digits(), digits().open_test()).quality >= 0.9
    assert not network.module.training


def test_every_epoch_is_reported_and_kept() -> None:
    seen: list[EpochReport] = []
    history = fit(mlp(), digits(), TrainingSpec(epochs=3, schedule="cosine"), progress=seen.append)
    assert tuple(seen) == history.epochs
    assert [(report.epoch, report.epochs) for report in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[2].train_loss < seen[0].train_loss
    assert seen[2].lr < seen[1].lr < seen[0].lr < 1e-3
    assert all(report.seconds > 0 for report in seen)
    assert history.best in seen
    assert history.seconds == pytest.approx(sum(report.seconds for report in seen))
    assert (history.stopped, history.device) == ("", "cpu")


def test_the_network_ends_with_the_weights_that_are_reported_best() -> None:
    network = mlp()
    history = fit(network, digits(200), TrainingSpec(epochs=6, lr=0.05))
    assert history.best is not None
    score = evaluate(network, digits(200), digits(200).validation)
    assert score.quality == history.best.validation_quality == max(r.validation_quality for r in history.epochs)
    assert score.loss == pytest.approx(history.best.validation_loss)


@pytest.mark.parametrize("restored", [True, False])
def test_the_epoch_that_was_kept_is_told(restored: bool) -> None:
    network = mlp()
    spec = TrainingSpec(epochs=6, lr=0.3, optimizer="sgd", restore_best=restored)
    history = fit(network, digits(200), spec)
    score = evaluate(network, digits(200), digits(200).validation)
    assert history.kept is (history.best if restored else history.epochs[-1])
    assert history.kept is not None
    assert (score.loss, score.quality) == pytest.approx((history.kept.validation_loss, history.kept.validation_quality))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    spec = TrainingSpec(epochs=2, augmentation=Augmentation(shift=1, noise=0.05))
    one, two, three = (mlp(drop=0.2) for _ in range(3))
    fit(one, digits(300), spec, seed=4)
    torch.manual_seed(99)
    torch.rand(7)
    fit(two, digits(300), spec, seed=4)
    fit(three, digits(300), spec, seed=5)
    assert same(weights(one), weights(two))
    assert not same(weights(one), weights(three))


def test_the_global_random_state_and_the_threads_are_left_alone() -> None:
    network = mlp(drop=0.5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    fit(network, digits(200), TrainingSpec(epochs=1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "one-cycle", "step", "plateau"])
def test_every_optimizer_and_schedule_lowers_the_loss(name: str, schedule: str) -> None:
    spec = TrainingSpec(epochs=3, optimizer=name, schedule=schedule, lr=0.02)  # type: ignore[arg-type]
    history = fit(mlp(), digits(400), spec)
    assert history.epochs[-1].train_loss < history.epochs[0].train_loss


def test_only_trainable_parameters_change() -> None:
    network = mlp()
    first, last = network.leaf("1"), network.leaf("5")
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    first.weight.requires_grad_(False)
    frozen, free = first.weight.clone(), last.weight.clone()
    fit(network, digits(200), TrainingSpec(epochs=1))
    assert torch.equal(first.weight, frozen)
    assert not torch.equal(last.weight, free)
    assert all(parameter.grad is None for parameter in network.module.parameters())


def test_a_network_without_trainable_parameters_is_left_alone() -> None:
    network = mlp()
    network.module.requires_grad_(False)
    before = weights(network)
    history = fit(network, digits(), TrainingSpec())
    assert history.stopped == "the network has no trainable parameters"
    assert (history.epochs, history.best) == ((), None)
    assert same(before, weights(network))


def test_no_epochs_is_no_training() -> None:
    network = mlp()
    before = weights(network)
    assert fit(network, digits(), TrainingSpec(epochs=0)).epochs == ()
    assert same(before, weights(network))


def test_patience_ends_the_training_early() -> None:
    history = fit(mlp(), digits(200), TrainingSpec(epochs=40, lr=1e-9, patience=2))
    assert len(history.epochs) < 10
    assert history.stopped == "no better validation accuracy for 2 epochs"


def test_the_plateau_rule_lowers_the_rate() -> None:
    history = fit(mlp(), digits(100), TrainingSpec(epochs=14, lr=0.5, schedule="plateau", restore_best=False))
    assert history.epochs[-1].lr < 0.5


def test_steps_per_epoch_overrules_the_pass() -> None:
    scale = CountingScale()
    network = network_of(nn.Sequential(nn.Flatten(), scale, nn.Linear(64, 10)), (1, 8, 8))
    fit(network, digits(100), TrainingSpec(epochs=3, batch=32, steps_per_epoch=7))
    assert scale.steps == 21


def test_leaves_hear_of_every_step_and_hold_their_bounds() -> None:
    scale = CountingScale()
    network = network_of(nn.Sequential(nn.Flatten(), nn.Linear(64, 10), scale), (1, 8, 8))
    fit(network, digits(200), TrainingSpec(epochs=2, batch=50, lr=0.05))
    assert scale.steps == 8
    assert float(scale.factor.detach()) <= 1.0


def test_a_last_batch_of_one_is_left_out() -> None:
    network = network_of(nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), (1, 4, 4))
    assert fit(network, data_of(33), TrainingSpec(epochs=2, batch=16)).epochs[-1].epoch == 2
    with pytest.raises(DataError, match="1 training samples are too few"):
        fit(network, data_of(1), TrainingSpec(batch=16))


@pytest.mark.parametrize(
    ("train", "batch", "expected"), [(32, 16, [16, 16]), (33, 16, [16, 16]), (34, 16, [16, 16, 2])]
)
def test_a_pass_shows_every_sample_once(train: int, batch: int, expected: list[int]) -> None:
    batches = Batches(data_of(train), batch, Augmentation(), 0, torch.device("cpu"))
    assert batches.per_pass == len(expected)
    stream = iter(batches)
    passes = [list(itertools.islice(stream, batches.per_pass)) for _ in range(2)]
    for one in passes:
        indices = torch.cat([part.indices for part in one])
        assert [len(part) for part in one] == expected
        assert len(set(indices.tolist())) == sum(expected)
        data = data_of(train)
        assert torch.equal(torch.cat([part.inputs for part in one]), data.normalised(data.train.images[indices]))
        assert torch.equal(torch.cat([part.target for part in one]), data.train.targets()[indices])
    assert not torch.equal(passes[0][0].indices, passes[1][0].indices)


@pytest.mark.parametrize(
    ("size", "expected"),
    [(1, [8, 8, 4]), (5, [5, 5, 5, 5]), (9, [9, 9, 2]), (100, [20]), (19, [19])],
)
def test_a_pass_is_one_whatever_number_of_samples_a_loader_gives(size: int, expected: list[int]) -> None:
    """Samples that come one by one are put together, since BatchNorm needs two; a last one of a pass is left out."""
    values = torch.arange(20.0)

    def start(_: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(part[:, None], part.long()) for part in values.split(size)]

    data = dataclasses.replace(data_of(4, shape=(1,)), train=PassSplit(start, "a loader"))
    batches = Batches(data, 8, Augmentation(), 0, torch.device("cpu"))
    stream = iter(batches)
    for _ in range(2):
        one = list(itertools.islice(stream, batches.per_pass))
        assert [len(part) for part in one] == expected
        assert torch.cat([part.inputs[:, 0] for part in one]).tolist() == values[: sum(expected)].tolist()


def test_a_loader_of_a_single_sample_is_refused() -> None:
    single = PassSplit(lambda _: [(torch.zeros(1, 1), torch.zeros(1))], "a loader")
    with pytest.raises(DataError, match=r"training samples are too few|but one sample"):
        next(
            iter(
                Batches(
                    dataclasses.replace(data_of(4, shape=(1,)), train=single), 8, Augmentation(), 0, torch.device("cpu")
                )
            )
        )


def test_augmentation_does_not_touch_the_data() -> None:
    data = digits(100)
    before = data.train.images.clone()
    history = fit(mlp(), data, TrainingSpec(epochs=1, augmentation=Augmentation(True, 1, 20.0, 0.1, 3)))
    assert torch.equal(before, data.train.images)
    assert math.isfinite(history.epochs[0].train_loss)


def test_clipping_bounds_what_one_step_can_do() -> None:
    moved = []
    for clip in (0.0, 1e-3):
        network = mlp()
        before = torch.cat([parameter.detach().flatten().clone() for parameter in network.module.parameters()])
        spec = TrainingSpec(epochs=1, steps_per_epoch=1, optimizer="sgd", momentum=0.0, lr=1.0, clip_norm=clip)
        fit(network, digits(100), spec)
        after = torch.cat([parameter.detach().flatten() for parameter in network.module.parameters()])
        moved.append(float((after - before).norm()))
    assert moved[1] == pytest.approx(1e-3, rel=1e-2)
    assert moved[0] > 10 * moved[1]


def test_a_loss_that_is_no_number_ends_the_training_and_names_where() -> None:
    with pytest.raises(
        TrialError, match=r"the loss is (nan|inf) at .*epoch 1, learning rate 1e\+30; lower training.lr"
    ):
        fit(mlp(), digits(400), TrainingSpec(epochs=3, optimizer="sgd", lr=1e30))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [(data_of(20), "images are 1×4×4"), (data_of(24, classes=12, shape=(1, 8, 8)), "12 classes, but .* 10 outputs")],
)
def test_data_that_do_not_fit_are_refused(data: Data, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint):
        fit(mlp(), data, TrainingSpec())


@pytest.mark.parametrize("fields", [{"batch": 0}, {"epochs": -1}, {"label_smoothing": 1.0}, {"lr": -1.0}])
def test_an_impossible_spec_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"training.{next(iter(fields))}"):
        fit(mlp(), digits(100), TrainingSpec(**fields))  # type: ignore[arg-type]


def test_the_mode_is_restored_after_evaluating() -> None:
    network = mlp(drop=0.5).train()
    one, two = (evaluate(network, digits(), digits().validation) for _ in range(2))
    assert one == two
    assert network.module.training
    assert one.count == 150


def test_a_score_is_what_the_predictions_say() -> None:
    network, data = mlp(), digits()
    logits = predict(network, data, data.validation.images, batch=64)
    score = evaluate(network, data, data.validation, batch=37)
    assert score.quality == pytest.approx(float((logits.argmax(1) == data.validation.targets()).float().mean()))
    assert score.loss == pytest.approx(float(nn.functional.cross_entropy(logits, data.validation.targets())), rel=1e-5)


def test_an_empty_split_cannot_be_scored() -> None:
    data = digits()
    with pytest.raises(DataError, match="nothing to evaluate on"):
        evaluate(mlp(), data, data.train.take(torch.zeros(0, dtype=torch.int64)))


def test_a_failure_leaves_the_network_in_eval_mode() -> None:
    network: Network = mlp()

    def interrupt(report: EpochReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network, digits(100), TrainingSpec(epochs=2), progress=interrupt)
    assert not network.module.training


def test_a_training_that_makes_nothing_better_is_undone() -> None:
    data, network = digits(), mlp()
    fit(network, data, TrainingSpec(epochs=4, lr=3e-3))
    trained = {name: value.clone() for name, value in network.module.state_dict().items()}
    before = evaluate(network, data, data.validation)
    harmful = TrainingSpec(epochs=1, lr=3.0, optimizer="sgd", clip_norm=1.0, steps_per_epoch=8)
    history = fit(network, data, harmful)
    assert history.best is not None
    assert history.best == history.kept
    assert (history.best.epoch, history.best.validation_quality) == (0, before.quality)
    assert "no epoch was better" in history.stopped
    assert [report.epoch for report in history.epochs] == [1]
    assert all(torch.equal(value, trained[name]) for name, value in network.module.state_dict().items())
    fit(network, data, dataclasses.replace(harmful, restore_best=False))
    assert evaluate(network, data, data.validation).quality < before.quality
