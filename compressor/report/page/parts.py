"""The parts of the page from top to bottom, as plain data: what is shown, not how."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from compressor.report.explain import FIGURES, chosen_trial, explain
from compressor.report.gather import Facts
from compressor.report.layers import changes_table
from compressor.report.method import method
from compressor.report.page.course import course
from compressor.report.page.front import plots
from compressor.report.page.network import diagram
from compressor.report.section import Section
from compressor.report.sites import sites_tables
from compressor.report.structure import history_table, stages_table
from compressor.report.table import Table, table
from compressor.report.tables import comparison_table, controls_table, edits_table, finalists_table
from compressor.report.trials import nearest_table, trials_table
from compressor.report.usage import usage

SENTENCES = 4
"""More than that are a list."""


@dataclass(frozen=True)
class PageBlock:
    """Something that is shown: ``content`` is what its ``kind`` takes."""

    kind: Literal["text", "heading", "list", "table", "command", "link", "code", "plots", "network", "course"]
    content: Any
    caption: str = ""
    sortable: bool = False
    folded: bool = False
    """Shown when someone asks for it."""
    key: tuple[tuple[str, str], ...] = ()
    """Of plots: the kinds of points and what they mean."""


@dataclass(frozen=True)
class PageSection:
    """A section of the page, with the name that leads to it."""

    id: str
    title: str
    blocks: tuple[PageBlock, ...]


def parts(facts: Facts) -> list[PageSection]:
    """Those that have anything to show."""
    made = (
        ("told", "By the plugins", _by_plugins(facts)),
        ("best", "Before and after", _best(facts)),
        ("nearest", "Baseline and candidates", _nearest(facts)),
        ("front", "Front", _front(facts)),
        ("changes", "What changed", _changes(facts)),
        ("why", "Why this one", _why(facts)),
        ("structure", "Structure", _structure(facts)),
        ("sites", "Every site alone", _sites(facts)),
        ("search", "The search as it went", _search(facts)),
        ("controls", "Control arms", _controls(facts)),
        ("method", "How it was measured", (PageBlock("text", line) for line in method(facts))),
        ("again", "Do it again", _again(facts)),
        ("environment", "Environment", (PageBlock("table", _environment(facts), "Versions and machine"),)),
    )
    return [PageSection(id, title, blocks) for id, title, content in made if (blocks := tuple(content))]


def _by_plugins(facts: Facts) -> Iterator[PageBlock]:
    """What the plugins of the run say about it."""
    for section in facts.told:
        yield from told_blocks(section)


def _best(facts: Facts) -> Iterator[PageBlock]:
    best = facts.result.best
    if best is None:
        return
    yield PageBlock("table", comparison_table(best, facts.result.baseline), "Before and after")
    yield PageBlock("text", f"The plan: {best.about}.")
    yield PageBlock("link", model_of(facts), "The model is")
    yield PageBlock("command", usage(model_of(facts), facts.entries, facts.result.normalisation))
    yield from _fed(facts)


def model_of(facts: Facts) -> str:
    """The best candidate's file, from the run folder; empty where there is none."""
    best = facts.result.best
    published = (facts.folder / "best" / "model.onnx").is_file()
    return "" if best is None else "best/model.onnx" if published else f"candidates/{best.digest}/model.onnx"


def _fed(facts: Facts) -> Iterator[PageBlock]:
    known = facts.result.normalisation
    if known is None:
        return
    inside = "The file does this itself and takes pixels: " if known.folded else "The file takes normalised inputs: "
    origin = f" ({known.origin})" if known.origin else ""
    yield PageBlock("text", f"{inside}{known.describe()}, layout {known.layout}{origin}.")


def _nearest(facts: Facts) -> Iterator[PageBlock]:
    nearest = nearest_table(facts)
    if nearest is not None:
        yield PageBlock("text", "No candidate keeps within the limits. These came nearest:")
        yield PageBlock("table", nearest, "The candidates that came nearest")


_KINDS = (
    ("best", "the best"),
    ("finalist", "finalist"),
    ("other", "complete, no finalist"),
    ("baseline", "baseline"),
)


