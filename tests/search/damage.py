"""Every way a file of a run folder can be damaged; ``python damage.py`` tries all of them on a real, small run."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
from search_support import run_here
from torch import nn

from compressor.cli.failures import exit_code
from compressor.cli.output import CommandOutput
from compressor.cli.summary import tell_result
from compressor.engine import baseline as baseline_module
from compressor.engine import figures as figures_module
from compressor.engine import final as final_module
from compressor.engine import site_measurement as site_module
from compressor.engine.course import Progress
from compressor.errors import CompressorError
from compressor.graph.capture import capture
from compressor.measure.latency import Comparison
from compressor.measure.session import OnnxModel
from compressor.recipe.read import read_recipe
from compressor.search.context import context
from compressor.search.driver import run_search
from compressor.search.executor import Job, JobResult, Question, TrialSpec
from compressor.search.observer import Finished
from compressor.search.questions import respond
from compressor.search.run_folder import RunFolder
from compressor.stored import digest_of

RECIPE = """
objectives = ["quality", "size"]
[data]
name = "digits"
limit = 200
validation = 100
calibration = 32
[training]
epochs = 0
[[phases]]
name = "p"
[[phases.plugins]]
name = "quantize-weights"
[constraints]
max_drop = 0.99
max_size = 0.9
[search]
trials = 2
[measure]
finalists = 1
[controls]
unchanged = true
[pilot.options]
tilings = ["DN", "GRI"]
sets = 1
epochs = 1
limit = 32
error_tolerance = 1.0
loss_tolerance = 100.0
"""


class Inline:
    """Runs every trial here, at once."""

    slots = 1

    def __init__(self, run: RunFolder, *_: object) -> None:
        self._run = run.path

    def submit(self, job: Job, progress: Progress | None = None) -> Future[JobResult]:
        future: Future[JobResult] = Future()
        try:
            future.set_result(run_here(self._run, job, progress))
        except Exception as error:
            future.set_exception(error)
        return future

    def ask(self, question: Question) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(respond(question.about, context(str(self._run))))
        except CompressorError as error:
            future.set_exception(error)
        return future

    def forget(self, spec: TrialSpec) -> None: ...

    def cancel_all(self) -> None: ...

    def close(self) -> None: ...


def steady_clock(put: Callable[[Any, str, object], None] = setattr) -> None:
    """From now on every candidate is measured as twice as fast: verdicts must not change with the machine's load."""

    def compare(baseline: bytes, candidate: bytes, **_: object) -> Comparison:
        OnnxModel(candidate)
        ratio = 1.0 if baseline == candidate else 2.0
        return Comparison(ratio, ratio, ratio, 10.0, 10 / ratio, 10.0, 10 / ratio, 11 / ratio, 9, 3, 0.5)

    for module in (baseline_module, figures_module, final_module, site_module):
        put(module, "compare", compare)


def finished_run(folder: Path) -> RunFolder:
    """A real run, from its recipe to its report."""
    torch.manual_seed(0)
    (folder / "r.toml").write_text(RECIPE)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    run = RunFolder.create(folder / "run", read_recipe(folder / "r.toml"), capture(module, (1, 8, 8), "a test"))
    assert resume(run.path)[0] in (0, 1)
    return run


def resume(path: Path) -> tuple[int, str]:
    """``compressor resume`` without processes: its exit code, and what it says."""
    context.cache_clear()

    def work() -> int:
        run = RunFolder.open(path)
        finished: Finished = run_search(run, executor=Inline)
        assert finished.result is not None
        tell_result(run, finished.result, CommandOutput(False))
        return 0 if finished.result.verdict.helped else 1

    return _told(work)


def report(path: Path) -> tuple[int, str]:
    """``compressor report``."""

    def work() -> int:
        run = RunFolder.open(path)
        tell_result(run, run.result(), CommandOutput(False))
        return 0

    return _told(work)


def _told(work: Callable[[], int]) -> tuple[int, str]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = exit_code(work)
    return code, said.getvalue()


# --- damage ------------------------------------------------------------------------------------------------------


def files_of(run: Path) -> list[str]:
    """Every file a run wrote, but for logs and the lock."""
    names = (str(file.relative_to(run)) for file in sorted(run.rglob("*")) if file.is_file())
    return [name for name in names if not name.endswith(("log.txt", "workers.log", "lock"))]


