"""LeNet on Fashion-MNIST by all plugins in one search, beside other tools; and networks of 19 and 11 KiB as fast as it.

peers    LeNet halved by Torch-Pruning, then 8-bit dense layers by ONNX Runtime, with their training and with ours
joint    the same LeNet through ``recipes/joint.toml``
small    ``compact-wide`` through ``recipes/fashion_tiny.toml`` and ``recipes/fashion_micro.toml``
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.load.model import load_model
from compressor.measure.accuracy import onnx_accuracy
from compressor.measure.latency import compare
from compressor.models import build, find
from compressor.recipe.read import read_recipe
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec
from papers.arms import Arm, Arms, Budget, Figure, Figures, mean_std
from papers.commands import ROOT, line, longer, optimized, recipe_path, trained
from papers.measured import count, percent
from papers.page import Claim, Page, Table, Verdict
from papers.peers import dynamic_int8, half

WORK = ROOT / "runs" / "papers" / "joint"
"""Trained models and run folders: what is there is used, or resumed."""
BATCHES = (1, 64)
PLAIN = TrainingSpec(batch=128, lr=2e-3, schedule="cosine")
"""What the peers are fine-tuned with: no augmentation, no teacher."""
LENET = ("train", "lenet", "--data", "fashion-mnist")
WIDE = (
    *("train", "compact-wide", "--data", "fashion-mnist", "--optimizer", "adamw", "--lr", "3e-3"),
    *("--weight-decay", "0.05", "--shift", "1", "--flip", "--precision", "bfloat16"),
)


@dataclass(frozen=True)
class Theirs:
    """Figures known beforehand: test accuracy in percent, bytes, speed over LeNet at batch 1 and 64."""

    test: float
    size: int
    speeds: tuple[float, float]


PEERS: Mapping[str, Theirs] = {
    "LeNet": Theirs(90.20, 432_422, (1.0, 1.0)),
    "Torch-Pruning ½": Theirs(89.93, 110_308, (1.46, 1.50)),
    "Torch-Pruning ½, int8": Theirs(90.04, 31_477, (1.38, 1.49)),
}
"""One run each, made with these tools before this page existed."""


@dataclass(frozen=True)
class Goal:
    """What a small network has to reach, without being slower than LeNet at either batch size."""

    test: float
    size: int
    hand_made: Theirs


GOALS: Mapping[str, Goal] = {
    "fashion_tiny": Goal(92.5, 20 * 1024, Theirs(92.06, 18_129, (1 / 0.85, 1 / 0.91))),
    "fashion_micro": Goal(92.0, 11 * 1024, Theirs(91.58, 10_774, (1 / 0.86, 1 / 0.92))),
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


def run(arms: Arms, seeds: Sequence[int], *, full: bool) -> None:
    """Trains what is missing, seed by seed."""
    budgets = FULL if full else DEFAULT
    arms.get("compact-wide", 0, budgets.wide, functools.partial(_file_figures, WIDE, 0, budgets.wide))
    for seed in seeds:
        for recipe in GOALS:
            arms.get(recipe, seed, budgets.small, functools.partial(_small, recipe, seed, budgets))
    for seed in seeds:
        arms.get("LeNet", seed, budgets.lenet, functools.partial(_file_figures, LENET, seed, budgets.lenet))
        arms.get("joint", seed, budgets.joint, functools.partial(_joint, seed, budgets))
        for name, work in PEER_ARMS.items():
            arms.get(name, seed, budgets.of(name), functools.partial(work, seed, budgets))


def _file_figures(words: Sequence[str], seed: int, budget: Budget) -> Figures:
    """Of a network trained by the command."""
    return _network_figures(_load(trained(words, seed, budget, WORK)))


def _small(recipe: str, seed: int, budgets: Budgets) -> Figures:
    return _optimized(trained(WIDE, 0, budgets.wide, WORK), recipe, seed, budgets)


def _joint(seed: int, budgets: Budgets) -> Figures:
    return _optimized(trained(LENET, seed, budgets.lenet, WORK), "joint", seed, budgets)


def _optimized(model: Path, recipe: str, seed: int, budgets: Budgets) -> Figures:
    """Figures of the best candidate of a run of the recipe."""
    more = longer(recipe, budgets.more) if budgets.more > 1 else []
    if budgets.trials and recipe == "joint":
        more += ["--trials", str(budgets.trials)]
    out = WORK / f"{recipe}-{budgets.joint.name}-{seed}"
    result = optimized(model, recipe, seed, out, *more)
    best = result.best
    if best is None:
        return {"found": 0, "why": "; ".join(result.verdict.reasons)}
    assert best.accuracy.onnx is not None
    file = (out / "best" / "model.onnx").read_bytes()
    return {
        "found": 1,
        "validation": best.accuracy.validation,
        "test": best.accuracy.onnx,
        "parameters": best.params,
        "macs": best.macs,
        "bytes": len(file),
        "plan": best.about,
        **_speeds(file),
    }


def _pruned(seed: int, budgets: Budgets, *, ours: bool, int8: bool) -> Figures:
    network = _finetuned("half", ours, seed, budgets)
    return _network_figures(network, dynamic_int8(network) if int8 else None)


def _lenet_longer(seed: int, budgets: Budgets) -> Figures:
    return _network_figures(_finetuned("whole", True, seed, budgets))


PEER_ARMS: Mapping[str, Callable[[int, Budgets], Figures]] = {
    "LeNet, our training": _lenet_longer,
    "Torch-Pruning ½": functools.partial(_pruned, ours=False, int8=False),
    "Torch-Pruning ½, int8": functools.partial(_pruned, ours=False, int8=True),
    "Torch-Pruning ½, our training": functools.partial(_pruned, ours=True, int8=False),
    "Torch-Pruning ½, our training, int8": functools.partial(_pruned, ours=True, int8=True),
}


@functools.lru_cache(2)  # the file in float and the one in 8 bits are of one network
def _finetuned(kind: str, ours: bool, seed: int, budgets: Budgets) -> Network:
    """The LeNet of this seed, whole or halved, trained on: as the peers' users do, or as the joint recipe does."""
    teacher = _load(trained(LENET, seed, budgets.lenet, WORK))
    network = half(teacher) if kind == "half" else teacher.fork()
    spec, budget = (read_recipe(recipe_path("joint")).training, budgets.peers) if ours else (PLAIN, budgets.plain)
    fit(network, _data(), replace(spec, epochs=budget.epochs), teacher=teacher if ours else None, seed=seed)
    return network


