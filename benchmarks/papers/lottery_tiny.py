"""The toolkit's own networks for the page of ``mnist_lottery.py``: no more weights than the lottery leaves, by
``recipes/mnist_tiny.toml``."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from compressor.search.result import RESULT
from papers.arms import Arm, Arms, Budget, Figures
from papers.commands import ROOT
from papers.lottery_arms import LEFT
from papers.measured import count, percent, points, settled, speed
from papers.page import Claim, Table

GOAL = 99.4
"""Percent on test images that ``recipes/mnist_tiny.toml`` is after, with no more weights than the lottery leaves."""
BY_MAGNITUDE = Budget("recipe", 62)
"""The recipe as it was before: ranked by |w|, in ten rounds, images turned by up to 10°, the teacher half as loud."""
TINY = (
    "compressor train mnist-cnn --data mnist --epochs 12 --shift 2 --rotate 10 --precision bfloat16 --seed {seed} "
    "--out {folder}/mnist.pt",
    "compressor optimize {folder}/mnist.pt --recipe recipes/mnist_tiny.toml --seed {seed} --out {folder}/run",
)


def train_tiny(seed: int) -> Figures:
    """The two commands of the page, and what ``result.json`` says."""
    with tempfile.TemporaryDirectory() as folder:
        for command in TINY:
            words = command.format(seed=seed, folder=folder).split()[1:]
            done = subprocess.run([sys.executable, "-m", "compressor.cli.main", *words], cwd=ROOT, check=False)
            if done.returncode > 1:
                raise SystemExit(f"{command}: ended with {done.returncode}")
        return tiny_figures(Path(folder) / "run")


def tiny_figures(folder: Path) -> Figures:
    """The figures of a run folder's best candidate."""
    result = RESULT.read(folder / "result.json")
    best = result.best
    if best is None:
        raise SystemExit(f"{folder}: no candidate within the limits")
    weights = load_file(folder / "best" / "weights.safetensors")
    assert best.quality.onnx is not None
    assert result.baseline.quality.onnx is not None
    return {
        "validation": best.quality.validation,
        "test": best.quality.onnx,
        "dense": result.baseline.quality.onnx,
        "weights": sum(int(tensor.sum()) for name, tensor in weights.items() if name.endswith(".mask")),
        "trainable": best.params,
        "bytes": best.size_bytes,
        "dense bytes": result.baseline.size_bytes,
        "speedup": best.latency.speedup,
        "low": best.latency.low,
        "high": best.latency.high,
    }


def tiny_table(arms: Arms, budget: Budget) -> Table:
    found = arms.of("tiny", budget)
    theirs = ("theirs: A2, lottery", "", f"{LEFT:,}", "2,471", "", "99.2", "", "")
    rows = [theirs, *(_tiny_row(arm) for arm in found)]
    rows.append(("mean", percent(found, "dense"), "", "", "", percent(found, "test"), "", ""))
    before = arms.of("tiny", BY_MAGNITUDE)
    sizes = [count(before, figure) for figure in ("weights", "trainable", "bytes")]
    rows.append(("by magnitude", percent(before, "dense"), *sizes, percent(before, "test"), "", ""))
    columns = ("", "dense", "weights", "trainable", "ONNX bytes", "test", "bytes, dense", "speed-up")
    commands = "`, then `".join(command.format(seed=0, folder="tiny") for command in TINY)
    return Table(
        "As accurate as can be with 2,309 weights",
        columns,
        rows,
        (
            f"`{commands}`, and so for every seed. The recipe takes 19 % of the 28,824 weights of `mnist-cnn` before "
            "each of twelve epochs, by LAMP, and trains what is left for 40 more, on shifted and turned images, with "
            "the dense network as teacher. *Trainable* includes two values of BatchNorm per channel. Speed-up over "
            "the dense file: zeros within a filter buy none.",
            "*By magnitude* is the recipe as it was before: ranked by |w|, in ten rounds, images turned by up to 10°, "
            "the teacher half as loud. Validation images chose between the two; the test figures of the earlier one "
            "were known then.",
        ),
    )


def _tiny_row(arm: Arm) -> tuple[str, ...]:
    f = arm.figures
    return (
        f"seed {arm.seed}",
        f"{100 * float(f['dense']):.2f}",
        f"{f['weights']:,}",
        f"{f['trainable']:,}",
        f"{f['bytes']:,}",
        f"{100 * float(f['test']):.2f}",
        f"{f['dense bytes']:,}",
        speed([arm]),
    )


def tiny_claim(arms: Arms, budget: Budget) -> Claim:
    text = f"At least {GOAL} % with at most {LEFT:,} weights (the toolkit's own goal)."
    found = arms.of("tiny", budget)
    if not found:
        return Claim(text, "not tested", "Not run.")
    values = [100 * value for value in arms.values("tiny", budget, "test")]
    most = max(int(arm.figures["weights"]) for arm in found)
    verdict = settled(values, above=GOAL) if most <= LEFT else "did not hold"
    return Claim(
        text,
        verdict,
        f"{percent(found, 'test')} % with {most:,} weights at most; the mean is {points([v - GOAL for v in values])} "
        "away.",
    )
