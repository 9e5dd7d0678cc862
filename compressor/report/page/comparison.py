"""Several runs side by side as a page of their own, in the style of the report."""

from __future__ import annotations

from compressor.report.compare import Named, best_table, compare
from compressor.report.page.front import RUNS, comparison
from compressor.report.page.parts import Block, Part
from compressor.report.page.render import document


def comparison_page(runs: Named) -> str:
    """The whole page."""
    best, *others = compare(runs)
    drawn = comparison(runs)
    kinds = tuple((RUNS[number % len(RUNS)], name) for number, name in enumerate(runs))
    plots = (Block("plots", drawn, key=kinds),) if drawn else ()
    lines = tuple(Block("text", line) for line in best.lines)
    made = [Part("best", best.title, (*lines, *plots, Block("table", best_table(runs), best.title, sortable=True)))]
    made += [Part("recipes", other.title, (Block("table", other.content, other.title),)) for other in others]
    return document(title=f"{len(runs)} runs", subtitle=", ".join(runs), parts=made)
