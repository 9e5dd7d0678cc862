"""ResNet-20 on CIFAR-10 at half its multiply-accumulates, by ``recipes/cifar_resnet.toml``; no document has it.

halved    trained by the command, then through the recipe
fastnas   the same recipe with fewer blocks to remove, at the budget that FastNAS is published with
control   nothing removed, but trained on as long as the halved network was
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compressor.data.load import load_data
from compressor.export.emit import to_onnx
from compressor.load.model import load_model
from compressor.recipe.read import read_recipe
from papers.arms import Arm, Arms, Budget, Figures, Job, mean_std
from papers.commands import ROOT, line, optimized, reached, recipe_path, tables_of, trained
from papers.measured import count, measured, missing, paired, percent, settled, speed
from papers.page import Claim, Page, Table
from papers.resumed import fit

WORK = ROOT / "runs" / "papers" / "cifar_resnet"
"""Trained models and run folders: what is there is used, or resumed."""
RESNET = (
    *("train", "resnet20", "--data", "cifar-10", "--optimizer", "sgd", "--schedule", "one-cycle"),
    *("--weight-decay", "5e-4", "--shift", "4", "--flip", "--precision", "bfloat16"),
)
CONTROL = "control: trained on"
DROP, MACS, SPEED = 0.3, 0.5, 1.6
"""What may be lost on test images (points), what may be left (share), how much faster it has to be."""


@dataclass(frozen=True)
class Budgets:
    """Epochs of the whole network, and of what is left of it."""

    dense: Budget
    halved: Budget
    train: tuple[str, ...] = ("--lr", "0.2")
    """Options of ``compressor train``."""
    sets: tuple[str, ...] = ()
    """Settings of the recipe."""

    @property
    def settings(self) -> tuple[str, ...]:
        return tuple(f"--set={text}" for text in (f"training.epochs={self.halved.epochs}", *self.sets))


DEFAULT = Budgets(Budget("default", 8), Budget("default", 24))
SHORT = Budget("default", 8)
"""What the recipe gave the halved network at first; the figures kept of it stay on the page."""
FULL = Budgets(Budget("full", 96), Budget("full", 96))
GPU = Budgets(
    Budget("gpu", 100),
    Budget("gpu", 100),
    ("--batch", "512", "--lr", "0.6"),
    ("training.batch=512", "training.lr=0.3", "constraints.max_drop=0.1"),
)
"""Larger batches: a GPU has nothing to do between those of a small network. Whatever is lost is to be seen."""
REHEARSAL = Budgets(
    Budget("rehearsal", 3, train=4000),
    Budget("rehearsal", 1, train=512),
    ("--lr", "0.2", "--limit", "4000"),
    ("data.limit=512", "training.batch=64", "constraints.max_drop=0.99"),
)
"""Of a network that is no better than chance no run is begun."""
FASTNAS = "FastNAS's budget"
FASTNAS_SETS = (
    "constraints.max_drop=0.1",
    "constraints.max_macs=0.729",
    "constraints.max_latency=1.0",
    "search.seeds.0.halve.layer-removal.count=3",
)
"""Published for FastNAS: 81.2 → 59.2 million FLOPs, 90.9 → 90.3 %."""


def jobs(seeds: Sequence[int], budgets: Budgets) -> Iterator[Job]:
    """What is halved at every seed, then the control at every seed."""
    for seed in seeds:
        yield Job("halved", seed, budgets.halved, functools.partial(_reduced, "halved", seed, budgets))
    for seed in seeds:
        yield Job(FASTNAS, seed, budgets.halved, functools.partial(_reduced, FASTNAS, seed, budgets))
    for seed in seeds:
        yield Job(CONTROL, seed, budgets.halved, functools.partial(_control, seed, budgets))


def _reduced(name: str, seed: int, budgets: Budgets) -> Figures:
    """What a run of the recipe leaves of the whole network: as it is written, or by FastNAS's budget."""
    sets = [f"--set={text}" for text in FASTNAS_SETS] if name == FASTNAS else []
    out = WORK / (f"fastnas-{budgets.halved.name}-{seed}" if name == FASTNAS else f"{budgets.halved.name}-{seed}")
    result = optimized(_dense(seed, budgets), "cifar_resnet", seed, out, *sets, *budgets.settings)
    best, dense = result.best, result.baseline
    if best is None:
        return {"found": 0, "why": "; ".join(result.verdict.reasons)}
    assert dense.quality.onnx is not None
    return {
        "found": 1,
        "dense": dense.quality.onnx,
        "dense validation": dense.quality.validation,
        "dense bytes": dense.size_bytes,
        "dense macs": dense.macs,
        **reached(best),
    }


def _control(seed: int, budgets: Budgets) -> Figures:
    """The whole network as its own student, by the recipe's training."""
    whole = load_model(str(_dense(seed, budgets)))
    overrides = [text.removeprefix("--set=") for text in budgets.settings]
    recipe = read_recipe(recipe_path("cifar_resnet"), overrides)
    data, network = load_data(recipe.data), whole.fork()
    fit(network, data, recipe.training, teacher=whole, seed=seed)
    return measured(network, data, to_onnx(whole))


