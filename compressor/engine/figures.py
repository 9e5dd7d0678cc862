"""Figures of a network beside the baseline's: what is counted, and what ONNX Runtime is timed at."""

from __future__ import annotations

from compressor.engine.baseline import Baseline
from compressor.engine.candidate import Latency, Metrics
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.measure.latency import QUICK, compare
from compressor.task import Quality


def figures(network: Network, onnx: bytes, quality: Quality, latency: Latency) -> Metrics:
    """The metrics of a network with this ONNX file, quality and latency."""
    cost = network_cost(network)
    return Metrics(cost.parameter_count, len(onnx), cost.mac_count, quality, latency)


def quick_latency(baseline: Baseline, onnx: bytes, *, batch: int, seed: int) -> Latency:
    """An ONNX file timed against the baseline's by the quick paired protocol, ``batch`` samples per call."""
    timing = compare(baseline.onnx, onnx, batch=batch, protocol=QUICK, seed=seed)
    return Latency(timing.candidate_us, timing.speedup, timing.low, timing.high)