def _front(facts: Facts) -> Iterator[PageBlock]:
    drawn = plots(facts)
    if drawn:
        yield PageBlock("plots", drawn, key=_KINDS)
        yield PageBlock("table", finalists_table(facts.result), "The finalists beside the baseline", sortable=True)


def _changes(facts: Facts) -> Iterator[PageBlock]:
    if facts.result.best is None:
        return
    drawn = diagram(facts)
    if drawn is not None:
        yield PageBlock(
            "text",
            "From the input to the output: the line is the way that values take now, dots are where they went before. "
            "Layers that hold nothing, take no time and are as they were are left out.",
        )
        yield PageBlock("network", drawn)
    yield PageBlock("table", edits_table(facts.result.best.plan), "The steps of the plan", folded=True)
    if facts.changes:
        layers = changes_table(list(facts.changes))
        yield PageBlock("table", layers, "The layers before and after", sortable=True, folded=True)


def _why(facts: Facts) -> Iterator[PageBlock]:
    """What ``compressor explain`` tells of the best candidate, but for what is shown elsewhere."""
    if facts.result.best is not None and any(trial.digest == facts.result.best.digest for trial in facts.trials):
        for section in explain(facts, chosen_trial(facts), facts.changes):
            yield from told_blocks(replace(section, content=None) if section.title == FIGURES else section)


def _structure(facts: Facts) -> Iterator[PageBlock]:
    structure = facts.structure
    if structure is None:
        return
    yield PageBlock(
        "text",
        "Blocks by the size of their feature maps. |γ| is the mean of a block's weakest BatchNorm: near zero, little "
        "of the block gets through.",
    )
    yield PageBlock("table", stages_table(structure), "Blocks by the size of their feature maps")
    if structure.history:
        yield PageBlock("table", history_table(structure.history), "What each edit added or removed", folded=True)


def _sites(facts: Facts) -> Iterator[PageBlock]:
    found = sites_tables(facts.sensitivities)
    if found:
        yield PageBlock(
            "text",
            "Measured before the first trial, one site at a time and without training: what the loss on calibration "
            "samples gains, what goes, and how fast the file is then.",
        )
    for each in found:
        yield PageBlock("heading", each.title)
        yield PageBlock("table", each, f"The sites of {each.title}", sortable=True)


def _search(facts: Facts) -> Iterator[PageBlock]:
    drawn = course(facts)
    if drawn is not None:  # None where a pilot study ended the run
        yield PageBlock("course", drawn)
        yield PageBlock("heading", "Trials")
        yield PageBlock("table", trials_table(facts.trials, facts.result.baseline.metrics), "Trials", sortable=True)


def _controls(facts: Facts) -> Iterator[PageBlock]:
    controls, best = facts.result.controls, facts.result.best
    if controls and best is not None:
        yield PageBlock(
            "text", "The same budget without the method: if a control does as well, the method earned nothing there."
        )
        yield PageBlock("table", controls_table(controls, best), "The control arms beside the best candidate")


def _again(facts: Facts) -> Iterator[PageBlock]:
    yield PageBlock("text", "The whole run once more, from the model and the recipe that lie in its folder:")
    yield PageBlock("command", "\n".join(commands(facts)))
    yield PageBlock("code", facts.recipe, "recipe.toml, as run")


def commands(facts: Facts) -> list[str]:
    """What does the run again, and what times its model again, for a shell."""
    run = facts.folder
    lines = [
        _line(
            "optimize", run / "model.pt2", "--recipe", run / "recipe.toml", "--out", run.with_name(f"{run.name}-again")
        )
    ]
    if facts.result.best is not None:
        lines.append(_line("bench", run / "baseline" / "model.onnx", run / model_of(facts)))
    return lines


def _line(*words: str | Path) -> str:
    return shlex.join(["compressor", *map(str, words)])


def _environment(facts: Facts) -> Table:
    rows = []
    for key, value in facts.environment.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)
        rows.append((key, shown))
    return table("what, value", rows)


def told_blocks(section: Section) -> Iterator[PageBlock]:
    """A section as it is told."""
    yield PageBlock("heading", section.title)
    if len(section.lines) > SENTENCES:
        yield PageBlock("list", section.lines)
    else:
        yield from (PageBlock("text", line) for line in section.lines)
    if section.content is not None:
        yield PageBlock("table", section.content, section.title)
