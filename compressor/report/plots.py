"""Plots as inline SVG. Lines and letters take the colour of the page around them, so they suit light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from compressor.engine.candidate import Metrics
from compressor.report import text
from compressor.search.result import Candidate, Result

_INK = "#010203"
"""Stands for the page's own text colour until the SVG is written."""


def size_plot(result: Result, others: Sequence[Metrics]) -> str:
    """Accuracy against bytes of the ONNX file; colour is the speed-up. ``others``: trials outside the front."""
    figure, axes = _figure("size of the ONNX file")
    sizes = [c.size_bytes for c in result.front]
    _size_axis(axes, [*sizes, *(metrics.size_bytes for metrics in others), result.baseline.size_bytes])
    _faint(axes, [metrics.size_bytes for metrics in others], others)
    if result.front:
        drawn = axes.scatter(
            sizes,
            [_percent(c.accuracy.validation) for c in result.front],
            c=[c.latency.speedup for c in result.front],
            cmap=matplotlib.colormaps["viridis"].resampled(32),
            norm=_speed_scale(result.front),
            s=70,
            edgecolors=_INK,
            linewidths=0.8,
            zorder=3,
        )
        _colour_bar(figure, axes, drawn)
    _mark(axes, result.baseline.size_bytes, result)
    if result.best is not None:
        _ring(axes, result.best.size_bytes, result.best)
    return _svg(figure, "Accuracy on validation data against the size of the ONNX file")


def speed_plot(result: Result, others: Sequence[Metrics]) -> str:
    """Accuracy against measured speed-up, with the 95 % interval of the speed-up."""
    figure, axes = _figure("speed-up over the baseline, 95 % interval")
    _faint(axes, [metrics.latency.speedup for metrics in others], others)
    for candidate in result.front:
        latency = candidate.latency
        axes.errorbar(
            [latency.speedup],
            [_percent(candidate.accuracy.validation)],
            xerr=[[max(latency.speedup - latency.low, 0.0)], [max(latency.high - latency.speedup, 0.0)]],
            fmt="o",
            color="#2a7f9e",
            markeredgecolor=_INK,
            ecolor=_INK,
            capsize=3,
            zorder=3,
        )
    axes.axvline(1.0, color=_INK, linewidth=0.8, linestyle=":")
    _mark(axes, 1.0, result)
    if result.best is not None:
        _ring(axes, result.best.latency.speedup, result.best)
    return _svg(figure, "Accuracy on validation data against measured speed-up")


def _size_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """Bytes with binary prefixes; logarithmic where the sizes differ widely."""
    if max(sizes) > 4 * min(sizes):
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text.size(value)))


def _colour_bar(figure: Figure, axes: Axes, drawn: ScalarMappable) -> None:
    bar = figure.colorbar(drawn, ax=axes, label="speed-up")
    bar.outline.set_edgecolor(_INK)
    if bar.solids is not None:
        bar.solids.set_rasterized(False)  # lines, not a picture within the picture
    bar.ax.tick_params(colors=_INK)
    bar.ax.yaxis.label.set_color(_INK)


def _faint(axes: Axes, across: Sequence[float], others: Sequence[Metrics]) -> None:
    """Trials outside the front, hollow and grey."""
    if not others:
        return
    up = [_percent(metrics.accuracy.validation) for metrics in others]
    axes.scatter(across, up, s=22, facecolors="none", edgecolors="#8a8a8a", linewidths=0.9, label="other trials")


def _percent(share: float) -> float:
    return 100 * share


def _speed_scale(points: Sequence[Candidate]) -> Normalize:
    speeds = [c.latency.speedup for c in points] or [1.0]
    return Normalize(min(speeds) * 0.97, max(speeds) * 1.03)


def _mark(axes: Axes, x: float, result: Result) -> None:
    axes.plot(
        [x], [_percent(result.baseline.accuracy.validation)],
        marker="D", color="#d1592b", markeredgecolor=_INK, linestyle="", label="baseline", zorder=4,
    )  # fmt: skip
    legend = axes.legend(loc="best", frameon=False, fontsize=8)
    for entry in legend.get_texts():
        entry.set_color(_INK)


def _ring(axes: Axes, x: float, best: Candidate) -> None:
    axes.scatter([x], [_percent(best.accuracy.validation)], s=190, facecolors="none", edgecolors=_INK, zorder=5)
    axes.annotate(
        "best", (x, _percent(best.accuracy.validation)), xytext=(0, 11), textcoords="offset points",
        ha="center", color=_INK, fontsize=9,
    )  # fmt: skip


def _figure(across: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(across, color=_INK)
    axes.set_ylabel("validation accuracy, %", color=_INK)
    axes.tick_params(colors=_INK, which="both")
    axes.grid(visible=True, color="#8a8a8a", alpha=0.25, linewidth=0.6)
    axes.margins(0.12)
    axes.patch.set_alpha(0.0)
    for side in axes.spines.values():
        side.set_color(_INK)
        side.set_alpha(0.5)
    return figure, axes


def _svg(figure: Figure, title: str) -> str:
    """The figure as an ``<svg>`` element: no fonts, no metadata, nothing fetched, the same text every time."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title, "font.family": ["sans-serif"]}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r"font: ([^;\"']*)'[^;\"]*", r"font: \1system-ui, sans-serif", svg)
    return svg.replace(_INK, "currentColor").replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)
