"""Draws the figures of the pages: docs/figures/*.svg, from the recorded results where they show results.

python docs/tools/figures.py
"""

from __future__ import annotations

import json
import math
import random
import re
import statistics
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from drawing import Drawing

DOCS = Path(__file__).parents[1]
DATA = DOCS / "results" / "data"


def recorded(name: str) -> Any:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


# Results --------------------------------------------------------------------------------------------------------------

SHOWN = {
    "LeNet": ("LeNet", "grey", "start"),
    "Torch-Pruning ½, our training": ("LeNet, half the channels", "grey", "start"),
    "Torch-Pruning ½, our training, int8": ("the same in 8 bits", "grey", "end"),
    "joint": ("LeNet, all plugins", "blue", "start"),
    "compact-wide": ("a strong, slow network", "grey", "end"),
    "fashion_tiny": ("narrowed from it, 19 KiB", "blue", "start"),
    "fashion_micro": ("narrowed further, 11 KiB", "blue", "start"),
}
"""Recorded name → label, colour, and on which side of the dot the label stands."""


def results() -> Drawing:
    """Bytes against test accuracy on Fashion-MNIST, means over the recorded seeds."""
    found: dict[str, list[dict[str, float]]] = defaultdict(list)
    for row in recorded("joint"):
        found[row["name"]].append(row["figures"])
    drawing = Drawing(
        760,
        350,
        "Size against accuracy on Fashion-MNIST",
        "Networks compressed here lie to the left of those they come from, at about the same accuracy or above.",
    )
    left, right, top, bottom = 70, 730, 56, 290

    def x(size: float) -> float:
        return left + (right - left) * (math.log10(size) - 4) / 2.3

    def y(share: float) -> float:
        return bottom - (bottom - top) * (100 * share - 90) / 4

    drawing.text(left, 30, "Fashion-MNIST: bytes of the ONNX file and accuracy on test images", "ink bold")
    for percent in range(90, 95):
        drawing.line(left, y(percent / 100), right, y(percent / 100))
        drawing.text(left - 8, y(percent / 100) + 5, f"{percent} %", "soft", "end")
    for size, label in ((10240, "10 KiB"), (102400, "100 KiB"), (1048576, "1 MiB")):
        drawing.line(x(size), bottom, x(size), bottom + 6)
        drawing.text(x(size), bottom + 24, label, "soft", "middle")
    for name, (label, colour, at) in SHOWN.items():
        rows = found[name]
        size, share = (statistics.mean(row[key] for row in rows) for key in ("bytes", "test"))
        speed = statistics.median(row["speedup1"] for row in rows)
        drawing.dot(x(size), y(share), 7, colour)
        words = label if name == "LeNet" else f"{label}, {speed:.2g}×"
        drawing.text(x(size) + (14 if at == "start" else -14), y(share) + 5, words, "ink small", at)
    drawing.text(right, bottom + 46, "×: speed of a call, against LeNet's", "soft small", "end")
    return drawing


# How it works ---------------------------------------------------------------------------------------------------------


