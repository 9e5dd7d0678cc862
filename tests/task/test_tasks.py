"""Every task: its metric against a definition by hand, its loss, agreement, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.errors import CompressorError, DataError, InputError
from compressor.graph.capture import capture
from compressor.task import Metric, Quality, Task, TaskSpec, drop, make_task
from compressor.task.detection import iou
from compressor.task.metric import Direction
from compressor.task.paired import evidently_better, no_better
from compressor.task.segmentation import Segmentation
from compressor.task.task import Guess

SEED = torch.Generator().manual_seed(0)
N, K = 24, 4


def boxes(*corners: tuple[float, ...], label: int = 0, scored: bool = False) -> dict[str, Tensor]:
    found = {"boxes": torch.tensor(corners).reshape(-1, 4), "labels": torch.full((len(corners),), label)}
    return {**found, "scores": torch.ones(len(corners))} if scored else found


def as_boxes(outputs: Tensor) -> list[dict[str, Tensor]]:
    return [boxes(tuple(row.tolist()), scored=True) for row in outputs]


def rubbish(outputs: Tensor) -> Any:
    return {"boxes": outputs}


def distance(outputs: Tensor, target: list[dict[str, Tensor]]) -> Tensor:
    return (outputs - torch.stack([image["boxes"][0] for image in target])).square().mean()


DETECTION = {"decoder": f"{__name__}:as_boxes", "criterion": f"{__name__}:distance"}
SQUARES = torch.tensor([[0.0, 0.0, 10.0, 10.0], [5.0, 5.0, 9.0, 9.0], [2.0, 2.0, 4.0, 8.0]]).repeat(N // 3, 1)
NOTHING = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
LABELS = torch.randint(0, K, (N,), generator=SEED)
MASKS = torch.randint(0, K, (N, 6, 6), generator=SEED)
ROWS = torch.randn(N, K, generator=SEED)
CASES: dict[str, tuple[dict[str, Any], Any, Any]] = {
    "classification": ({}, ROWS, LABELS),
    "binary": ({}, ROWS[:, :1], LABELS % 2),
    "multi-label": ({}, ROWS, (torch.rand(N, K, generator=SEED) > 0.5).long()),
    "segmentation": ({}, torch.randn(N, K, 6, 6, generator=SEED), MASKS),
    "regression": ({}, ROWS, torch.randn(N, K, generator=SEED)),
    "embedding": ({}, ROWS, LABELS),
    "detection": (
        DETECTION,
        SQUARES + torch.rand(N, 4, generator=SEED),
        [boxes(tuple(row.tolist())) for row in SQUARES],
    ),
    "agreement": ({}, ROWS, ROWS + 0.1),
}


def task_of(name: str, **options: Any) -> Task:
    return make_task(TaskSpec(name, {**CASES[name][0], **options}))


def measured(task: Task, outputs: Any, target: Any, parts: int = 3) -> tuple[float, float | None]:
    meter = task.meter()
    for part in torch.arange(N).chunk(parts):
        wanted = [target[index] for index in part] if isinstance(target, list) else target[part]
        meter.update(outputs[part], wanted)
    return meter.value(), meter.error()


def by_hand(name: str, outputs: Tensor, target: Any) -> float:
    """The metric from its definition."""
    match name:
        case "classification":
            return sum(int(row.argmax()) == int(label) for row, label in zip(outputs, target, strict=True)) / N
        case "binary":
            return sum((float(row) > 0) == bool(label) for row, label in zip(outputs, target, strict=True)) / N
        case "multi-label":
            said, there = outputs > 0, target > 0
            hits = [2.0 * int((said & there)[:, k].sum()) / int(said[:, k].sum() + there[:, k].sum()) for k in range(K)]
            return sum(hits) / K
        case "segmentation":
            said = outputs.argmax(1)
            shares = [
                int(((said == k) & (target == k)).sum()) / int(((said == k) | (target == k)).sum()) for k in range(K)
            ]
            return sum(shares) / K
        case "regression":
            return float((outputs - target).abs().mean())
        case "embedding":
            near = nn.functional.normalize(outputs) @ nn.functional.normalize(outputs).T
            near.fill_diagonal_(-2)
            return float((target[near.argmax(1)] == target).float().mean())
        case "agreement":
            return float(1 - (outputs - target).norm() / target.norm())
    raise AssertionError(name)


@pytest.mark.parametrize("name", [name for name in CASES if name != "detection"])
def test_the_metric_is_its_definition_however_the_samples_come(name: str) -> None:
    task, outputs, target = task_of(name), *CASES[name][1:]
    value, error = measured(task, outputs, target)
    assert value == pytest.approx(by_hand(name, outputs, target), abs=1e-5)
    assert measured(task, outputs, target, parts=1)[0] == pytest.approx(value, abs=1e-5)
    assert error is not None
    assert 0 <= error < 1


def test_boxes_that_are_there_are_found_and_others_are_not() -> None:
    task = task_of("detection")
    assert measured(task, SQUARES, CASES["detection"][2])[0] == pytest.approx(1.0)
    assert measured(task, SQUARES + 100, CASES["detection"][2])[0] == pytest.approx(0.0, abs=1e-6)
    assert task.scores(SQUARES, CASES["detection"][2]).tolist() == [1.0] * N
    assert iou(SQUARES[:1], SQUARES[1:2]).item() == pytest.approx(16 / 100)
    with pytest.raises(InputError, match=r"decoder.*must return a list"):
        task_of("detection", decoder=f"{__name__}:rubbish").scores(SQUARES, CASES["detection"][2])
    with pytest.raises(InputError, match=r"task\.options\.decoder: detection needs a function of yours"):
        make_task(TaskSpec("detection"))


@pytest.mark.parametrize("name", CASES)
def test_a_step_down_the_loss_is_a_better_answer(name: str) -> None:
    task, outputs, target = task_of(name), CASES[name][1].clone().requires_grad_(), CASES[name][2]
    loss = task.loss(outputs, target)
    (gradient,) = torch.autograd.grad(loss, outputs)
    assert loss.ndim == 0
    assert bool(gradient.isfinite().all())
    assert bool(gradient.any())
    assert float(task.loss(outputs.detach() - 1e-2 * gradient, target)) < float(loss)


@pytest.mark.parametrize("name", CASES)
def test_answers_agree_with_themselves_and_teach_themselves_nothing(name: str) -> None:
    task, outputs = task_of(name), CASES[name][1]
    other = outputs.flip(0)
    assert task.agreement(outputs, outputs).tolist() == pytest.approx([1.0] * N, abs=1e-5)
    assert float(task.agreement(outputs, other).mean()) < 1
    taught = task.distil(task.plain(outputs), task.plain(outputs), 2.0)
    if taught is None:
        assert name == "detection"
        return
    assert float(taught) == pytest.approx(0.0, abs=1e-5)
    other_taught = task.distil(task.plain(other), task.plain(outputs), 2.0)
    assert other_taught is not None
    assert float(other_taught) > 1e-3


@pytest.mark.parametrize(
    ("name", "closing"), [("classification", nn.Softmax(1)), ("binary", nn.Sigmoid()), ("multi-label", nn.Sigmoid())]
)
def test_probabilities_are_worth_what_their_logits_are(name: str, closing: nn.Module) -> None:
    _, outputs, target = CASES[name]
    width = outputs.shape[1]
    plain, closed = (capture(nn.Sequential(nn.Linear(width, width), *more), (width,)) for more in ([], [closing]))
    raw = task_of(name).fitted(plain)
    fitted = task_of(name).fitted(closed)
    assert float(fitted.loss(closing(outputs), target)) == pytest.approx(float(raw.loss(outputs, target)), rel=1e-4)
    assert torch.equal(fitted.scores(closing(outputs), target), raw.scores(outputs, target))


@pytest.mark.parametrize("name", ["classification", "binary", "multi-label"])
def test_the_only_output_may_be_nested_and_of_several_none_is_guessed(name: str) -> None:
    task, outputs, target = task_of(name), *CASES[name][1:]
    nested = {"aux": None, "logits": outputs}
    assert torch.equal(task.loss(nested, target), task.loss(outputs, target))
    assert torch.equal(task.scores(nested, target), task.scores(outputs, target))
    assert torch.equal(task.plain(nested), outputs.reshape(task.plain(nested).shape))

    class Several(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x + 1, x * 2

    with pytest.raises(CompressorError, match=rf"the model returns 2 tensors \(.*\); task = {name} is for one"):
        task.check(capture(Several(), (8,)), problem(task, target))


def test_one_number_per_sample_is_never_spread_over_others() -> None:
    task, numbers = task_of("regression"), torch.arange(4.0)
    assert float(task.loss(numbers.view(4, 1), numbers)) == 0
    assert task.scores(numbers.view(4, 1), numbers + 1).tolist() == [-1.0] * 4


def test_pixels_of_no_class_count_nowhere_and_maps_are_resized() -> None:
    task, masks = Segmentation(), torch.zeros(1, 4, 4, dtype=torch.int64)
    masks[0, 0] = 255
    right = torch.tensor([[[[5.0, 5.0], [5.0, 5.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    meter = task.meter()
    meter.update(right, masks)
    assert meter.value() == 1.0
    assert float(task.scores(right, masks)) == 1.0


class Flat(nn.Module):
    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.shape, self.layer = shape, nn.Linear(8, math.prod(shape))

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.layer(x).reshape(-1, *self.shape)
        return values


def problem(task: Task, target: Any) -> Data:
    split = HeldSplit(torch.zeros(N, 8), target)
    return Data("set", "made", split, split, (), (), (), lambda: split, task=task)


@pytest.mark.parametrize(
    ("name", "shape", "target", "message"),
    [
        ("classification", (3,), LABELS, "4 classes, but the model has only 3 outputs"),
        ("classification", (1,), LABELS % 2, "task = binary"),
        ("classification", (4,), ROWS, "one class index per sample"),
        ("classification", (4,), None, 'without labels, the task "agreement"'),
        ("binary", (2,), LABELS % 2, r"one number per sample, the model gives \(2,\)"),
        ("binary", (1,), LABELS, "targets of 0 and 1, one here is"),
        ("multi-label", (3,), (ROWS > 0).long(), "the model has 3 outputs"),
        ("segmentation", (4,), MASKS, "a map per class"),
        ("segmentation", (3, 6, 6), MASKS, "class 3 occurs in the masks, but the model has 3 outputs"),
        ("regression", (3,), ROWS, r"outputs are \(3,\), its targets \(4,\)"),
        ("embedding", (4,), torch.arange(N), "no two validation samples are of one kind"),
        ("detection", (4,), ROWS, '"boxes", "labels"'),
        ("detection", (4,), [NOTHING] * N, "there is no box in 24 validation images: mAP cannot be told"),
    ],
)
def test_what_does_not_go_together_is_said_in_one_line(
    name: str, shape: tuple[int, ...], target: Any, message: str
) -> None:
    task = task_of(name)
    with pytest.raises(CompressorError, match=message) as caught:
        task.check(capture(Flat(*shape), (8,)), problem(task, target))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in CASES if name != "agreement"])
def test_a_guess_is_what_a_network_that_does_not_look_can_have(name: str) -> None:
    """Answers to shuffled inputs are no better than the guess says."""
    task, outputs, target = task_of(name), *CASES[name][1:]
    data = problem(task, target)
    guess = task.guess(data, data.validation)
    assert guess is not None
    assert math.isfinite(guess.value)
    shuffled = outputs[torch.randperm(N, generator=torch.Generator().manual_seed(1))]
    if name not in ("embedding", "detection"):
        assert no_better(task.metric, measured(task, shuffled * 0, target)[0], replace(guess, error=0.3))


METRICS = st.builds(Metric, st.just("m"), st.sampled_from(["higher", "lower"]), st.sampled_from(["%", "", "m"]))


@settings(max_examples=60, deadline=None)
@given(METRICS, st.floats(0, 1), st.floats(0, 1))
def test_less_regret_is_better_whatever_the_direction(metric: Metric, one: float, other: float) -> None:
    better = one > other if metric.direction == "higher" else one < other
    assert (metric.regret(one) < metric.regret(other)) == better or math.isclose(one, other)
    assert metric.drop(one, other) == pytest.approx(-metric.drop(other, one))
    assert metric.regret(math.nan) == math.inf
    assert drop(Quality.of(metric, one), Quality.of(metric, other)) == pytest.approx(metric.drop(one, other))


@pytest.mark.parametrize(
    ("direction", "unit", "text", "difference"),
    [
        ("higher", "%", "92.10 %", "0.42 points"),
        ("lower", "m", "0.921 m", "0.0042 m"),
        ("higher", "", "0.921", "0.0042"),
    ],
)
def test_figures_are_written_in_the_unit_of_the_metric(
    direction: Direction, unit: str, text: str, difference: str
) -> None:
    metric = Metric("m", direction, unit)
    assert (metric.text(0.921), metric.difference(0.0042)) == (text, difference)
    assert metric.text(None) == "unknown"


def test_evidently_better_counts_the_samples_that_differ() -> None:
    right = torch.ones(100)
    slightly, clearly = right.clone(), right.clone()
    slightly[:5], clearly[:12] = 0, 0
    assert not evidently_better(right, slightly)
    assert evidently_better(right, clearly)
    assert not evidently_better(clearly, right)
    assert not evidently_better(right, right)


def test_few_samples_make_a_guess_wide() -> None:
    accuracy, share = Metric("accuracy"), 0.1
    few, many = (Guess(share, "", math.sqrt(share * (1 - share) / count)) for count in (10, 6000))
    assert no_better(accuracy, 0.28, few)
    assert not no_better(accuracy, 0.16, many)
    assert no_better(accuracy, 0.14, many), "untrained networks reach that on Fashion-MNIST"


def test_the_jackknife_error_of_a_corpus_metric_is_near_the_spread_of_repeated_draws() -> None:
    values, errors = [], []
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        masks = torch.randint(0, 2, (48, 4, 4), generator=generator)
        wrong = torch.rand(48, 1, 1, generator=generator) * 0.6 > torch.rand(48, 4, 4, generator=generator)
        said = nn.functional.one_hot(torch.where(wrong, 1 - masks, masks), 2).permute(0, 3, 1, 2).float()
        meter = Segmentation().meter()
        for part in range(0, 48, 12):
            meter.update(said[part : part + 12], masks[part : part + 12])
        values.append(meter.value())
        errors.append(meter.error() or 0.0)
    spread = torch.tensor(values).std().item()
    assert 0.5 * spread < sum(errors) / len(errors) < 2 * spread


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TaskSpec("clasification"), "there is no task 'clasification'; did you mean 'classification'"),
        (TaskSpec("regression", {"measure": "rmsle"}), "option 'measure' cannot be 'rmsle'"),
        (TaskSpec("regression", {"mesure": "mae"}), "unknown option 'mesure'; did you mean 'measure'"),
        (TaskSpec("math:pi"), "math:pi is no Task"),
        (TaskSpec("no_such_module:Task"), "no_such_module cannot be imported"),
    ],
)
def test_a_wrong_name_or_option_is_one_line(spec: TaskSpec, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_task(spec)


def test_a_task_of_ones_own_comes_by_module_and_name() -> None:
    task = make_task(TaskSpec("compressor.task.regression:Regression", {"measure": "mse"}))
    assert task.metric.name == "MSE"
    assert DataError is not None


def test_maps_that_close_with_a_softmax_are_probabilities_too() -> None:
    """A softmax over the channels of a map; negative control: one that is flattened is no closing one."""
    maps = torch.randn(2, K, 6, 6, generator=SEED)
    closed = capture(nn.Sequential(nn.Conv2d(3, K, 1), nn.Softmax(1)), (3, 6, 6))
    task = Segmentation().fitted(closed)
    assert task.probabilities
    assert float(task.loss(maps.softmax(1), MASKS[:2])) == pytest.approx(float(Segmentation().loss(maps, MASKS[:2])))
    inside = capture(nn.Sequential(nn.Conv2d(3, K, 1), nn.Softmax(1), nn.Flatten()), (3, 6, 6))
    assert not Segmentation().fitted(inside).probabilities


class TwoRows(Flat):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        values: Tensor = self.layer(x)
        return values, values + 1


def test_several_outputs_are_no_row_of_scores() -> None:
    task = task_of("classification")
    with pytest.raises(CompressorError, match=r"the model returns 2 tensors.*name another task"):
        task.check(capture(TwoRows(4), (8,)), problem(task, LABELS))
