"""What ``optimize`` gives: the verdict, the best candidate and its file, the front, and the figures to look at."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from compressor.data.answered import answered
from compressor.data.load import load_data
from compressor.engine.baseline import load_baseline
from compressor.engine.trial import load_candidate
from compressor.graph.network import Network
from compressor.present import present
from compressor.report.gather import Facts, gather
from compressor.report.page.render import page
from compressor.report.tables import front_table
from compressor.report.verdict import headline, sentences
from compressor.search.result import Candidate, Verdict
from compressor.search.result import RunResult as Found
from compressor.search.run_folder import RunFolder
from compressor.task import make_task


class Finalist:
    """A candidate of the front: its figures, its ONNX file, and the trained network itself."""

    def __init__(self, run: RunFolder, figures: Candidate, folder: Path, live: Mapping[str, Any]) -> None:
        self._run, self._live = run, live
        self.figures = figures
        """Parameters, bytes, quality, measured time, the plan."""
        self.onnx_path = folder / "model.onnx"
        """The file that was checked, scored and timed."""

    def __repr__(self) -> str:
        figures = self.figures
        return (
            f"<{figures.quality.metric} {figures.quality.show('validation')}, {figures.size_bytes:,} bytes, "
            f"{figures.latency.speedup:.2f}×: {figures.about}>"
        )

    @cached_property
    def network(self) -> Network:
        """The trained network, for torch: ``network.module`` is an ordinary module.

        Its plan is carried out again on the baseline; where data take part in that, the run's own are read.
        """
        recipe, baseline = self._run.recipe(), load_baseline(self._run.baseline)
        with present(**self._live):
            data = answered(load_data(recipe.data, make_task(recipe.task), check=False), baseline.network)
        evidence = baseline.evidence(data, recipe.data.calibration)
        return load_candidate(self._run.candidate(self.figures.digest), baseline, evidence)


class Result:
    """A finished run."""

    def __init__(self, run: RunFolder, found: Found, **live: Any) -> None:
        self._run, self._live = run, live
        self.found = found
        """All of ``result.json``."""

    @property
    def folder(self) -> Path:
        return self._run.path

    @property
    def report(self) -> Path:
        """The report for people: one HTML file."""
        return self._run.path / "report.html"

    @property
    def verdict(self) -> Verdict:
        """Did it help, and why."""
        return self.found.verdict

    @property
    def baseline(self) -> Candidate:
        return self.found.baseline

    @cached_property
    def best(self) -> Finalist | None:
        """None where no candidate keeps within the limits."""
        return None if self.found.best is None else Finalist(self._run, self.found.best, self._run.best, self._live)

    @cached_property
    def front(self) -> tuple[Finalist, ...]:
        """The finalists, the best first."""
        run = self._run
        return tuple(Finalist(run, one, run.candidate(one.digest), self._live) for one in self.found.front)

    def show(self) -> None:
        """The verdict and the front on standard output."""
        print(self)

    def __str__(self) -> str:
        found, best = self.found, self.found.best
        shown = front_table(found.front, found.baseline, best="" if best is None else best.digest)
        titles = tuple(column.title for column in shown.columns)
        return "\n".join([f"{headline(found)}.", *sentences(found), *_aligned([titles, *shown.rows])])

    def __repr__(self) -> str:
        return f"<{headline(self.found)}: {self.folder}>"

    def _repr_html_(self) -> str:
        """The report in a notebook, in a frame of its own."""
        text = html.escape(page(self._facts), quote=True)
        return f'<iframe srcdoc="{text}" style="width:100%;height:720px;border:0" title="report"></iframe>'

    @cached_property
    def _facts(self) -> Facts:
        return gather(self._run)


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