def search() -> Drawing:
    """From a network to a verdict, and which images each step looks at."""
    drawing = Drawing(
        860,
        330,
        "From a network to a verdict",
        "Baseline, sites, plans, trials, front, final measurement, verdict; test images only at the end.",
    )
    steps = [
        ("your network", ("measured once:", "the baseline")),
        ("sites", ("each edited alone:", "what it costs")),
        ("plan", ("sites, knobs:", "what to try next")),
        ("trial", ("edit, train,", "export, time")),
        ("front", ("none is worse", "in everything")),
        ("verdict", ("final figures", "of the finalists")),
    ]
    width, gap = 120, 18
    for number, (name, about) in enumerate(steps):
        x = 24 + number * (width + gap)
        drawing.box(x, 60, width, 84, "box", 6)
        drawing.text(x + width / 2, 86, name, "ink bold", "middle")
        drawing.lines(x + width / 2, 110, about, "soft small", "middle")
        if number:
            drawing.arrow(x - gap + 2, 102, x - 2, 102)
    drawing.text(24, 34, "From a network to a verdict", "ink bold")
    plan, trial = 24 + 2 * (width + gap) + width / 2, 24 + 3 * (width + gap) + width / 2
    drawing.path(f"M{trial} 144 v26 H{plan} v-18", "line")
    drawing.path(f"M{plan} 145 l-4 8 h8 z", "tip")
    drawing.text((plan + trial) / 2, 188, "until the trials are spent", "soft small", "middle")
    splits = [("training images", 1, 4, "pale"), ("validation images", 0, 5, "blue"), ("test images", 5, 6, "orange")]
    for row, (name, first, last, colour) in enumerate(splits):
        x1, x2 = 24 + first * (width + gap), 24 + last * (width + gap) - gap
        drawing.box(x1, 214 + 36 * row, x2 - x1, 10, colour, 5)
        last_one = row == 2
        drawing.text(
            x2 if last_one else x1,
            242 + 36 * row,
            f"{name} are looked at here",
            "soft small",
            "end" if last_one else "start",
        )
    return drawing


def measuring() -> Drawing:
    """Rounds of interleaved calls, their ratios, and the interval that comes of them."""
    drawing = Drawing(
        760,
        330,
        "How two files are timed",
        "Both files run alternately in random order; each round gives one ratio; the median and its interval count.",
    )
    chance = random.Random(3)
    drawing.text(24, 34, "One pair of sessions, round by round", "ink bold")
    drawing.text(24, 56, "blocks: calls of one file, about a millisecond of thread CPU time", "soft small")
    x, ratios = 24.0, []
    for _ in range(9):
        slow = 1 + 0.35 * chance.random() ** 3  # what else the machine does meets both of a round
        times = {"grey": 46 * slow, "blue": 31 * slow * (1 + chance.gauss(0, 0.02))}
        ratios.append(times["grey"] / times["blue"])
        for colour in chance.sample(sorted(times), 2):
            drawing.box(x, 72, times[colour] * 0.86, 26, colour, 2)
            x += times[colour] * 0.86 + 1
        x += 7
    drawing.box(24, 112, 12, 12, "grey", 2)
    drawing.text(42, 123, "first file", "soft small")
    drawing.box(120, 112, 12, 12, "blue", 2)
    drawing.text(138, 123, "second file: in random order within a round, so that neither profits", "soft small")
    drawing.text(24, 168, "Nine pairs of fresh sessions: a ratio from each round", "ink bold")
    left, right, y = 60.0, 700.0, 262.0

    def place(ratio: float) -> float:
        return left + (right - left) * (ratio - 1.35) / 0.3

    drawing.line(left, y, right, y)
    for tick in (1.35, 1.40, 1.45, 1.50, 1.55, 1.60, 1.65):
        drawing.line(place(tick), y, place(tick), y + 6)
        drawing.text(place(tick), y + 24, f"{tick:.2f}×", "soft small", "middle")
    values = sorted(chance.gauss(1.49, 0.027) for _ in range(150))
    for value in values:
        drawing.dot(place(value), y - 8 - 42 * chance.random(), 2.4, "blue faint")
    drawing.line(place(1.483), y - 62, place(1.498), y - 62, "line-blue")
    drawing.dot(place(1.49), y - 62, 5, "blue")
    drawing.text(place(1.52), y - 58, "1.49× (1.48–1.50): median, 95 % interval", "ink small")
    drawing.text(left, y + 50, "invented numbers, to show the procedure", "soft small")
    return drawing


