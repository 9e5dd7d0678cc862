"""Every task learns from a teacher: by features always, by answers where the task says what they lose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from test_refused_targets import DETECTION, KINDS, LABELS, MASKS, NUMBERS, images, listed, network, tensors

import compressor
from compressor.data.answered import answered
from compressor.errors import TrialError
from compressor.graph.capture import capture
from compressor.graph.nested import first
from compressor.graph.network import Network
from compressor.task import TaskSpec, make_task
from compressor.train.fit import fit
from compressor.train.spec import Distillation, TrainingSpec

BOXED = listed(lambda i: {"boxes": torch.tensor([[1.0, 1, 5, 6], [4, 4, 7, 7]]), "labels": KINDS})
TASKS: dict[str, tuple[TaskSpec, Any, Any]] = {
    "classification": (TaskSpec(), network(4), tensors(LABELS)),
    "binary": (TaskSpec("binary"), network(1), tensors(LABELS % 2)),
    "multi-label": (TaskSpec("multi-label"), network(2), tensors((NUMBERS > 9).long())),
    "segmentation": (TaskSpec("segmentation"), network(3, maps=True), tensors(MASKS)),
    "regression": (TaskSpec("regression"), network(2), tensors(NUMBERS / 48)),
    "embedding": (TaskSpec("embedding"), network(8), tensors(LABELS)),
    "detection": (DETECTION, network(13, maps=True), BOXED),
    "agreement": (TaskSpec("agreement"), network(3, maps=True), tensors(MASKS)),
}


@pytest.mark.parametrize("way", ["features", "logits"])
@pytest.mark.parametrize("name", TASKS)
def test_a_student_comes_nearer_to_its_teacher_than_one_without(name: str, way: str) -> None:
    spec, module, make = TASKS[name]
    torch.manual_seed(0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    task = make_task(spec)
    data = compressor.from_loaders(*(make(images(split)) for split in range(3)), task=task)
    teacher = capture(module, data.input_shape)
    student = teacher.fork()
    for parameter in student.module.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    alone = student.fork()
    wanted = Distillation(temperature=1.0, **{way: 50.0})
    training = TrainingSpec(epochs=8, batch=8, lr=5e-3, distillation=wanted, restore_best=False)
    if name == "detection" and way == "logits":
        with pytest.raises(TrialError, match="the task does not say what answers lose; use features"):
            fit(student, answered(data, teacher), training, teacher=teacher, seed=0)
        return
    fit(student, answered(data, teacher), training, teacher=teacher, seed=0)
    if not task.own_answers:  # whose targets are the teacher's answers anyway
        fit(alone, data, replace(training, distillation=Distillation()), seed=0)
    assert _distance(student, teacher) < _distance(alone, teacher)


def _distance(student: Network, teacher: Network) -> float:
    with torch.no_grad():
        ours, theirs = (first(one.eval()(images(0))) for one in (student, teacher))
    return float((ours - theirs).norm() / theirs.norm())
