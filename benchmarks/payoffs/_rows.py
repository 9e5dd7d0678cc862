"""One line of the payoff table: what a rewrite does to the bytes of a file and to its speed, and what it has to do."""

from __future__ import annotations

from dataclasses import dataclass

from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.measure.latency import FULL, Comparison, compare
from compressor.report.layers import onnx_layers

SAME_SPEED = 0.98
"""Required where nothing may get slower: 1.00×, less what a measurement cannot tell."""


@dataclass(frozen=True)
class PayoffRow:
    """Bytes are those of the whole file; ``layer_*`` those of one layer in it, as the report of a run counts them.

    ``required`` is the speed-up and ``required_bytes`` the ratio of bytes (the layer's where given, else the file's)
    that a rewrite has to reach; 0 where it has to reach none.
    """

    name: str
    before: int
    after: int
    speed: Comparison
    required: float = 0.0
    required_bytes: float = 0.0
    layer_before: int = 0
    layer_after: int = 0

    @property
    def ratio(self) -> float:
        """Of the bytes that a requirement is about."""
        return self.layer_before / self.layer_after if self.layer_before else self.before / self.after

    @property
    def met(self) -> bool:
        """Whether every requirement there is is met; by the estimates, as the interval stands beside them."""
        return self.speed.speedup >= self.required and self.ratio >= self.required_bytes

    def cells(self) -> dict[str, str]:
        """The line of the table, by column."""
        speed = self.speed
        return {
            "rewrite": self.name,
            "file before": f"{self.before:,}",
            "after": f"{self.after:,}",
            "÷": f"{self.before / self.after:.2f}",
            "layer ÷": f"{self.ratio:.2f}" if self.layer_before else "",
            "before, µs": f"{speed.baseline_us:.1f}",
            "speed-up [95 %]": f"{speed.speedup:.2f} [{speed.low:.2f}, {speed.high:.2f}]",
            "required": self.wanted,
            "": ("met" if self.met else "MISSED") if self.wanted else "",
        }

    @property
    def wanted(self) -> str:
        """What is required, in words; empty for nothing."""
        figures = [f"÷ {self.required_bytes:g}"] if self.required_bytes else []
        return ", ".join([f"{self.required:.2f}×"] * bool(self.required) + figures)


def measured(
    name: str,
    before: Network,
    after: Network,
    *,
    batch: int = 1,
    required: float = 0.0,
    required_bytes: float = 0.0,
    layer: str = "",
) -> PayoffRow:
    """Both networks' files, their sizes, and their paired times. ``layer``: path of one whose bytes are shown too."""
    baseline, candidate = to_onnx(before), to_onnx(after)
    speed = compare(baseline, candidate, batch=batch, protocol=FULL)
    of_layer = (layer_bytes(baseline, layer), layer_bytes(candidate, layer)) if layer else (0, 0)
    return PayoffRow(name, len(baseline), len(candidate), speed, required, required_bytes, *of_layer)


def layer_bytes(model: bytes, path: str) -> int:
    """Stored bytes of what a leaf, and those a rewrite named after it, put into a file."""
    own = (f"{path}.", f"{path}_")
    found = [layer for name, layer in onnx_layers(model).items() if name == path or name.startswith(own)]
    return sum(layer.bytes for layer in found)
