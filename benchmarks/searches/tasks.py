"""What is searched: a network on its data, every plugin of a recipe, the same short trainings and limits for all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from compressor.engine.space import PhaseSpec
from compressor.recipe.model import Recipe
from compressor.recipe.read import read_recipe

ROOT = Path(__file__).resolve().parent.parent.parent
SIZE, LATENCY = 0.3, 1.0
"""Limits, shares of the baseline's."""


@dataclass(frozen=True)
class Task:
    """A network, its data, and what a trial of it costs."""

    title: str
    train: tuple[str, ...]
    """The command that trains the baseline, without its file."""
    recipe: str
    """In recipes/; its plugins, policies and trainings are taken, its epochs are ``epochs`` a phase."""
    samples: int
    """Trained on."""
    validation: int
    """Others, that choose."""
    epochs: int
    batch: int
    drop: float
    """Limit: points of validation accuracy below the baseline's, as a share."""
    grid: int
    """Networks of another tool's grid that are trained: about as long as a search takes."""
    dynamic: bool
    """Whether 8 bits of ONNX Runtime are dynamic, in dense layers alone: the faster form of a network this small."""
    by_hand: tuple[str, ...]
    """Plans that a person would begin with, as inline tables of a recipe."""
    policies: tuple[str, ...] = ()
    """Settings of the recipe's plugins that are others here."""
    besides: str = ""
    """What ``policies`` says, in words."""

    def settings(self) -> tuple[str, ...]:
        return (
            f"data.limit={self.samples}",
            f"data.validation={self.validation}",
            f"training.epochs={self.epochs}",
            f"training.batch={self.batch}",
            "search.jobs=1",
            "search.patience=200",
            "search.automatic_seeds=false",
            f"constraints.max_drop={self.drop}",
            f"constraints.max_size={SIZE}",
            f"constraints.max_latency={LATENCY}",
            "measure.finalists=1",
            *self.policies,
        )

    def recipe_of(self, sampler: str, seed: int, trials: int, *, by_hand: bool = False) -> Recipe:
        """The recipe of one search."""
        plans = ",".join(self.by_hand if by_hand else ())
        search = {"sampler": sampler, "seed": seed, "trials": trials, "seeds": f"[{plans}]"}
        chosen = tuple(f"search.{key}={value}" for key, value in search.items())
        recipe = read_recipe(str(ROOT / "recipes" / f"{self.recipe}.toml"), (*self.settings(), *chosen))
        return replace(recipe, phases=tuple(map(self._short, recipe.phases)))

    def _short(self, phase: PhaseSpec) -> PhaseSpec:
        training = phase.training and replace(phase.training, epochs=self.epochs, batch=self.batch)
        return replace(phase, training=training)

    def baseline(self, work: Path) -> Path:
        """The network trained once, for all arms and seeds."""
        model = work / "baseline.pt"
        if not model.exists():
            words = [*self.train, "--out", str(model)]
            subprocess.run([sys.executable, "-m", "compressor.cli.main", *words], check=True)
        return model

    @property
    def about(self) -> str:
        return (
            f"{self.title}: all plugins of {self.recipe}.toml with its policies{self.besides}; {self.epochs} epoch of "
            f"{self.samples:,} images a phase, {self.validation:,} others for validation; limits: "
            f"{100 * self.drop:g} points of validation accuracy, {SIZE:g} of the bytes, {LATENCY:g} of the time."
        )


TASKS: Mapping[str, Task] = {
    "lenet": Task(
        title="LeNet on Fashion-MNIST",
        train=("train", "lenet", "--data", "fashion-mnist", "--epochs", "6"),
        recipe="joint",
        samples=8000,
        validation=2000,
        epochs=1,
        batch=64,
        drop=0.06,
        grid=36,
        dynamic=True,
        by_hand=(
            '{shape={input-mask={mask="1110"},layer-removal={count=1,follow=0.0},'
            "magnitude-prune={fc1=true,fc2=true}},bits={quantize-weights={bits=4}}}",
            '{shape={input-mask={mask="1110"},layer-removal={count=1,follow=0.0},'
            'magnitude-prune={fc1=true,"fc1:ratio"=0.75,fc2=true}},bits={quantize-weights={bits=4}}}',
            '{shape={input-mask={mask="1110"},layer-removal={count=1},magnitude-prune={fc2=true}},'
            "bits={quantize-weights={bits=4}}}",
            '{shape={input-mask={mask="1110"},layer-removal={count=1},magnitude-prune={conv2=true}},'
            "bits={quantize-weights={bits=4}}}",
        ),
    ),
    "resnet8": Task(
        title="ResNet-8 on CIFAR-10",
        train=(
            *("train", "resnet8", "--data", "cifar-10", "--epochs", "10", "--optimizer", "sgd", "--lr", "0.2"),
            *("--schedule", "one-cycle", "--weight-decay", "5e-4", "--shift", "4", "--flip", "--precision", "bfloat16"),
        ),
        recipe="joint_cifar",
        samples=6000,
        validation=2000,
        epochs=1,
        batch=64,
        drop=0.06,
        grid=20,
        dynamic=False,
        by_hand=(
            '{shape={magnitude-prune={"stages.2.0.conv1"=true,"stages.2.0.conv1:ratio"=0.5}},bits={quantize={bits=4}}}',
            '{shape={magnitude-prune={"stages.1.0.conv1"=true,"stages.2.0.conv1"=true,"stages.2.0.conv1:ratio"=0.5}},'
            "bits={quantize={bits=4}}}",
            "{shape={layer-removal={count=1}},bits={quantize={bits=4}}}",
            "{shape={layer-removal={count=1}},bits={binarize={count=1},quantize={bits=8}}}",
        ),
        policies=(
            "phases.shape.plugins.layer-removal.policy=spread",
            'phases.shape.plugins.layer-removal.only=["*"]',
        ),
        besides=" (layers are removed by rank)",
    ),
}
