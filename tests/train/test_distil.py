from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_training import digits, mlp, network_of, same, weights
from torch import Tensor, nn

import compressor.train.fit as fit_module
from compressor.data.dataset import Data
from compressor.errors import InputError, TrialError
from compressor.graph.network import Network
from compressor.task.classification import softened_divergence
from compressor.task.likeness import relative_squares
from compressor.train.distil import shared_leaves
from compressor.train.evaluate import predict
from compressor.train.fit import fit
from compressor.train.spec import Augmentation, Distillation, TrainingSpec


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.5, 10))
def test_divergence_is_its_definition_and_zero_only_for_equals(seed: int, temperature: float) -> None:
    student, teacher = random(seed, 5, 4), random(seed + 1, 5, 4)
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
    assert torch.allclose(softened_divergence(student, teacher, temperature), expected)
    assert float(softened_divergence(student, teacher, temperature)) > 0
    assert abs(float(softened_divergence(teacher + 3.0, teacher, temperature))) < 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_feature_distance_does_not_depend_on_the_unit(seed: int, scale: float) -> None:
    student, teacher = random(seed, 5, 4), random(seed + 1, 5, 4)
    expected = 0.5 * (student - teacher).square().mean() / teacher.square().mean()
    assert torch.allclose(relative_squares(scale * student, scale * teacher), expected)
    assert float(relative_squares(teacher, teacher)) == 0


def trained_teacher() -> Network:
    teacher = mlp(48, seed=3)
    fit(teacher, digits(), TrainingSpec(epochs=3))
    return teacher


def agreement(student: Network, teacher: Network) -> float:
    images = digits().validation.images
    return float((predict(student, digits(), images) - predict(teacher, digits(), images)).square().mean())


@pytest.mark.parametrize(
    ("wanted", "augmentation"),
    [
        (Distillation(logits=5.0), Augmentation()),
        (Distillation(logits=5.0), Augmentation(noise=0.01)),
        (Distillation(logits=5.0, features=5.0), Augmentation()),
    ],
)
def test_a_student_comes_nearer_to_its_teacher(wanted: Distillation, augmentation: Augmentation) -> None:
    teacher = trained_teacher()
    alone, taught = mlp(48, seed=4), mlp(48, seed=4)
    spec = TrainingSpec(epochs=3, augmentation=augmentation)
    fit(alone, digits(), spec)
    fit(taught, digits(), TrainingSpec(epochs=3, augmentation=augmentation, distillation=wanted), teacher=teacher)
    assert agreement(taught, teacher) < 0.8 * agreement(alone, teacher)


def test_features_come_nearer_to_those_of_the_teacher() -> None:
    teacher = trained_teacher()
    alone, taught = mlp(48, seed=4), mlp(48, seed=4)
    fit(alone, digits(), TrainingSpec(epochs=3))
    fit(taught, digits(), TrainingSpec(epochs=3, distillation=Distillation(features=10.0)), teacher=teacher)
    inputs = digits().normalised(digits().validation.images).flatten(1)
    theirs = teacher.leaf("1")(inputs)
    distances = [float(relative_squares(student.leaf("1")(inputs), theirs)) for student in (taught, alone)]
    assert distances[0] < 0.8 * distances[1]


def test_answers_known_beforehand_train_like_answers_asked_for_each_batch() -> None:
    teacher = trained_teacher()
    known, asked = mlp(seed=4), mlp(seed=4)
    fit(known, digits(), TrainingSpec(epochs=1, distillation=Distillation(logits=2.0)), teacher=teacher)
    few = TrainingSpec(epochs=1, distillation=Distillation(logits=2.0), augmentation=Augmentation(noise=1e-12))
    fit(asked, digits(), few, teacher=teacher)
    for one, two in zip(weights(known), weights(asked), strict=True):
        assert torch.allclose(one.float(), two.float(), atol=1e-4)


def test_a_teacher_that_is_asked_once_is_not_asked_about_changed_images(monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = trained_teacher()
    seen: list[int] = []

    def counted(network: Network, data: Data, images: Tensor) -> Tensor:
        seen.append(len(images))
        return predict(network, data, images)

    monkeypatch.setattr(fit_module, "predict", counted)
    for once in (True, False):
        wanted = Distillation(logits=2.0, once=once)
        spec = TrainingSpec(epochs=1, distillation=wanted, augmentation=Augmentation(shift=1))
        fit(mlp(seed=4), digits(200), spec, teacher=teacher)
    assert seen == [200]
    for images, asked in ((200, [200]), (120, [200, 120]), (120, [200, 120]), (120, [200, 120, 120])):
        if len(asked) == 3:  # what it would say now is something else
            with torch.no_grad():
                next(teacher.module.parameters()).mul_(2)
        fit(
            mlp(seed=4),
            digits(images),
            TrainingSpec(epochs=1, distillation=Distillation(2.0, once=True)),
            teacher=teacher,
        )
        assert seen == asked
    with pytest.raises(InputError, match="once"):
        fit(mlp(), digits(100), TrainingSpec(distillation=Distillation(1.0, 4.0, 1.0, once=True)), teacher=teacher)


def test_the_teacher_is_left_as_it_was_and_no_hook_stays() -> None:
    teacher, student = mlp(seed=3).train(), mlp(seed=4)
    before = weights(teacher)
    fit(student, digits(200), TrainingSpec(epochs=1, distillation=Distillation(1.0, 4.0, 1.0)), teacher=teacher)
    assert same(before, weights(teacher))
    assert teacher.module.training
    for network in (teacher, student):
        assert not any(module._forward_hooks for module in network.module.modules())


def test_leaves_are_paired_by_path_and_shape() -> None:
    assert shared_leaves(mlp(24), mlp(24)) == ["1", "2", "5"]
    assert shared_leaves(mlp(24), mlp(32)) == ["5"]


def test_a_teacher_is_needed_and_must_share_a_leaf() -> None:
    with pytest.raises(TrialError, match="asks for a teacher"):
        fit(mlp(), digits(100), TrainingSpec(distillation=Distillation(logits=1.0)))
    stranger = network_of(nn.Sequential(nn.Identity(), nn.Identity(), nn.Flatten(), nn.Linear(64, 10)), (1, 8, 8))
    with pytest.raises(TrialError, match="share no leaf"):
        fit(mlp(), digits(100), TrainingSpec(distillation=Distillation(features=1.0)), teacher=stranger)


def test_a_teacher_that_is_not_asked_changes_nothing() -> None:
    one, two = mlp(seed=4), mlp(seed=4)
    fit(one, digits(200), TrainingSpec(epochs=1))
    fit(two, digits(200), TrainingSpec(epochs=1), teacher=mlp(seed=3))
    assert same(weights(one), weights(two))
