"""``recipes/vgg_redundancy.toml`` as its user runs it: the two commands of the page, and what ``result.json`` says.

The controls are trained on as long as the candidate is: the whole network, the candidate without what the teacher
says, and the candidate from new weights.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from papers.arms import Arm, Budget, Figures
from papers.commands import ROOT, optimized, reached, trained
from papers.measured import count, percent, speed
from papers.page import Table

WORK = ROOT / "runs" / "papers" / "vgg_redundancy"
"""Trained models and run folders: what is there is used, or resumed."""
TRAIN = ("train", "vgg16-quarter-32", "--data", "cifar-10", "--limit", "10000")
TRAINED = Budget("default", 8, train=10_000)
RECIPE = Budget("recipe", 5, train=10_000)
"""Two epochs with the mask, three without the removed layers."""
CONTROLS = {"whole, trained on": "unchanged", "labels alone": "undistilled", "from scratch": "scratch"}
"""Titles, and the names in ``result.json``, which knows their validation accuracy only."""
PERCENT = ("whole", "test", "whole validation", "validation", *CONTROLS)


def run_recipe(seed: int) -> Figures:
    """Trains and optimizes what is missing."""
    result = optimized(trained(TRAIN, seed, TRAINED, WORK), "vgg_redundancy", seed, WORK / f"recipe-{seed}")
    best, whole = result.best, result.baseline
    if best is None:
        return {"found": 0, "why": "; ".join(result.verdict.reasons)}
    assert whole.quality.onnx is not None
    return {
        "found": 1,
        "helped": int(result.verdict.helped),
        "seconds": round(result.seconds),
        "whole validation": whole.quality.validation,
        "whole": whole.quality.onnx,
        "whole bytes": whole.size_bytes,
        **reached(best),
        **{title: result.controls[name].validation for title, name in CONTROLS.items()},
    }


def recipe_table(arms: Sequence[Arm]) -> Table:
    """A row per seed; then the mean accuracies and the median speed-up."""
    found = [arm for arm in arms if arm.figures["found"]]
    rows = [_row(arm) for arm in arms]
    if len(found) > 1:
        means = [percent(found, figure) for figure in PERCENT]
        fast = f"{statistics.median(float(arm.figures['speedup']) for arm in found):.2f}×"
        rows.append(("all", *means, count(found, "whole bytes"), count(found, "bytes"), fast, "", ""))
    columns = ("seed", "whole, test", "best, test", "whole, validation", "best, validation", *CONTROLS)
    return Table(
        "The recipe, as its user runs it",
        (*columns, "bytes, whole", "bytes, best", "speed-up, batch 1", "helped", "plan"),
        rows,
        (
            "Percent; in the last row mean ± standard deviation, and the median speed-up. The whole network: "
            f"{TRAINED.text}. The recipe's ten candidates, one per mask: {RECIPE.text}, the same ones, mirrored and "
            "shifted; the best of them by validation is shown. After it the controls, all trained on as long, on "
            "validation images: the whole network, the best without what the teacher says, and from new weights. The "
            "whole network gains "
            "from the longer training as well: what the candidate costs is the difference from *whole, trained on*.",
        ),
    )


def _row(arm: Arm) -> tuple[str, ...]:
    if not arm.figures["found"]:
        return (str(arm.seed), *[""] * (len(PERCENT) + 4), str(arm.figures["why"]))
    figures = [percent([arm], figure).removesuffix(" (n = 1)") for figure in PERCENT]
    helped = "yes" if arm.figures["helped"] else "no"
    sizes = count([arm], "whole bytes"), count([arm], "bytes")
    return (str(arm.seed), *figures, *sizes, speed([arm]), helped, str(arm.figures["plan"]))
