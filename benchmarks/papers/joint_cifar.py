"""ResNet-8 on CIFAR-10 by all plugins in one search, beside other tools.

peers    ResNet-8 in 8 bits by ONNX Runtime; halved by Torch-Pruning, with their training and with ours; both
joint    the same ResNet-8 through ``recipes/joint_cifar.toml``: the best candidate, and the front's most accurate one
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from compressor.load.model import load_model
from compressor.train.spec import TrainingSpec
from papers.arms import Arms, Budget, Figures, Job
from papers.commands import ROOT, line, longer, tables_of
from papers.compared import (
    BATCHES,
    Choice,
    Subject,
    as_rival,
    beaten,
    data_of,
    found,
    median_speed,
    most_accurate,
    plans,
)
from papers.measured import count, missing, percent
from papers.page import Claim, Page, Table
from papers.peers import static_int8

RESNET = Subject(
    train=(
        *("train", "resnet8", "--data", "cifar-10", "--optimizer", "sgd", "--lr", "0.2", "--schedule", "one-cycle"),
        *("--weight-decay", "5e-4", "--shift", "4", "--flip", "--precision", "bfloat16"),
    ),
    data="cifar-10",
    recipe="joint_cifar",
    plain=TrainingSpec(batch=128, lr=2e-3, schedule="cosine"),
    work=ROOT / "runs" / "papers" / "joint_cifar",
)
CALIBRATION = 512
"""Training images from which 8-bit scales are taken."""
JOINT, ACCURATE = "joint", "joint, most accurate"
OURS = {JOINT: "The joint search", ACCURATE: "The most accurate network of its front"}


@dataclass(frozen=True)
class Budgets:
    """Epochs: of the first training, of the peers' two trainings, of the recipe's longest phase."""

    whole: Budget
    plain: Budget
    ours: Budget
    joint: Budget
    more: int = 1

    def of(self, name: str) -> Budget:
        """That of an arm."""
        known = {"ResNet-8": self.whole, "ResNet-8, int8": self.whole, JOINT: self.joint, ACCURATE: self.joint}
        return known.get(name, self.ours if "our training" in name else self.plain)


DEFAULT = Budgets(Budget("default", 10), Budget("default", 5), Budget("default", 6), Budget("default", 4))
FULL = Budgets(Budget("full", 100), Budget("full", 50), Budget("full", 60), Budget("full", 40), more=10)


# --- the arms --------------------------------------------------------------------------------------------------------


def jobs(seeds: Sequence[int], budgets: Budgets) -> Iterator[Job]:
    """Seed by seed."""
    for seed in seeds:
        for name, work in ARMS.items():
            yield Job(name, seed, budgets.of(name), functools.partial(work, seed, budgets))


def _whole(seed: int, budgets: Budgets) -> Figures:
    return RESNET.whole(seed, budgets.whole)


def _whole_int8(seed: int, budgets: Budgets) -> Figures:
    network = load_model(str(RESNET.trained(seed, budgets.whole)))
    return RESNET.figures(network, static_int8(network, _calibration()))


def _joint(seed: int, budgets: Budgets, choose: Choice = operator.attrgetter("best")) -> Figures:
    model, name = RESNET.trained(seed, budgets.whole), budgets.joint.name
    more = longer("joint_cifar", budgets.more) if budgets.more > 1 else []
    return RESNET.by_recipe(model, "joint_cifar", seed, name, *more, choose=choose)


def _halved(seed: int, budgets: Budgets, *, ours: bool, int8: bool) -> Figures:
    epochs = (budgets.ours if ours else budgets.plain).epochs
    network = RESNET.finetuned(RESNET.trained(seed, budgets.whole), seed, epochs, halved=True, ours=ours)
    return RESNET.figures(network, static_int8(network, _calibration()) if int8 else None)


def _calibration() -> list[Tensor]:
    return [images for images, _ in data_of(RESNET.data).calibration_batches(CALIBRATION)]


ARMS: Mapping[str, Callable[[int, Budgets], Figures]] = {
    "ResNet-8": _whole,
    JOINT: _joint,
    ACCURATE: functools.partial(_joint, choose=most_accurate),
    "ResNet-8, int8": _whole_int8,
    "Torch-Pruning ½": functools.partial(_halved, ours=False, int8=False),
    "Torch-Pruning ½, int8": functools.partial(_halved, ours=False, int8=True),
    "Torch-Pruning ½, our training": functools.partial(_halved, ours=True, int8=False),
    "Torch-Pruning ½, our training, int8": functools.partial(_halved, ours=True, int8=True),
}


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms) -> Page:
    budgets = DEFAULT
    return Page(
        name="joint_cifar",
        title="All plugins in one search, CIFAR-10",
        about="ResNet-8 is compressed by every plugin in one search, under accuracy, bytes and measured time; beside "
        "it stands what other tools make of the same ResNet-8. 45,000 of the 50,000 training images are trained on "
        "and 5,000 choose; the 10,000 test images are scored once per training, by the ONNX file in ONNX Runtime. "
        "Speed is that over ResNet-8, one thread, paired, for one image and for 64.",
        commands=(
            tables_of("joint_cifar"),
            line((*RESNET.train, "--epochs", str(budgets.whole.epochs), "--out", "resnet8.pt")),
            "compressor optimize resnet8.pt --recipe recipes/joint_cifar.toml",
        ),
        tables=(
            _table(arms, budgets),
            *plans(found(arms, JOINT, budgets.joint)),
            *plans(found(arms, ACCURATE, budgets.joint), "The most accurate of each front"),
        ),
        claims=_claims(arms, budgets),
        claims_title="Against other tools",
        not_run=[
            *missing(arms, [(name, budgets.of(name)) for name in ARMS]),
            "`--full`: ten times the epochs of everything.",
        ],
    )


def _table(arms: Arms, budgets: Budgets) -> Table:
    titles = {JOINT: "**recipes/joint_cifar.toml**", ACCURATE: "*its front's most accurate*"}
    rows = []
    for name in (*(other for other in ARMS if other not in OURS), *OURS):
        ours = found(arms, name, budgets.of(name))
        speeds = (f"{median_speed(ours, batch):.2f}×" if ours else "" for batch in BATCHES)
        rows.append((titles.get(name, name), percent(ours, "test"), count(ours, "bytes"), *speeds))
    return Table(
        "ResNet-8, compressed",
        ("", "test %", "bytes", "batch 1", "batch 64"),
        rows,
        (
            "Accuracy: mean ± standard deviation over the seeds, each with a ResNet-8 of its own. Bytes: from least to "
            f"most. Speed: median over the seeds. ResNet-8: {budgets.whole.text}. Torch-Pruning halves every width and "
            f"is trained {budgets.plain.epochs} epochs plainly, as its users do; *our training* is that of the recipe, "
            f"{budgets.ours.epochs} epochs with the ResNet-8 as teacher, which is what every candidate of the joint "
            f"search gets in two phases; *int8* is ONNX Runtime's static quantization of every layer, with scales from "
            f"{CALIBRATION} training images. The search's own row is its best candidate: the least bytes times time "
            "of those that keep the limit with something to spare. The most accurate is so on validation images.",
        ),
    )


def _claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    return [claim for name, title in OURS.items() for claim in _beaten(arms, budgets, name, title)]


def _beaten(arms: Arms, budgets: Budgets, ours: str, whose: str) -> Iterator[Claim]:
    for name in ("ResNet-8, int8", "Torch-Pruning ½, int8", "Torch-Pruning ½, our training, int8"):
        theirs = found(arms, name, budgets.of(name))
        if theirs:
            rival = f"{name} (mean of {len(theirs)})"
            yield beaten(rival, as_rival(theirs), found(arms, ours, budgets.joint), theirs, whose=whose)