def _dense(seed: int, budgets: Budgets) -> Path:
    return trained((*RESNET, *budgets.train), seed, budgets.dense, WORK)


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms) -> Page:
    budgets = next((of for of in (FULL, GPU) if all(arms.of(name, of.halved) for name in ("halved", CONTROL))), DEFAULT)
    found, fastnas = (
        [arm for arm in arms.of(name, budgets.halved) if arm.figures["found"]] for name in ("halved", FASTNAS)
    )
    return Page(
        name="cifar_resnet",
        title="ResNet-20 at half its multiply-accumulates, CIFAR-10",
        about="Whole residual blocks go, those whose absence is felt least, and what is left is trained with the "
        "whole network as teacher. 45,000 of the 50,000 training images are trained "
        "on and 5,000 choose the epoch; the 10,000 test images are scored once per run, by the ONNX files "
        f"in ONNX Runtime. The whole network is trained for {budgets.dense.epochs} epochs, what is left of it for "
        f"{budgets.halved.epochs} more, and so is the control, of which nothing is removed; ResNet-20 is known for 91 "
        "to 92 % after 200.",
        commands=(
            tables_of("cifar_resnet", full=budgets is FULL, seeds=5),
            line((*RESNET, *budgets.train, "--epochs", str(budgets.dense.epochs), "--out", "resnet20.pt")),
            "compressor optimize resnet20.pt --recipe recipes/cifar_resnet.toml",
        ),
        tables=(
            _table(found, fastnas, arms.of("halved", SHORT), arms.of(CONTROL, budgets.halved)),
            _plans(found),
        ),
        claims=[_goal(found), _beside_control(arms, budgets.halved)],
        claims_title="What it was to reach",
        not_run=[
            *missing(arms, [("halved", budgets.halved), (CONTROL, budgets.halved)]),
            *([f"`--full`: {FULL.dense.epochs} epochs, and {FULL.halved.epochs} more."] if budgets is DEFAULT else []),
            *([] if fastnas else ["FastNAS's budget: `--budget gpu`, after a training to 91 to 92 %."]),
        ],
    )


def _table(found: Sequence[Arm], fastnas: Sequence[Arm], short: Sequence[Arm], control: Sequence[Arm]) -> Table:
    rows = [
        ("whole", percent(found, "dense validation"), percent(found, "dense"), *_sizes(found, "dense "), "1"),
        ("halved", percent(found, "validation"), percent(found, "test"), *_sizes(found, ""), speed(found)),
        (
            "whole, trained on as long",
            percent(control, "validation"),
            percent(control, "test"),
            *_sizes(control, ""),
            speed(control),
        ),
    ]
    if short:
        figures = (percent(short, "validation"), percent(short, "test"), *_sizes(short, ""), speed(short))
        rows.insert(2, (f"halved, only {SHORT.epochs} epochs more", *figures))
    if fastnas:
        figures = (percent(fastnas, "validation"), percent(fastnas, "test"), *_sizes(fastnas, ""), speed(fastnas))
        rows.append(("at FastNAS's budget", *figures))
        rows.append(("theirs: FastNAS, before", "", "90.9", "40,600,000", "", ""))
        rows.append(("theirs: FastNAS", "", "90.3", "29,600,000", "", ""))
    return Table(
        "Whole and halved",
        ("", "validation %", "test %", "MACs", "ONNX bytes", "speed-up, batch 1"),
        rows,
        (
            "Mean ± standard deviation over the seeds. Speed-up: of the first seed, paired, one thread, 95 % interval. "
            f"The recipe trained the halved network for {SHORT.epochs} epochs first, and was lengthened when that test "
            "figure was known: the gain is the training's as much as the method's.",
        ),
    )


def _sizes(found: Sequence[Arm], prefix: str) -> tuple[str, str]:
    return count(found, f"{prefix}macs"), count(found, f"{prefix}bytes")


def _plans(found: Sequence[Arm]) -> Table:
    rows = [
        (str(arm.seed), f"{_drop(arm):+.2f}", f"{_left(arm):.2f}", speed([arm]), str(arm.figures["plan"]))
        for arm in found
    ]
    return Table("What was done", ("seed", "test, points", "MACs left", "speed-up", "plan"), rows)


def _drop(arm: Arm) -> float:
    """Points of test accuracy that the halved network has above the whole one."""
    return 100 * (float(arm.figures["test"]) - float(arm.figures["dense"]))


def _left(arm: Arm) -> float:
    return float(arm.figures["macs"]) / float(arm.figures["dense macs"])


def _goal(found: Sequence[Arm]) -> Claim:
    text = f"Within {DROP} points of the whole network at {MACS:g} of its MACs, and at least {SPEED}× as fast."
    if not found:
        return Claim(text, "not tested", "Not run.")
    drops, left = [_drop(arm) for arm in found], max(map(_left, found))
    fast = statistics.median(float(arm.figures["speedup"]) for arm in found)
    verdict = settled(drops, above=-DROP) if left <= MACS and fast >= SPEED else "did not hold"
    few = "" if len(found) >= 3 else f" Only {len(found)} of 3 seeds were run."
    return Claim(text, verdict, f"{mean_std(drops)} points, {left:.2f} of the MACs at most, {fast:.2f}×.{few}")


def _beside_control(arms: Arms, budget: Budget) -> Claim:
    """What the longer training alone would have done."""
    text = f"Within {DROP} points of the whole network trained on as long."
    behind = paired(arms, budget, "halved", CONTROL)
    if not behind:
        return Claim(text, "not tested", "The control was not run.")
    return Claim(text, settled(behind, above=-DROP), f"{mean_std(behind)} points.")
