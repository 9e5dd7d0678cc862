"""What is trained and timed for the page of ``vgg_redundancy.py``: tilings, masks, students, latencies.

Training and the probe's budget are those of ``recipes/vgg_redundancy.toml``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from compressor_plugins.input_mask.parity_masks import REFERENCE
from compressor_plugins.input_mask.plugin import masked_conv
from compressor_plugins.input_mask.stems import REPAIRS, put, repaired_by, stems
from compressor_plugins.redundancy import Redundancy
from compressor_plugins.redundancy.arms import Arm as ProbeArm
from compressor_plugins.redundancy.arms import run_arm
from compressor_plugins.redundancy.tilings import TilingName
from torch import Tensor

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.data.stratify import stratified
from compressor.engine.apply import apply_edit
from compressor.engine.control import reinitialise
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.measure.latency import compare
from compressor.models import find
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe
from compressor.registry import PILOTS
from compressor.train.evaluate import evaluate, predict
from compressor.train.spec import Distillation, TrainingSpec
from papers.arms import Arm, Arms, Budget, Figures, differences
from papers.commands import recipe_path
from papers.resumed import fit
from papers.weights import trained

NETWORK = "vgg16-quarter-32"
STEM, REMOVED = "conv1_1", ("conv4_3..relu4_3", "conv5_3..relu5_3")
DATA = DataSpec(name="cifar-10", limit=6000, validation=1000)
"""Of the probe's sets, the teachers and their students; the recipe takes more."""
STUDENT_MASK = "101000101"
"""The four taps that the document's parameter count of the student asks for."""
STRIDED = f"{REFERENCE}, stride 2"

LIGHTER = {"vgg16-s0-student": "3×3 stem", "vgg16-s0-student-4tap": "four-tap stem"}
STUDENTS = ("student, teacher's answers", "student, labels alone", "student, from scratch")
TEACHERS = ("teacher", "teacher, trained on", "teacher, focal loss")


@dataclass(frozen=True)
class Budgets:
    """What the parts of the page are given."""

    tilings: Budget
    teacher: Budget
    masks: Budget
    student: Budget


_PROBE_SETS = 3
TEST_IMAGES = 4000
"""Scored per arm at the default budget: every class with its share, the same ones for all arms."""
DEFAULT = Budgets(
    Budget("default", 3, train=2000),
    Budget("default", 5, train=4000),
    Budget("default", 1, train=4000),
    Budget("default", 2, train=4000),
)
FULL = Budgets(Budget("full", 20, train=9666), Budget("full", 20), Budget("full", 20), Budget("full", 20))
TIMED = Budget("paired", 0)


# --- stage 1 ---------------------------------------------------------------------------------------------------------


