"""`compressor bench` beside onnxruntime_perf_test, on the same files.

onnxruntime_perf_test comes with a build of ONNX Runtime from source; the Python package has none, and Debian 12 has no
package of it. Where it is on the PATH it is run; where it is not, its loop is run in Python: one session in a process
of its own, one call to warm up, then so many calls one after the other, and the mean of their wall times. Two files
are measured one after the other, since it takes one.

    python benchmarks/perf_test.py [repeats]
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from _report import Row, write_report
from timing import REFERENCE, model

from compressor.apart import apart
from compressor.measure.latency import compare

RUNS = 1000
SIZES = (32, 6, 26)
"""About 0.3 ms per call."""
PROGRAM = "onnxruntime_perf_test"
ABSENT = "could not be had (looked for on the PATH, in the Python package, and among the packages of Debian 12)"
OPTIONS = ("-I", "-m", "times", "-r", str(RUNS), "-e", "cpu", "-x", "1", "-y", "1", "-S", "1")
"""Random inputs, batches of one, a number of calls, one thread of the CPU."""


def microseconds(file: Path) -> float:
    """Mean time of a call as the program says it, or as its loop finds it."""
    if program := shutil.which(PROGRAM):
        told = subprocess.run([program, *OPTIONS, str(file)], capture_output=True, text=True, check=True).stdout
        found = re.search(r"Average(?: inference)? time cost[^:]*: ?([\d.]+) ms", told)
        assert found, told
        return 1000 * float(found[1])
    return apart(lambda: _loop(file))


def _loop(file: Path) -> float:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    feeds = {entry.name: np.random.default_rng(0).standard_normal((1, *entry.shape[1:])).astype(np.float32)}
    session.run(None, feeds)
    start = time.perf_counter_ns()
    for _ in range(RUNS):
        session.run(None, feeds)
    return (time.perf_counter_ns() - start) / RUNS / 1e3


def row(question: str, how: str, ratios: list[float], truth: float) -> Row:
    return {
        "comparison": question,
        "measured by": how,
        "n": len(ratios),
        "true ratio": round(truth, 3),
        "median ratio": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
        "largest error": f"{max(abs(ratio / truth - 1) for ratio in ratios):.1%}",
    }


def main(repeats: int = 12) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    other = PROGRAM if shutil.which(PROGRAM) else f"loop of {PROGRAM}"
    single, double = (model(*SIZES, times=times) for times in (1, 2))
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        first.write_bytes(single)
        for question, candidate in (("a file / itself", single), ("a file / body twice", double)):
            second.write_bytes(candidate)
            truth = 1.0 if candidate is single else compare(single, double, protocol=REFERENCE, seed=10**6).speedup
            rows.append(row(question, "compressor bench", [_bench(first, second, n) for n in range(repeats)], truth))
            told = [microseconds(first) / microseconds(second) for _ in range(repeats)]
            rows.append(row(question, other, told, truth))
    notes = [
        f"n = {repeats} comparisons per row, {RUNS} calls a file in the loop; the machine did other work meanwhile.",
        "The true ratio of the doubled body was measured beforehand (24 pairs of sessions of 30 rounds).",
        f"{PROGRAM} itself "
        + (
            "was run."
            if shutil.which(PROGRAM)
            else "could not be had: it is in no package of ONNX Runtime. Its loop was."
        ),
    ]
    title = "The same files by onnxruntime_perf_test"
    write_report("perf_test", title, f"python benchmarks/perf_test.py {repeats}", rows, notes)


def _bench(first: Path, second: Path, seed: int) -> float:
    return compare(first, second, seed=seed).speedup


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:2]))