def verdict() -> Drawing:
    """Which intervals are called what."""
    drawing = Drawing(
        760,
        268,
        "What an interval is called",
        "Faster above 1.02, slower below 0.98, otherwise no difference is shown.",
    )
    left, right = 250.0, 720.0

    def x(ratio: float) -> float:
        return left + (right - left) * (ratio - 0.9) / 0.25

    drawing.text(24, 32, "A speed, its 95 % interval, and what it is called", "ink bold")
    for tick, label in ((0.98, "0.98×"), (1.0, "1×"), (1.02, "1.02×")):
        drawing.line(x(tick), 52, x(tick), 220)
        drawing.text(x(tick), 240, label, "soft", "middle")
    rows = [
        ("faster", 1.05, 1.04, 1.07, "green"),
        ("as fast: nothing is claimed", 1.01, 0.99, 1.03, "grey"),
        ("not shown to be as fast", 1.0, 0.96, 1.04, "red"),
        ("slower", 0.94, 0.92, 0.955, "red"),
    ]
    for number, (words, middle, low, high, colour) in enumerate(rows):
        y = 78 + 40 * number
        drawing.text(24, y + 5, words)
        drawing.line(x(low), y, x(high), y, f"line-{colour}")
        drawing.dot(x(middle), y, 6, colour)
    return drawing


# Methods --------------------------------------------------------------------------------------------------------------

ORDER = (
    "quantize-weights", "binarize", "magnitude-prune", "layer-removal",
    "input-mask", "conv3d", "meta-head", "self-grow",
)  # fmt: skip


