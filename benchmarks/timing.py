"""Does the timing protocol tell the truth: a model against itself, and against one with twice its body.

A/A: both files are the same, so the true ratio is 1; how often does the 95 % interval hold it, how wide is it, how far
off is the worst answer? Known ratio: the candidate runs the baseline's body twice, so the true ratio is about 1/2; what
it is exactly is measured beforehand, with many more sessions and rounds. Quiet, and with four processes that burn CPU
beside it. Aim: coverage ≥ 95 %, mean half-width ≤ 1 %. Ten minutes on a quiet machine:

    python benchmarks/timing.py [repeats]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from _report import Row, write_report
from torch import fx, nn

from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature
from compressor.measure.latency import FULL, QUICK, Comparison, Protocol, compare

HOGS = 4
REFERENCE = Protocol(sessions=24, min_rounds=30, max_rounds=30)
MODELS = {"20 µs": (8, 4, 14), "0.3 ms": (32, 6, 26), "5 ms": (64, 11, 40)}
"""Name → channels, 3×3 convolutions in the body, side of the square image."""


@dataclass(frozen=True)
class Answers:
    """All comparisons of one setting, and the thread-CPU seconds one took."""

    results: Sequence[Comparison]
    seconds: float


def model(channels: int, depth: int, side: int, times: int) -> bytes:
    """A stem, a body of ``depth`` convolutions that is run ``times`` times with the same weights, a head."""
    body = [layer for _ in range(depth) for layer in (nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU())]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]
    stack = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), *body * times, *head)
    network = Network(fx.symbolic_trace(stack), Signature.of("image", (3, side, side))).eval()
    propagate(network)
    return to_onnx(network)


@contextmanager
def hogs(count: int) -> Iterator[None]:
    """``count`` processes that burn CPU for as long as the block lasts."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: sum(range(10000))"]) for _ in range(count)]
    try:
        time.sleep(1.0 if count else 0.0)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def ask(baseline: bytes, candidate: bytes, protocol: Protocol, repeats: int) -> Answers:
    start = time.thread_time()
    results = [compare(baseline, candidate, protocol=protocol, seed=seed) for seed in range(repeats)]
    return Answers(results, (time.thread_time() - start) / repeats)


def row(question: str, load: str, protocol: str, answers: Answers, truth: float) -> Row:
    results = answers.results
    return {
        "comparison": question,
        "other load": load,
        "protocol": protocol,
        "n": len(results),
        "baseline µs": statistics.median(result.baseline_us for result in results),
        "true ratio": round(truth, 4),
        "coverage": f"{share(result.low <= truth <= result.high for result in results):.0%}",
        "mean half-width": f"{statistics.fmean((r.high - r.low) / 2 / truth for r in results):.2%}",
        "mean error": f"{statistics.fmean(abs(r.speedup / truth - 1) for r in results):.2%}",
        "largest error": f"{max(abs(r.speedup / truth - 1) for r in results):.2%}",
        "called ≥ 2 % faster": sum(result.low > 1.02 for result in results),
        "rounds": round(statistics.fmean(result.rounds for result in results)),
        "CPU s each": round(answers.seconds, 2),
    }


def share(answers: Iterator[bool]) -> float:
    listed = list(answers)
    return sum(listed) / len(listed)


def main(repeats: int = 20) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    start = os.getloadavg()[0]
    rows: list[Row] = []
    loads: dict[str, list[float]] = {}
    pairs = {name: (model(*sizes, times=1), model(*sizes, times=2)) for name, sizes in MODELS.items()}
    truths = {name: compare(*pair, protocol=REFERENCE, seed=10**6).speedup for name, pair in pairs.items()}
    for load, count in (("none of ours", 0), (f"{HOGS} hogs", HOGS)):
        for name, (single, double) in pairs.items():
            with hogs(count):
                for label, protocol in (("full", FULL), ("quick", QUICK)):
                    same = ask(single, single, protocol, repeats)
                    rows.append(row(f"{name} / itself", load, label, same, 1.0))
                    loads.setdefault(load, []).extend(result.load for result in same.results)
                doubled = ask(single, double, FULL, repeats)
                rows.append(row(f"{name} / body twice", load, "full", doubled, truths[name]))
    notes = [
        f"n = {repeats} comparisons per row, each with fresh sessions, random inputs and order (seeds 0 to n-1).",
        "Coverage: share of comparisons whose 95 % interval holds the true ratio. Half-widths and errors are relative.",
        "The true ratio of the doubled body was measured beforehand without hogs (24 sessions of 30 rounds).",
        "The quick protocol (one session, 21 rounds) serves the trials of a search; reports use the full one.",
        "Load average of the machine over one minute, median (least…most): "
        + "; ".join(
            f"{name} {statistics.median(values):.1f} ({min(values):.1f}…{max(values):.1f})"
            for name, values in loads.items()
        )
        + f"; {start:.1f} before the start.",
    ]
    command = f"python benchmarks/timing.py {repeats}"
    write_report("timing", "Does the timing protocol tell the truth?", command, rows, notes)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
