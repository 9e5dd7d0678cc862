"""What the quickstart recipe reaches on LeNet and Fashion-MNIST, and what a trial costs besides training.

For every seed a LeNet is trained and then compressed by the commands a user would type, each in its own process.
Claims: a baseline of about 90 % on the test split and 421 KiB; a candidate within one point of it, at no more than an
eighth of its ONNX bytes, that is not slower; an overhead of a trial under 5 % of its training time. Needs a few minutes
per seed:

    python benchmarks/quickstart.py --seeds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from _report import Row, write_report

RECIPE = Path(__file__).resolve().parent.parent / "recipes" / "quickstart.toml"
OVERHEAD = 5
"""Percent of its training time that a trial may take besides."""


@dataclass(frozen=True)
class Run:
    """The figures of one seed."""

    seed: int
    result: dict[str, Any]
    overheads: list[float]
    """Per completed trial: (wall time − training time) / training time."""


def run(seed: int, folder: Path) -> Run:
    """Train and compress with one seed; the validation split is the same for all."""
    model, out = folder / f"{seed}.pt", folder / f"run{seed}"
    command("train", "lenet", "--data", "fashion-mnist", "--seed", str(seed), "--out", str(model))
    command("optimize", str(model), "--recipe", str(RECIPE), "--seed", str(seed), "--out", str(out))
    return Run(seed, json.loads((out / "result.json").read_text()), overheads(out))


def command(*words: str) -> None:
    """One command of the toolkit, in a process of its own. A run that did not help exits with 1 and is a result too."""
    print("$ compressor", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "compressor.cli.main", *words], check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(done.returncode)


def overheads(out: Path) -> list[float]:
    """Wall time of every trial that trained, from its proposal to its being told, against its training alone."""
    (name,) = optuna.get_all_study_names(f"sqlite:///{out}/study.db")
    found: list[float] = []
    for trial in optuna.load_study(study_name=name, storage=f"sqlite:///{out}/study.db").get_trials():
        digest = trial.user_attrs.get("candidate", {}).get("digest", "")
        end = trial.user_attrs.get("end", {})
        file = out / "candidates" / digest / "outcome.json"
        if trial.duration is None or "duplicate_of" in end or not digest or not file.is_file():
            continue
        training = json.loads(file.read_text())["seconds"].get("train")
        if training:
            found.append((trial.duration.total_seconds() - training) / training)
    return found


def rows(runs: list[Run]) -> list[Row]:
    table: list[Row] = []
    for each in runs:
        base, best = each.result["baseline"], each.result["best"]
        row: dict[str, str | int | float] = {
            "seed": each.seed,
            "LeNet, test %": f"{100 * base['accuracy']['test']:.2f}",
        }
        row["LeNet, bytes"] = base["size_bytes"]
        if best is None:
            table.append({**row, "best, ONNX test %": "none", "why": "; ".join(each.result["verdict"]["reasons"])})
            continue
        latency = best["latency"]
        row["best, ONNX test %"] = f"{100 * best['accuracy']['onnx']:.2f}"
        row["bytes"] = best["size_bytes"]
        row["smaller"] = f"{base['size_bytes'] / best['size_bytes']:.1f}×"
        row["speed-up (95 %)"] = f"{latency['speedup']:.2f}× ({latency['low']:.2f}…{latency['high']:.2f})"
        row["plan"] = best["about"]
        row["overhead of a trial, %"] = f"{100 * statistics.median(each.overheads):.1f} (n = {len(each.overheads)})"
        table.append(row)
    return table


def notes(runs: list[Run]) -> list[str]:
    pairs = [(each.result["baseline"], each.result["best"]) for each in runs if each.result["best"] is not None]
    drops = [100 * (base["accuracy"]["test"] - best["accuracy"]["onnx"]) for base, best in pairs]
    smaller = [base["size_bytes"] / best["size_bytes"] for base, best in pairs]
    faster = [best["latency"]["speedup"] for _, best in pairs]
    shares = [100 * share for each in runs for share in each.overheads]
    return [
        f"n = {len(runs)} seeds, one per row; chosen on validation data, the test split opened once, at the end.",
        f"Mean ± standard deviation over seeds: {_mean(drops)} points of test accuracy lost, {_mean(smaller)} times "
        f"smaller, {_mean(faster)} times faster.",
        "Overhead: wall time of a trial besides training, in percent of its training time, two trials at a time; "
        f"median {statistics.median(shares):.1f}, most {max(shares):.1f} (n = {len(shares)} trials that trained). "
        f"It was to be under {OVERHEAD}: {'met' if statistics.median(shares) < OVERHEAD else 'missed'}.",
    ]


def _mean(values: list[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs = [run(seed, Path(folder)) for seed in range(options.seeds)]
    command = f"python benchmarks/quickstart.py --seeds {options.seeds}"
    write_report("quickstart", "The quickstart recipe on LeNet and Fashion-MNIST", command, rows(runs), notes(runs))


if __name__ == "__main__":
    main()