def damages_of(file: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Names of damages, and what does them."""
    yield "deleted", lambda path: path.unlink()
    yield "emptied", lambda path: path.write_bytes(b"")
    yield "truncated", lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    yield "garbage", lambda path: path.write_bytes(random.Random(0).randbytes(1000))
    yield "flipped", _flip
    yield "folder", _folder
    yield "dangling", _dangling
    yield "unreadable", lambda path: path.chmod(0)
    if file.suffix == ".json":
        yield "null", lambda path: path.write_text("null")
        yield "list", lambda path: path.write_text("[1, 2]")
        yield "deep", lambda path: path.write_text("[" * 100_000)
        document = json.loads(file.read_bytes())
        for where in _places(document):
            name = ".".join(map(str, where))
            yield f"without {name}", _edit(where, None)
            for value in (float("nan"), float("inf"), [], {}, "x", True, 1, None):
                yield f"{name}={value}", _edit(where, (value,))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "x").touch()


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = node.items() if isinstance(node, dict) else enumerate(node[:1]) if isinstance(node, list) else ()
    for key, value in entries:
        yield (*at, key)
        yield from _places(value, (*at, key))


def _edit(where: tuple[Any, ...], value: tuple[Any] | None) -> Callable[[Path], None]:
    def edit(path: Path) -> None:
        document = node = json.loads(path.read_bytes())
        for key in where[:-1]:
            node = node[key]
        if value is None:
            del node[where[-1]]
        else:
            node[where[-1]] = value[0]
        path.write_text(json.dumps(document))

    return edit


# --- what must hold ----------------------------------------------------------------------------------------------


def copied(run: Path, work: Path) -> Path:
    """A copy of the run, under ``work``."""
    path = work / "copy"
    shutil.rmtree(path, ignore_errors=True)
    return Path(shutil.copytree(run, path))


def complaints(run: Path, name: str, damage: Callable[[Path], None], work: Path) -> Iterator[str]:
    """What a damaged copy of a good run does that it must not."""
    good = RunFolder.open(run).result()
    assert good.best is not None
    assert good.best.checks is not None
    path = copied(run, work)
    damage(path / name)
    code, said = report(path)
    if code not in (0, 2) or said.count("internal error") or "Traceback" in said:
        yield f"report: {code}: {said[-300:]}"
    if code == 0 and not _published(path):
        yield f"report tells of a file that is not there or another: {said[-300:]}"
    code, said = resume(path)
    if code not in (0, 1, 2) or said.count("internal error") or "Traceback" in said:
        yield f"resume: {code}: {said[-300:]}"
    if code == 2 and (len(said.strip().splitlines()) != 1 or str(path) not in said):
        yield f"resume says it badly: {said[-300:]}"
    if code == 1 and good.verdict.helped:
        reasons = RunFolder.open(path).result().verdict.reasons
        yield f"a false verdict: {reasons}"
    if code == 0 and not _published(path):
        yield f"resume says that it helped, and best/ holds another file: {said[-300:]}"


def _published(path: Path) -> bool:
    """Whether ``best/model.onnx`` is the file that ``result.json`` is about."""
    best = RunFolder.open(path).result().best
    model = path / "best" / "model.onnx"
    if best is None or best.checks is None or not model.is_file():
        return False
    return digest_of(model.read_bytes()) == best.checks.model and model.stat().st_size == best.size_bytes


def main() -> None:
    torch.set_num_threads(1)
    steady_clock()
    folder = Path(tempfile.mkdtemp())
    run = finished_run(folder).path
    print(RunFolder.open(run).result().verdict)
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    count = bad = 0
    for name in files_of(run):
        cases = list(damages_of(run / name))
        whole, parts = cases[:11], cases[11:]
        every = max(1, len(parts) // int(os.environ.get("PARTS", "12")))
        for what, damage in itertools.chain(whole, parts[::every]):
            if wanted not in f"{name} {what}":
                continue
            count += 1
            for complaint in complaints(run, name, damage, folder):
                bad += 1
                print(f"{name} {what}: {complaint}", flush=True)
    print(f"{count} damages, {bad} complaints")


if __name__ == "__main__":
    main()
