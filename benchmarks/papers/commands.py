"""What a page does by the command line, as its reader would: train a network, optimize it, read what came of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from compressor.recipe.read import read_recipe
from compressor.search.result import RESULT, Candidate, RunResult
from papers.arms import Budget, Figure
from papers.starts import note

ROOT = Path(__file__).resolve().parents[2]


def line(words: Sequence[str]) -> str:
    """A command as it is typed."""
    return "compressor " + " ".join(words)


def tables_of(recipe: str, *, full: bool = False, only: str = "", seeds: int = 3) -> str:
    """The command that makes a page anew, or some arms of it."""
    budget, arms = " --full" if full else "", f" --only '{only}'" if only else ""
    return f"python benchmarks/paper_tables.py --recipe {recipe} --seeds {seeds}{budget}{arms}"


def command(*words: str) -> None:
    """Run one command on one thread. A run that did not help exits with 1 and is a result too."""
    print("$", line(words), flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", "compressor.cli.main", *words], check=False, env=environment)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)


def recipe_path(name: str) -> Path:
    return ROOT / "recipes" / f"{name}.toml"


def trained(words: Sequence[str], seed: int, budget: Budget, work: Path) -> Path:
    """The file that ``compressor train …`` leaves in a folder, trained where it is missing."""
    file = work / f"{words[1]}-{budget.name}-{seed}.pt"
    if not file.exists():
        command(*words, "--epochs", str(budget.epochs), "--seed", str(seed), "--out", str(file))
    note(file)
    return file


def optimized(model: Path, recipe: str, seed: int, out: Path, *more: str) -> RunResult:
    """One run of a recipe, begun or gone on with."""
    if (out / "study.db").exists():
        command("resume", str(out))
    else:
        words = ("--recipe", str(recipe_path(recipe)), "--seed", str(seed), "--out", str(out), *more)
        command("optimize", str(model), *words)
    return RESULT.read(out / "result.json")


def reached(best: Candidate) -> dict[str, Figure]:
    """What pages show of a candidate whose test split was opened: accuracies (shares), bytes, speed-up, plan."""
    assert best.quality.onnx is not None
    return {
        "validation": best.quality.validation,
        "test": best.quality.onnx,
        "bytes": best.size_bytes,
        "macs": best.macs,
        "speedup": best.latency.speedup,
        "low": best.latency.low,
        "high": best.latency.high,
        "plan": best.about,
    }


def longer(recipe: str, times: int) -> list[str]:
    """Settings that train every phase of a recipe so many times as long."""
    known = read_recipe(recipe_path(recipe))
    tables = {"training": known.training, **{f"phases.{phase.name}.training": phase.training for phase in known.phases}}
    return [f"--set={table}.epochs={spec.epochs * times}" for table, spec in tables.items() if spec is not None]