def train_tiling(name: TilingName, seed: int, budget: Budget) -> Figures:
    """An arm of the recipe's pilot study, with its seeds, scored on validation images: a study opens no test split."""
    recipe = _recipe()
    study = recipe.pilot and PILOTS.make(recipe.pilot.name, recipe.pilot.options)
    assert isinstance(study, Redundancy)
    spec = replace(study, sets=_PROBE_SETS, epochs=budget.epochs, limit=budget.train)
    arm = ProbeArm(name, seed % _PROBE_SETS + 1, seed // _PROBE_SETS + 1)
    score = run_arm(_new(0), _probed_data(budget.train), spec, recipe.training, arm, seed=recipe.search.seed)
    return {"error": score.error, "loss": score.loss}


# --- stages 2 and 3 --------------------------------------------------------------------------------------------------


def _teacher(seed: int, budget: Budget, loss: Literal["cross-entropy", "focal"] = "cross-entropy") -> Network:
    network, spec = _new(seed), replace(_training(budget), loss=loss, lr=2e-3)
    trained(network, _data(budget.train), spec, seed=seed, page="vgg_redundancy", name=NETWORK)
    return network


def train_mask(mask: str, seed: int, budgets: Budgets) -> Figures:
    """The teacher, masked and trained on; ``111111111`` keeps its stride, its twin has stride 2 as masks do."""
    data, network = _data(budgets.masks.train), _teacher(seed, budgets.teacher).fork()
    if mask == STRIDED:
        _stride_two(network)
    elif mask != REFERENCE:
        apply_edit(network, Edit("input-mask", STEM, {"mask": mask}), _evidence(data))
    _evidence(data).calibrate(network)
    fit(network, data, _training(budgets.masks), seed=seed)
    return _scored(network, data)


def train_student(name: str, seed: int, budgets: Budgets) -> Figures:
    data = _data(budgets.student.train)
    if name == "teacher, focal loss":
        return _scored(_teacher(seed, budgets.teacher, "focal"), data)
    teacher = _teacher(seed, budgets.teacher)
    if name == "teacher":
        return _scored(teacher, data)
    network, spec = teacher.fork(), _training(budgets.student)
    if name != "teacher, trained on":
        apply_edit(network, Edit("input-mask", STEM, {"mask": STUDENT_MASK}), _evidence(data))
        for path in REMOVED:
            apply_edit(network, Edit("layer-removal", path), _evidence(data))
        _evidence(data).calibrate(network)
    if name == "student, from scratch":
        reinitialise(network, seed)
        spec = replace(spec, epochs=spec.epochs + budgets.teacher.epochs, lr=2e-3)
    if name == "student, teacher's answers":
        spec = replace(spec, distillation=Distillation(logits=0.5))
    fit(network, data, spec, seed=seed, teacher=teacher)
    return _scored(network, data)


def _stride_two(network: Network) -> None:
    """What a mask does to a stem of stride 1, with all taps: the reference that differs from masks in nothing else."""
    stem = dict(stems(network))[STEM]
    assert not isinstance(stem, str)
    strided = masked_conv(stem, torch.ones(3, 3, dtype=torch.bool), merge=False)
    editor = Editor(network)
    put(editor, stem, strided, repaired_by(network, stem, strided, REPAIRS) or ())
    editor.commit()


def _scored(network: Network, data: Data) -> Figures:
    """Error, precision and recall on the test split, opened here, once; macro averages over the classes."""
    test = data.open_test()
    if len(data.train) < len(test):  # the default budget
        test = test.take(stratified(test.targets(), TEST_IMAGES, 0)[1])
    answers = predict(network, data, test.images).argmax(1)
    precision, recall = _macro(answers, test.targets(), len(data.classes))
    cost = network_cost(network)
    return {
        "validation error": 1 - evaluate(network, data, data.validation).quality,
        "error": float((answers != test.targets()).float().mean()),
        "precision": precision,
        "recall": recall,
        "parameters": cost.parameter_count,
        "macs": cost.mac_count,
    }


def _macro(answers: Tensor, labels: Tensor, classes: int) -> tuple[float, float]:
    right = torch.bincount(labels[answers == labels], minlength=classes).double()
    given = torch.bincount(answers, minlength=classes).clamp_min(1)
    there = torch.bincount(labels, minlength=classes).clamp_min(1)
    return float((right / given).mean()), float((right / there).mean())


def time_lighter(name: str, seed: int) -> Figures:
    """One image of 3×128×128 through the document's networks at full width; weights are drawn."""
    teacher, student = (to_onnx(_untrained(each)) for each in ("vgg16-s0", name))
    timing = compare(teacher, student, seed=seed)
    return {
        "teacher us": timing.baseline_us,
        "student us": timing.candidate_us,
        "speedup": timing.speedup,
        "low": timing.low,
        "high": timing.high,
        "parameters": find(name).params,
    }


# --- what all share --------------------------------------------------------------------------------------------------


@functools.cache
def _recipe() -> Recipe:
    return read_recipe(recipe_path("vgg_redundancy"))


def _training(budget: Budget) -> TrainingSpec:
    return replace(_recipe().training, epochs=budget.epochs, distillation=Distillation())


@functools.cache
def _probed_data(each: int) -> Data:
    """All of it where the sets need more."""
    return load_data(DATA if _PROBE_SETS * each <= DATA.limit else replace(DATA, limit=0))


@functools.cache
def _data(train: int) -> Data:
    return load_data(replace(DATA, limit=train))


def _evidence(data: Data) -> Evidence:
    return Evidence(data.calibration_batches(512))


def _new(seed: int) -> Network:
    torch.manual_seed(seed)
    return _untrained(NETWORK)


def _untrained(name: str) -> Network:
    entry = find(name)
    return capture(entry.build(), entry.input_shape, name)


# --- what tables and claims share ---


def against(arms: Arms, reference: str, found: Sequence[Arm], budget: Budget) -> list[float]:
    """Errors less those of the reference, seed by seed."""
    return differences(found, arms.of(reference, budget), "error")
