"""LeNet on Fashion-MNIST by all plugins in one search, beside other tools; and networks of 19 and 11 KiB as fast as it.

peers    LeNet halved by Torch-Pruning, then 8-bit dense layers by ONNX Runtime, with their training and with ours
joint    the same LeNet through ``recipes/joint.toml``
small    ``compact-wide`` through ``recipes/fashion_tiny.toml`` and ``recipes/fashion_micro.toml``
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from compressor.load.model import load_model
from compressor.train.spec import TrainingSpec
from papers.arms import Arm, Arms, Budget, Figures, Job, mean_std
from papers.commands import ROOT, line, longer, tables_of, trained
from papers.compared import BATCHES, Rival, Subject, as_rival, beaten, found, mean_test, median_speed, plans
from papers.measured import count, percent
from papers.page import Claim, Page, Table, Verdict
from papers.peers import dynamic_int8

LENET = Subject(
    train=("train", "lenet", "--data", "fashion-mnist"),
    data="fashion-mnist",
    recipe="joint",
    plain=TrainingSpec(batch=128, lr=2e-3, schedule="cosine"),
    work=ROOT / "runs" / "papers" / "joint",
)
WIDE = (
    *("train", "compact-wide", "--data", "fashion-mnist", "--optimizer", "adamw", "--lr", "3e-3"),
    *("--weight-decay", "0.05", "--shift", "1", "--flip", "--precision", "bfloat16"),
)
PEERS: Mapping[str, Rival] = {
    "LeNet": Rival(90.20, 432_422, (1.0, 1.0)),
    "Torch-Pruning ½": Rival(89.93, 110_308, (1.46, 1.50)),
    "Torch-Pruning ½, int8": Rival(90.04, 31_477, (1.38, 1.49)),
}
"""One run each, made with these tools before this page existed."""


@dataclass(frozen=True)
class Goal:
    """What a small network has to reach, without being slower than LeNet at either batch size."""

    test: float
    size: int
    hand_made: Rival


GOALS: Mapping[str, Goal] = {
    "fashion_tiny": Goal(92.5, 20 * 1024, Rival(92.06, 18_129, (1 / 0.85, 1 / 0.91))),
    "fashion_micro": Goal(92.0, 11 * 1024, Rival(91.58, 10_774, (1 / 0.86, 1 / 0.92))),
}


@dataclass(frozen=True)
class Budgets:
    """Epochs are those of the longest phase; a full budget multiplies the recipes' own epochs by ``more``."""

    lenet: Budget
    wide: Budget
    plain: Budget
    peers: Budget
    joint: Budget
    small: Budget
    more: int = 1
    trials: int = 0
    """Of the joint search; 0: as the recipe says."""

    def of(self, name: str) -> Budget:
        """That of an arm of the joint table."""
        known = {"LeNet": self.lenet, "joint": self.joint}
        return known.get(name, self.peers if "our training" in name else self.plain)


DEFAULT = Budgets(
    lenet=Budget("default", 10),
    wide=Budget("default", 30),
    plain=Budget("default", 5),
    peers=Budget("default", 16),
    joint=Budget("default", 10),
    small=Budget("default", 45),
)
FULL = Budgets(
    lenet=Budget("full", 10),
    wide=Budget("full", 60),
    plain=Budget("full", 5),
    peers=Budget("full", 48),
    joint=Budget("full", 30),
    small=Budget("full", 135),
    more=3,
    trials=40,
)


# --- the arms --------------------------------------------------------------------------------------------------------


def jobs(seeds: Sequence[int], budgets: Budgets) -> Iterator[Job]:
    """The small networks of every seed, then LeNet and what is made of it."""
    yield Job("compact-wide", 0, budgets.wide, functools.partial(_wide, budgets))
    for seed in seeds:
        for recipe in GOALS:
            yield Job(recipe, seed, budgets.small, functools.partial(_small, recipe, seed, budgets))
    for seed in seeds:
        yield Job("LeNet", seed, budgets.lenet, functools.partial(LENET.whole, seed, budgets.lenet))
        yield Job("joint", seed, budgets.joint, functools.partial(_joint, seed, budgets))
        for name, work in PEER_ARMS.items():
            yield Job(name, seed, budgets.of(name), functools.partial(work, seed, budgets))


