"""One line of the payoff table: what a rewrite does to the bytes of a file and to its speed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.measure.latency import FULL, Comparison, compare


@dataclass(frozen=True)
class PayoffRow:
    """``required`` is the speed-up a rewrite has to reach, 0 where it has to reach none."""

    name: str
    before: int
    after: int
    speed: Comparison
    required: float = 0.0

    def __str__(self) -> str:
        speed, verdict = self.speed, ""
        if self.required:
            verdict = f"required {self.required:.2f}×: {'yes' if speed.speedup >= self.required else 'MISSED'}"
        return (
            f"| {self.name:44} | {self.before:9,} | {self.after:9,} | ÷{self.before / self.after:6.2f} "
            f"| {speed.speedup:5.2f}× [{speed.low:.2f}, {speed.high:.2f}] | {speed.baseline_us:8.1f} µs | {verdict} |"
        )


def measured(name: str, before: Network, after: Network, *, batch: int = 1, required: float = 0.0) -> PayoffRow:
    """Both networks' files, their sizes, and their paired times."""
    baseline, candidate = to_onnx(before), to_onnx(after)
    speed = compare(baseline, candidate, batch=batch, protocol=FULL)
    return PayoffRow(name, len(baseline), len(candidate), speed, required)


def show(rows: Iterable[PayoffRow]) -> None:
    """Print rows as they come, as a Markdown table."""
    torch.set_num_threads(1)
    print("| rewrite | bytes before | after | ratio | speed-up [95 %] | before | |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(row, flush=True)
