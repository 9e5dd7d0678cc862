"""Agreement of networks with several outputs: each is held to the baseline's by itself, and the worst one counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import compressor
from compressor.data.answered import answered
from compressor.data.fit import check_fit
from compressor.errors import CompressorError
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.task import TaskSpec, make_task
from compressor.task.likeness import RealNumbers
from compressor.task.task import DetailedMeter, relative_agreement
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.spec import Distillation, TrainingSpec

CHANCE = torch.Generator().manual_seed(0)
SCORES = 1000 * torch.randn(64, 5, generator=CHANCE)
BOXES = 0.01 * torch.randn(64, 4, generator=CHANCE)


class Heads(nn.Module):
    """Boxes of small numbers beside scores of large ones; ``form`` nests them."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any] = lambda boxes, scores: (boxes, scores)) -> None:
        super().__init__()
        self.form = form
        self.body = nn.Sequential(nn.Linear(6, 12), nn.ReLU())
        self.boxes, self.scores = nn.Linear(12, 4), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Any:
        seen = self.body(x)
        return self.form(0.01 * self.boxes(seen), 100 * self.scores(seen))


def named(boxes: Tensor, scores: Tensor) -> dict[str, Tensor]:
    return {"boxes": boxes, "scores": scores}


def network(form: Callable[[Tensor, Tensor], Any] = named) -> Network:
    torch.manual_seed(0)
    return capture(Heads(form), (6,))


def inputs(count: int = 48, seed: int = 1) -> Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def data(task: TaskSpec) -> compressor.Data:
    return compressor.from_loaders(
        *(torch.utils.data.TensorDataset(inputs(seed=s)) for s in range(3)), task=make_task(task)
    )


def test_a_small_output_counts_as_much_as_a_large_one() -> None:
    """The kind of fault: one norm over both would call this 100 %."""
    task = make_task(TaskSpec("agreement"))
    spoilt = BOXES.roll(1, 0)
    meter = task.meter()
    for part in torch.arange(64).chunk(4):
        meter.update((spoilt[part], SCORES[part]), (BOXES[part], SCORES[part]))
    assert isinstance(meter, DetailedMeter)
    assert meter.parts() == {"0": meter.value(), "1": 1.0}
    assert meter.value() == pytest.approx(max(0.0, 1 - float((spoilt - BOXES).norm() / BOXES.norm())), abs=1e-6)
    assert float(task.scores((spoilt, SCORES), (BOXES, SCORES)).mean()) < 0.5
    assert torch.equal(relative_agreement((spoilt, SCORES), (BOXES, SCORES)), relative_agreement(spoilt, BOXES))


def test_the_loss_weighs_outputs_evenly_whatever_their_unit() -> None:
    task = make_task(TaskSpec("agreement"))
    noise = 0.1 * torch.randn(64, 4, generator=torch.Generator().manual_seed(3))
    apart = [float(task.loss((scale * (BOXES + noise), SCORES), (scale * BOXES, SCORES))) for scale in (1e-3, 1.0, 1e3)]
    assert apart == pytest.approx([apart[0]] * 3, rel=1e-4)
    assert apart[0] > 1e-3


def test_the_standard_error_is_what_drawing_the_samples_again_gives() -> None:
    chance = torch.Generator().manual_seed(5)
    drawn, told = [], []
    for _ in range(300):
        theirs = torch.randn(200, 3, generator=chance)
        meter = RealNumbers().meter()
        meter.update(theirs + 0.2 * torch.randn(200, 3, generator=chance), theirs)
        drawn.append(meter.value())
        told.append(meter.error() or 0.0)
    assert sum(told) / len(told) == pytest.approx(float(torch.tensor(drawn).std()), rel=0.15)


def test_samples_of_which_the_baseline_says_nothing_count_on_the_scale_of_the_output() -> None:
    theirs = torch.cat([torch.zeros(50, 4), torch.ones(50, 4)])
    meter = RealNumbers().meter()
    meter.update(theirs + 0.01, theirs)
    assert meter.value() == pytest.approx(1 - 0.01 * 2**0.5, abs=1e-6)
    silent = RealNumbers().meter()
    silent.update(torch.zeros(4, 2), torch.zeros(4, 2))
    assert (silent.value(), silent.error()) == (1.0, 0.0)
    lost = make_task(TaskSpec("agreement")).loss(torch.full((4, 2), 1e-3), torch.zeros(4, 2))
    assert float(lost) == pytest.approx(0.5e-6)  # and no million times that


def test_outputs_that_differ_in_kind_are_each_compared_as_what_they_are() -> None:
    mixed = TaskSpec("agreement", {"like": {"scores": "classification"}})
    net, task = network(), make_task(mixed)
    meter = task.fitted(net).meter()
    ours = {"boxes": BOXES * 1.01, "scores": 3 * SCORES + 7}  # other scores, the same classes
    meter.update(ours, {"boxes": BOXES, "scores": SCORES})
    assert isinstance(meter, DetailedMeter)
    assert meter.parts() == pytest.approx({"boxes": 0.99, "scores": 1.0}, abs=1e-6)
    wholly = make_task(TaskSpec("agreement")).fitted(net).meter()
    wholly.update(ours, {"boxes": BOXES, "scores": SCORES})
    assert wholly.value() == 0.0  # as numbers the scores are far off


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({"score": "classification"}, "the network has no output 'score'; did you mean 'scores'"),
        ("binary", r"'binary' is for one number per sample, and output boxes is \(4,\) per sample; of outputs"),
        ({"boxes": "segmentation"}, "'segmentation' is for a map per class"),
    ],
)
def test_a_likeness_that_no_output_can_have_is_one_line(like: Any, message: str) -> None:
    with pytest.raises(CompressorError, match=message) as caught:
        check_fit(network(), data(TaskSpec("agreement", {"like": like})))
    assert "\n" not in str(caught.value)


FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "dict": named,
    "list": lambda boxes, scores: [boxes, scores],
    "with a constant": lambda boxes, scores: {"boxes": boxes, "aux": None, "more": (scores, 3)},
    "with whole numbers": lambda boxes, scores: (boxes, scores, scores.argmax(1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_network_agrees_with_itself_and_a_moved_one_is_taught_to(form: str) -> None:
    teacher = network(FORMS[form])
    told = answered(data(TaskSpec("agreement")), teacher)
    score = evaluate(teacher, told, told.validation)
    assert score.quality == pytest.approx(1.0)
    assert set(score.parts) == {spec.name for spec in teacher.signature.outputs}
    student = teacher.fork()
    with torch.no_grad():
        for parameter in student.module.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(7))
    before = evaluate(student, told, told.validation)
    spec = TrainingSpec(epochs=20, batch=8, lr=0.01, distillation=Distillation(logits=1.0))
    fit(student, told, spec, teacher=teacher)
    after = evaluate(student, told, told.validation)
    assert min(after.parts.values()) > min(before.parts.values())
    assert after.quality > before.quality