def _wide(budgets: Budgets) -> Figures:
    return LENET.figures(load_model(str(trained(WIDE, 0, budgets.wide, LENET.work))))


def _small(recipe: str, seed: int, budgets: Budgets) -> Figures:
    model = trained(WIDE, 0, budgets.wide, LENET.work)
    return LENET.by_recipe(model, recipe, seed, budgets.joint.name, *_more(recipe, budgets))


def _joint(seed: int, budgets: Budgets) -> Figures:
    trials = ("--trials", str(budgets.trials)) if budgets.trials else ()
    model = LENET.trained(seed, budgets.lenet)
    return LENET.by_recipe(model, "joint", seed, budgets.joint.name, *_more("joint", budgets), *trials)


def _more(recipe: str, budgets: Budgets) -> list[str]:
    return longer(recipe, budgets.more) if budgets.more > 1 else []


def _peer(seed: int, budgets: Budgets, *, halved: bool, ours: bool, int8: bool = False) -> Figures:
    epochs = (budgets.peers if ours else budgets.plain).epochs
    network = LENET.finetuned(LENET.trained(seed, budgets.lenet), seed, epochs, halved=halved, ours=ours)
    return LENET.figures(network, dynamic_int8(network) if int8 else None)


PEER_ARMS: Mapping[str, Callable[[int, Budgets], Figures]] = {
    "LeNet, our training": functools.partial(_peer, halved=False, ours=True),
    "Torch-Pruning ½": functools.partial(_peer, halved=True, ours=False),
    "Torch-Pruning ½, int8": functools.partial(_peer, halved=True, ours=False, int8=True),
    "Torch-Pruning ½, our training": functools.partial(_peer, halved=True, ours=True),
    "Torch-Pruning ½, our training, int8": functools.partial(_peer, halved=True, ours=True, int8=True),
}


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms) -> Page:
    budgets = DEFAULT
    return Page(
        name="joint",
        title="All plugins in one search, and the smallest network in LeNet's time, Fashion-MNIST",
        about="What none of the source documents does. LeNet is compressed by every plugin in one search, under "
        "accuracy, bytes and measured time; beside it stands what other tools make of the same LeNet. Then a wide "
        "network is narrowed until it is as fast as LeNet and its file is below 20 and 11 KiB. 54,000 of the 60,000 "
        "training images are trained on and 6,000 choose; the 10,000 test images are scored once per training, by the "
        "ONNX file in ONNX Runtime. Speed is that over LeNet, one thread, paired, for one image and for 64.",
        commands=(
            tables_of("joint", seeds=5),
            line((*LENET.train, "--out", "lenet.pt")),
            "compressor optimize lenet.pt --recipe recipes/joint.toml",
            line((*WIDE, "--epochs", str(budgets.wide.epochs), "--out", "wide.pt")),
            *(f"compressor optimize wide.pt --recipe recipes/{recipe}.toml" for recipe in GOALS),
        ),
        tables=(
            _joint_table(arms, budgets),
            *plans(found(arms, "joint", budgets.joint)),
            _small_table(arms, budgets),
        ),
        claims=(*_joint_claims(arms, budgets), *_goal_claims(arms, budgets)),
        claims_title="What it was to reach",
        not_run=NOT_RUN,
    )


COLUMNS = ("", "test %, theirs", "test %", "bytes, theirs", "bytes", "batch 1, theirs", "batch 1", "64, theirs", "64")


