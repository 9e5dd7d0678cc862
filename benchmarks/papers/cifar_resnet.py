"""ResNet-20 on CIFAR-10 at half its multiply-accumulates, by ``recipes/cifar_resnet.toml``; no document has it.

halved    trained by the command, then through the recipe
control   nothing removed, but trained on as long as the halved network was
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from compressor.data.load import load_data
from compressor.export.emit import to_onnx
from compressor.load.model import load_model
from compressor.recipe.read import read_recipe
from compressor.train.fit import fit
from papers.arms import Arm, Arms, Budget, Figures, Job, mean_std
from papers.commands import ROOT, line, longer, optimized, reached, recipe_path, tables_of, trained
from papers.measured import count, measured, missing, paired, percent, speed
from papers.page import Claim, Page, Table, Verdict

WORK = ROOT / "runs" / "papers" / "cifar_resnet"
"""Trained models and run folders: what is there is used, or resumed."""
RESNET = (
    *("train", "resnet20", "--data", "cifar-10", "--optimizer", "sgd", "--lr", "0.2", "--schedule", "one-cycle"),
    *("--weight-decay", "5e-4", "--shift", "4", "--flip", "--precision", "bfloat16"),
)
CONTROL = "control: trained on"
DROP, MACS, SPEED = 0.3, 0.5, 1.6
"""What may be lost on test images (points), what may be left (share), how much faster it has to be."""


@dataclass(frozen=True)
class Budgets:
    """``halved`` counts the epochs of the recipe; a full budget has ``more`` times as many."""

    dense: Budget
    halved: Budget
    more: int = 1


DEFAULT = Budgets(Budget("default", 8), Budget("default", 24))
SHORT = Budget("default", 8)
"""What the recipe gave the halved network at first; the figures kept of it stay on the page."""
FULL = Budgets(Budget("full", 96), Budget("full", 96), more=4)


def jobs(seeds: Sequence[int], budgets: Budgets) -> Iterator[Job]:
    """What is halved at every seed, then the control at every seed."""
    for seed in seeds:
        yield Job("halved", seed, budgets.halved, functools.partial(_halved, seed, budgets))
    for seed in seeds:
        yield Job(CONTROL, seed, budgets.halved, functools.partial(_control, seed, budgets))


def _halved(seed: int, budgets: Budgets) -> Figures:
    model = trained(RESNET, seed, budgets.dense, WORK)
    more = longer("cifar_resnet", budgets.more) if budgets.more > 1 else []
    result = optimized(model, "cifar_resnet", seed, WORK / f"{budgets.halved.name}-{seed}", *more)
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
    whole = load_model(str(trained(RESNET, seed, budgets.dense, WORK)))
    recipe = read_recipe(recipe_path("cifar_resnet"))
    data, network = load_data(recipe.data), whole.fork()
    spec = replace(recipe.training, epochs=budgets.halved.epochs)
    fit(network, data, spec, teacher=whole, seed=seed)
    return measured(network, data, to_onnx(whole))


# --- the page --------------------------------------------------------------------------------------------------------


def page(arms: Arms) -> Page:
    whole = arms.shown(("halved", CONTROL), (FULL.halved, DEFAULT.halved)) == FULL.halved
    budgets = FULL if whole else DEFAULT
    found = [arm for arm in arms.of("halved", budgets.halved) if arm.figures["found"]]
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
            tables_of("cifar_resnet", full=whole),
            line((*RESNET, "--epochs", str(budgets.dense.epochs), "--out", "resnet20.pt")),
            "compressor optimize resnet20.pt --recipe recipes/cifar_resnet.toml",
        ),
        tables=(
            _table(found, arms.of("halved", SHORT), arms.of(CONTROL, budgets.halved)),
            _plans(found),
        ),
        claims=[_goal(found), _beside_control(arms, budgets.halved)],
        claims_title="What it was to reach",
        not_run=[
            *missing(arms, [("halved", budgets.halved), (CONTROL, budgets.halved)]),
            *([] if whole else [f"`--full`: {FULL.dense.epochs} epochs, and {FULL.halved.epochs} more."]),
        ],
    )


def _table(found: Sequence[Arm], short: Sequence[Arm], control: Sequence[Arm]) -> Table:
    rows = [
        ("whole", percent(found, "dense validation"), percent(found, "dense"), *_sizes(found, "dense "), "1"),
        ("halved", percent(found, "validation"), percent(found, "test"), *_sizes(found, ""), speed(found)),
        (
            f"halved, only {SHORT.epochs} epochs more",
            percent(short, "validation"),
            percent(short, "test"),
            *_sizes(short, ""),
            speed(short),
        ),
        (
            "whole, trained on as long",
            percent(control, "validation"),
            percent(control, "test"),
            *_sizes(control, ""),
            speed(control),
        ),
    ]
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
    met = statistics.mean(drops) >= -DROP and left <= MACS and fast >= SPEED
    verdict: Verdict = "held" if met else "did not hold"
    few = "" if len(found) >= 3 else f" Only {len(found)} of 3 seeds were run."
    return Claim(text, verdict, f"{mean_std(drops)} points, {left:.2f} of the MACs at most, {fast:.2f}×.{few}")


def _beside_control(arms: Arms, budget: Budget) -> Claim:
    """What the longer training alone would have done."""
    text = f"Within {DROP} points of the whole network trained on as long."
    behind = paired(arms, budget, "halved", CONTROL)
    if not behind:
        return Claim(text, "not tested", "The control was not run.")
    verdict: Verdict = "held" if statistics.mean(behind) >= -DROP else "did not hold"
    return Claim(text, verdict, f"{mean_std(behind)} points.")