def savings() -> Drawing:
    """Bytes and time of every recorded line of the payoff table, a panel per plugin."""
    found = recorded("payoff")
    drawing = Drawing(
        760,
        470,
        "What each plugin saves",
        "A dot is one case of the payoff table: to the right fewer bytes, upwards faster. Axes are logarithmic.",
    )
    drawing.text(24, 30, "What each plugin saves: a dot is one measured case", "ink bold")
    drawing.text(24, 50, "to the right: fewer bytes; up: faster; the cross stands where nothing changed", "soft small")
    for number, name in enumerate(ORDER):
        left, top = 52 + 178 * (number % 4), 84 + 190 * (number // 4)
        panel(drawing, name, found[name]["rows"], left, top)
    drawing.text(
        24, 456, "whole files and single layers, batch 1 and larger; docs/results/payoff.md has each", "soft small"
    )
    return drawing


def panel(drawing: Drawing, name: str, rows: list[Any], left: float, top: float) -> None:
    width, height = 150, 130

    def x(ratio: float) -> float:
        return left + width * (math.log10(min(max(ratio, 0.6), 1000)) - math.log10(0.6)) / math.log10(1000 / 0.6)

    def y(speed: float) -> float:
        return top + height - height * (math.log10(min(max(speed, 0.25), 40)) - math.log10(0.25)) / math.log10(160)

    drawing.text(left, top - 8, name, "ink bold")
    drawing.box(left, top, width, height, "line", 0)
    drawing.line(x(1), top, x(1), top + height)
    drawing.line(left, y(1), left + width, y(1))
    for ratio in (1, 10, 100):
        drawing.text(x(ratio), top + height + 15, f"÷{ratio}", "soft small", "middle")
    for speed in (0.5, 1, 4, 16):
        drawing.text(left - 5, y(speed) + 4, f"{speed:g}×", "soft small", "end")
    for row in rows:
        drawing.dot(x(row["before"] / row["after"]), y(row["speed"]["speedup"]), 3, "blue")


Grid = list[list[str]]


def grid(drawing: Drawing, x: float, y: float, cells: Grid, side: float = 14) -> None:
    for row, line in enumerate(cells):
        for column, kind in enumerate(line):
            drawing.box(x + column * (side + 2), y + row * (side + 2), side, side, kind, 2)


def before_after(name: str, about: str, before: Grid, after: Grid, left: str, right: str, side: float = 14) -> Drawing:
    """Two grids of weights and an arrow between them; ``side`` is that of a square on the right."""
    drawing = Drawing(480, 150, name, about)
    tall = max(len(before), len(after)) * 16
    grid(drawing, 40, 20 + (tall - 16 * len(before)) / 2, before)
    drawing.arrow(170, 20 + tall / 2, 222, 20 + tall / 2)
    grid(drawing, 250, 20 + (tall - (side + 2) * len(after)) / 2, after, side)
    drawing.text(40, 140, left, "soft small")
    drawing.text(250, 140, right, "soft small")
    return drawing


def block(rows: int, columns: int, kind: str = "blue") -> Grid:
    return [[kind] * columns for _ in range(rows)]


def mixed(rows: int, columns: int, seed: int, kinds: tuple[str, ...]) -> Grid:
    chance = random.Random(seed)
    return [[chance.choice(kinds) for _ in range(columns)] for _ in range(rows)]


def methods() -> dict[str, Drawing]:
    shades = ("blue", "pale", "orange", "grey")
    dense = mixed(6, 6, 1, shades)
    few = [["blue" if kind in ("blue", "pale") else "orange" for kind in line] for line in dense]
    holes = [[kind if kind in ("blue", "orange") else "none" for kind in line] for line in dense]
    masked = [[("blue" if (r + c) % 2 else "none") for c in range(6)] for r in range(6)]
    return {
        "binarize": before_after(
            "binarize", "Weights become two values.", dense, few, "32 bits each", "1 bit each, a scale per output"
        ),
        "quantize": before_after(
            "quantize", "Weights and values take a quarter of the bits.", dense, dense,
            "floats of 32 bits", "integers of 8, between layers too", 7,
        ),
        "magnitude-prune": before_after(
            "magnitude-prune", "Whole rows of a weight go.", dense, dense[:2] + dense[4:5], "six channels", "three left"
        ),
        "weights-pruned": before_after(
            "single weights", "Single weights become zero.", dense, holes,
            "36 weights", "as many places, most of them zero",
        ),
        "layer-removal": before_after(
            "layer-removal", "A layer goes and its neighbour takes its place.",
            [["pale"] * 6, ["none"] * 6, ["blue"] * 6, ["blue"] * 6, ["none"] * 6, ["pale"] * 6],
            [["pale"] * 6, ["none"] * 6, ["pale"] * 6],
            "a layer in the middle …", "… cut out, the gap bridged",
        ),
        "input-mask": before_after(
            "input-mask", "Only some pixels are read.", block(6, 6), masked,
            "every pixel", "one in two, in a fixed tile",
        ),
        "conv3d": before_after(
            "conv3d", "One small kernel slides over the channels.", dense,
            [["blue", "pale"], ["orange", "grey"]], "a weight per pair of channels", "a small kernel for all",
        ),
        "meta-head": before_after(
            "meta-head", "A dense weight becomes blocks and a small mix.", dense,
            [["blue" if r // 2 == c // 2 else "none" for c in range(6)] for r in range(6)],
            "every input to every output", "groups, mixed by a small layer",
        ),
        "self-grow": before_after(
            "self-grow", "Rows that at first change nothing are added.", block(4, 6),
            [*block(4, 6), *block(2, 6, "none")], "four channels", "two more, silent at first",
        ),
    }  # fmt: skip


# Pages of results -----------------------------------------------------------------------------------------------------

Rows = list[dict[str, str]]
TABLE = re.compile(r"^\|(.*)\|\n\|[-:| ]+\|\n((?:\|.*\|\n?)+)", re.MULTILINE)
NUMBER = re.compile(r"[-+−]?\d[\d,]*(?:\.\d+)?")


def tables(page: str) -> list[Rows]:
    """The tables of a page, a dictionary per row."""
    found = []
    for head, body in TABLE.findall(page):
        columns = [cell.strip() for cell in head.split("|")]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]
        found.append([dict(zip(columns, row, strict=True)) for row in rows])
    return found


def page_plots() -> dict[str, Drawing]:
    """A plot for every page whose opening names a column: of figures, or of outcomes."""
    openings = tomllib.loads((DOCS / "results" / "openings.toml").read_text(encoding="utf-8"))
    return {
        f"results-{name}": draw(entry, (DOCS / "results" / f"{name}.md").read_text(encoding="utf-8"))
        for name, entry in openings.items()
        for key, draw in (("value", page_plot), ("outcome", page_tally))
        if key in entry
    }


def page_plot(entry: dict[str, Any], page: str) -> Drawing:
    """A dot per row of the table: its label to the left, the first number of its cell to the right."""
    points = []
    for row in tables(page)[entry.get("table", 1) - 1]:
        if number := NUMBER.search(row[entry["value"]]):
            label = " · ".join(row[column] for column in entry["label"]).replace("*", "")
            points.append((label, float(number[0].replace(",", "").replace("−", "-"))))
    return dots(points, entry["unit"], log=entry.get("log", False), about=entry["shows"])


def page_tally(entry: dict[str, Any], page: str) -> Drawing:
    """A square per row of the table, those of one package in a line; dashed where the outcome is a refusal."""
    found: dict[str, list[bool]] = defaultdict(list)
    for row in tables(page)[entry.get("table", 1) - 1]:
        package = row[entry["label"][0]].partition(" ")[0].replace("==", " ")
        found[package].append(not row[entry["outcome"]].startswith("refused"))
    return tally(found, entry["unit"], about=entry["shows"])


def tally(found: dict[str, list[bool]], unit: str, *, about: str) -> Drawing:
    line, left, top = 28, 240, 24
    bottom = top + line * len(found)
    drawing = Drawing(760, bottom + 40, unit, about)
    for number, (label, outcomes) in enumerate(found.items()):
        y = top + line * number
        drawing.text(left - 16, y + 13, label, "ink small", "end")
        for place, taken in enumerate(outcomes):
            drawing.box(left + 24 * place, y, 18, 18, "blue" if taken else "none")
        drawing.text(left + 24 * len(outcomes) + 8, y + 13, f"{sum(outcomes)} of {len(outcomes)}", "soft small")
    drawing.text(left, bottom + 24, unit, "soft small")
    return drawing


def dots(points: list[tuple[str, float]], unit: str, *, log: bool, about: str) -> Drawing:
    line, left, right, top = 24, 360, 720, 40
    drawing = Drawing(760, top + line * len(points) + 52, unit, about)
    bottom = top + line * len(points)
    scaled = [math.log10(value) if log else value for _, value in points]
    low, high = min(scaled), max(scaled)
    margin = 0.08 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def x(value: float) -> float:
        return left + (right - left) * (value - low) / (high - low)

    for tick in ticks(low, high, log=log):
        drawing.line(x(tick), top - 8, x(tick), bottom)
        drawing.text(x(tick), bottom + 18, plain(10**tick if log else tick), "soft small", "middle")
    drawing.text((left + right) / 2, bottom + 40, unit, "soft small", "middle")
    for number, ((label, value), place) in enumerate(zip(points, scaled, strict=True)):
        y = top + line * number + 6
        drawing.text(left - 16, y + 4, label if len(label) < 48 else f"{label[:46]}…", "ink small", "end")
        drawing.dot(x(place), y, 5, "blue")
        right_of = x(place) < right - 60
        drawing.text(
            x(place) + (10 if right_of else -10), y + 4, plain(value), "ink small", "start" if right_of else "end"
        )
    return drawing


def ticks(low: float, high: float, *, log: bool) -> list[float]:
    """Round values between ``low`` and ``high``; of a logarithmic axis their logarithms."""
    if log:
        steps = [math.log10(digit) + power for power in range(-4, 9) for digit in (1, 2, 5)]
        inside = [step for step in steps if low <= step <= high]
        return inside if len(inside) < 7 else [step for step in inside if step == round(step)]
    size = 10 ** math.floor(math.log10(high - low))
    step = next(size * part for part in (0.1, 0.2, 0.5, 1, 2) if (high - low) / (size * part) < 7)
    return [step * number for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def plain(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def figures() -> dict[str, Drawing]:
    """File name → drawing."""
    plain_ones = {"results": results(), "search": search(), "measuring": measuring(), "verdict": verdict()}
    return {**plain_ones, "savings": savings(), **methods(), **page_plots()}


if __name__ == "__main__":
    for name, drawing in figures().items():
        drawing.save(DOCS / "figures" / f"{name}.svg")