def _joint_table(arms: Arms, budgets: Budgets) -> Table:
    names = ("LeNet", *PEER_ARMS, "joint")
    titles = {"joint": "**recipes/joint.toml**"}
    rows = [_row(titles.get(name, name), PEERS.get(name), found(arms, name, budgets.of(name))) for name in names]
    return Table(
        "LeNet, compressed",
        COLUMNS,
        rows,
        (
            "Accuracy: mean ± standard deviation over the seeds, each with a LeNet of its own. Bytes: from least to "
            "most. Speed: median over the seeds. *Theirs*: one run each, before this page existed. LeNet: "
            f"{budgets.lenet.text}. Torch-Pruning halves every width and is trained "
            f"{budgets.plain.epochs} epochs plainly, as its users do; *our training* is that of the recipe, "
            f"{budgets.peers.epochs} epochs with the LeNet as teacher, which is what every candidate of the joint "
            "search gets in two phases; *int8* is ONNX Runtime's dynamic quantization of the dense layers.",
        ),
    )


def _small_table(arms: Arms, budgets: Budgets) -> Table:
    rows = [_row("compact-wide, the teacher", None, found(arms, "compact-wide", budgets.wide))]
    for recipe, goal in GOALS.items():
        rows.append(_row(f"recipes/{recipe}.toml", goal.hand_made, found(arms, recipe, budgets.small)))
    return Table(
        "The smallest network in LeNet's time",
        COLUMNS,
        rows,
        (
            "*Theirs*: the best of a search by hand at this size, one run each. The teacher is one network of seed 0, "
            f"{budgets.wide.text}; the seeds are those of narrowing and training. Mean ± standard deviation; speed: "
            "median over the seeds.",
        ),
    )


def _row(title: str, theirs: Rival | None, ours: Sequence[Arm]) -> tuple[str, ...]:
    known: tuple[str, ...] = ("", "", "", "")
    if theirs is not None:
        known = (f"{theirs.test:.2f}", f"{theirs.size:,}", *(f"{speed:.2f}×" for speed in theirs.speeds))
    speeds = (f"{median_speed(ours, batch):.2f}×" if ours else "" for batch in BATCHES)
    here = (percent(ours, "test"), count(ours, "bytes"), *speeds)
    return (title, *(cell for pair in zip(known, here, strict=True) for cell in pair))


def _joint_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    """The joint search against the best that other tools reach: accuracy, bytes and both speeds at once."""
    ours = found(arms, "joint", budgets.joint)
    rival = "Torch-Pruning ½, int8"
    claims = [beaten("Torch-Pruning at one half with dynamic 8 bits, as known beforehand", PEERS[rival], ours)]
    for name in (rival, "Torch-Pruning ½, our training, int8"):
        theirs = found(arms, name, budgets.of(name))
        if theirs:
            claims.append(beaten(f"{name}, as measured here (mean of {len(theirs)})", as_rival(theirs), ours, theirs))
    return claims


def _goal_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    return [_goal(recipe, goal, found(arms, recipe, budgets.small)) for recipe, goal in GOALS.items()]


def _goal(recipe: str, goal: Goal, ours: Sequence[Arm]) -> Claim:
    text = (
        f"A mean of at least {goal.test} % over five seeds in less than {goal.size:,} bytes, not slower than LeNet at "
        f"batch 1 and 64 ({recipe})."
    )
    if not ours:
        return Claim(text, "not tested", "Not run.")
    size, speeds = max(int(arm.figures["bytes"]) for arm in ours), [median_speed(ours, batch) for batch in BATCHES]
    met = mean_test(ours) >= goal.test and size < goal.size and min(speeds) >= 1.0
    verdict: Verdict = "did not hold"
    if met:
        verdict = "held" if len(ours) >= SEEDS_ASKED else "not tested"
    accuracies = mean_std([100 * float(arm.figures["test"]) for arm in ours])
    few = "" if len(ours) >= SEEDS_ASKED else f" Only {len(ours)} of {SEEDS_ASKED} seeds were run."
    return Claim(text, verdict, f"{accuracies} %, at most {size:,} bytes, {speeds[0]:.2f}× and {speeds[1]:.2f}×.{few}")


SEEDS_ASKED = 5

NOT_RUN = (
    "`--full`: three times the epochs of every recipe, 40 trials of the joint search, and a teacher of 60 epochs.",
)