def _network_figures(network: Network, file: bytes | None = None) -> Figures:
    """Test accuracy of the ONNX file, opened here; its bytes and speeds."""
    file = file or to_onnx(network)
    test = _data().open_test()
    return {
        "test": onnx_accuracy(file, _data().normalised(test.images), test.labels),
        "parameters": network.parameter_count,
        "bytes": len(file),
        **_speeds(file),
    }


def _speeds(file: bytes) -> dict[str, Figure]:
    """Speed-up over LeNet with its interval, for one image and for 64."""
    figures: dict[str, Figure] = {}
    for batch in BATCHES:
        timing = compare(_reference(), file, batch=batch)
        figures |= {f"speedup{batch}": timing.speedup, f"low{batch}": timing.low, f"high{batch}": timing.high}
    return figures


# --- what they are made with -----------------------------------------------------------------------------------------


def _load(file: Path) -> Network:
    return load_model(str(file))


@functools.cache
def _data() -> Data:
    return load_data(DataSpec(name="fashion-mnist"))


@functools.cache
def _reference() -> bytes:
    """LeNet: its weights do not matter to its speed."""
    torch.manual_seed(0)
    return to_onnx(capture(build("lenet"), find("lenet").input_shape, "lenet"))


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms, *, full: bool) -> Page:
    budgets = FULL if full else DEFAULT
    return Page(
        name="joint",
        title="All plugins in one search, and the smallest network in LeNet's time, Fashion-MNIST",
        about="What none of the source documents does. LeNet is compressed by every plugin in one search, under "
        "accuracy, bytes and measured time; beside it stands what other tools make of the same LeNet. Then a wide "
        "network is narrowed until it is as fast as LeNet and its file is below 20 and 11 KiB. 54,000 of the 60,000 "
        "training images are trained on and 6,000 choose; the 10,000 test images are scored once per training, by the "
        "ONNX file in ONNX Runtime. Speed is that over LeNet, one thread, paired, for one image and for 64.",
        commands=(
            "python benchmarks/paper_tables.py --recipe joint --seeds 5" + (" --full" if full else ""),
            line((*LENET, "--out", "lenet.pt")),
            "compressor optimize lenet.pt --recipe recipes/joint.toml",
            line((*WIDE, "--epochs", str(budgets.wide.epochs), "--out", "wide.pt")),
            *(f"compressor optimize wide.pt --recipe recipes/{recipe}.toml" for recipe in GOALS),
        ),
        tables=(_joint_table(arms, budgets), *_plans(arms, budgets), _small_table(arms, budgets)),
        claims=(*_joint_claims(arms, budgets), *_goal_claims(arms, budgets)),
        claims_title="What it was to reach",
        not_run=() if full else NOT_RUN,
    )


COLUMNS = ("", "test %, theirs", "test %", "bytes, theirs", "bytes", "batch 1, theirs", "batch 1", "64, theirs", "64")


def _joint_table(arms: Arms, budgets: Budgets) -> Table:
    names = ("LeNet", *PEER_ARMS, "joint")
    titles = {"joint": "**recipes/joint.toml**"}
    rows = [_row(titles.get(name, name), PEERS.get(name), _found(arms, name, budgets.of(name))) for name in names]
    return Table(
        "LeNet, compressed",
        COLUMNS,
        rows,
        (
            "Accuracy: mean ± standard deviation over the seeds, each with a LeNet of its own. Bytes: from least to "
            "most. Speed: median over the seeds. *Theirs*: one run each, before this page existed. LeNet: "
            f"{budgets.lenet}. Torch-Pruning halves every width and is trained "
            f"{budgets.plain.epochs} epochs plainly, as its users do; *our training* is that of the recipe, "
            f"{budgets.peers.epochs} epochs with the LeNet as teacher, which is what every candidate of the joint "
            "search gets in two phases; *int8* is ONNX Runtime's dynamic quantization of the dense layers.",
        ),
    )


def _plans(arms: Arms, budgets: Budgets) -> Iterator[Table]:
    """What was chosen, where the search has been run."""
    found = _found(arms, "joint", budgets.joint)
    rows = [
        (
            str(arm.seed),
            f"{100 * float(arm.figures['test']):.2f}",
            f"{int(arm.figures['bytes']):,}",
            _interval(arm, 1),
            _interval(arm, 64),
            str(arm.figures["plan"]),
        )
        for arm in found
    ]
    if rows:
        yield Table("What the joint search chose", ("seed", "test %", "bytes", "batch 1", "batch 64", "plan"), rows)


def _small_table(arms: Arms, budgets: Budgets) -> Table:
    rows = [_row("compact-wide, the teacher", None, _found(arms, "compact-wide", budgets.wide))]
    for recipe, goal in GOALS.items():
        rows.append(_row(f"recipes/{recipe}.toml", goal.hand_made, _found(arms, recipe, budgets.small)))
    return Table(
        "The smallest network in LeNet's time",
        COLUMNS,
        rows,
        (
            "*Theirs*: the best of a search by hand at this size, one run each. The teacher is one network of seed 0, "
            f"{budgets.wide}; the seeds are those of narrowing and training. Mean ± standard deviation; speed: median "
            "over the seeds.",
        ),
    )


def _found(arms: Arms, name: str, budget: Budget) -> list[Arm]:
    """The seeds of an arm that ended with a network."""
    return [arm for arm in arms.of(name, budget) if "test" in arm.figures]


def _row(title: str, theirs: Theirs | None, found: Sequence[Arm]) -> tuple[str, ...]:
    known: tuple[str, ...] = ("", "", "", "")
    if theirs is not None:
        known = (f"{theirs.test:.2f}", f"{theirs.size:,}", *(f"{speed:.2f}×" for speed in theirs.speeds))
    ours = (percent(found, "test"), count(found, "bytes"), *(_median_speed(found, batch) for batch in BATCHES))
    return (title, *(cell for pair in zip(known, ours, strict=True) for cell in pair))


def _median_speed(found: Sequence[Arm], batch: int) -> str:
    return f"{_speed(found, batch):.2f}×" if found else ""


def _speed(found: Sequence[Arm], batch: int) -> float:
    return statistics.median(float(arm.figures[f"speedup{batch}"]) for arm in found)


def _interval(arm: Arm, batch: int) -> str:
    speedup, low, high = (float(arm.figures[f"{name}{batch}"]) for name in ("speedup", "low", "high"))
    return f"{speedup:.2f} [{low:.2f}, {high:.2f}]"


def _joint_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    """The joint search against the best that other tools reach: accuracy, bytes and both speeds at once."""
    ours = _found(arms, "joint", budgets.joint)
    rival = "Torch-Pruning ½, int8"
    goal = PEERS[rival]
    claims = [_beaten("Torch-Pruning at one half with dynamic 8 bits, as known beforehand", goal, ours)]
    for name in (rival, "Torch-Pruning ½, our training, int8"):
        found = _found(arms, name, budgets.of(name))
        if found:
            speeds = _speed(found, 1), _speed(found, 64)
            measured = Theirs(_test(found), min(int(arm.figures["bytes"]) for arm in found), speeds)
            claims.append(_beaten(f"{name}, as measured here (mean of {len(found)})", measured, ours))
    return claims


def _beaten(title: str, goal: Theirs, ours: Sequence[Arm]) -> Claim:
    text = (
        f"The joint search beats {title}, on all counts at once: {goal.test:.2f} %, {goal.size:,} bytes, "
        f"{goal.speeds[0]:.2f}× and {goal.speeds[1]:.2f}×."
    )
    if not ours:
        return Claim(text, "not tested", "The joint search has not been run.")
    size = max(int(arm.figures["bytes"]) for arm in ours)
    speeds = [_speed(ours, batch) for batch in BATCHES]
    won = {
        "accuracy": _test(ours) > goal.test,
        "bytes": size < goal.size,
        "batch 1": speeds[0] > goal.speeds[0],
        "batch 64": speeds[1] > goal.speeds[1],
    }
    lost = [name for name, better in won.items() if not better]
    figures = f"Mean of {len(ours)}: {_test(ours):.2f} %, at most {size:,} bytes, {speeds[0]:.2f}× and {speeds[1]:.2f}×"
    return Claim(text, "did not hold" if lost else "held", f"{figures}{'; not in ' + ', '.join(lost) if lost else ''}.")


def _goal_claims(arms: Arms, budgets: Budgets) -> list[Claim]:
    return [_goal(recipe, goal, _found(arms, recipe, budgets.small)) for recipe, goal in GOALS.items()]


def _goal(recipe: str, goal: Goal, ours: Sequence[Arm]) -> Claim:
    text = (
        f"A mean of at least {goal.test} % over five seeds in less than {goal.size:,} bytes, not slower than LeNet at "
        f"batch 1 and 64 ({recipe})."
    )
    if not ours:
        return Claim(text, "not tested", "Not run.")
    size, speeds = max(int(arm.figures["bytes"]) for arm in ours), [_speed(ours, batch) for batch in BATCHES]
    met = _test(ours) >= goal.test and size < goal.size and min(speeds) >= 1.0
    verdict: Verdict = "did not hold"
    if met:
        verdict = "held" if len(ours) >= SEEDS_ASKED else "not tested"
    accuracies = mean_std([100 * float(arm.figures["test"]) for arm in ours])
    few = "" if len(ours) >= SEEDS_ASKED else f" Only {len(ours)} of {SEEDS_ASKED} seeds were run."
    return Claim(text, verdict, f"{accuracies} %, at most {size:,} bytes, {speeds[0]:.2f}× and {speeds[1]:.2f}×.{few}")


SEEDS_ASKED = 5


def _test(found: Sequence[Arm]) -> float:
    """Mean test accuracy in percent."""
    return 100 * statistics.mean(float(arm.figures["test"]) for arm in found)


NOT_RUN = (
    "`--full`: three times the epochs of every recipe, 40 trials of the joint search, and a teacher of 60 epochs.",
    "The joint search on CIFAR-10.",
)
