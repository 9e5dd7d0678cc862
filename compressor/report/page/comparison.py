"""Several runs side by side as a page of their own, in the style of the report."""

from __future__ import annotations

from compressor.report.compare import NamedRuns, best_table, compare_runs
from compressor.report.page.front import RUNS, comparison
from compressor.report.page.parts import PageBlock, PageSection
from compressor.report.page.render import document


def comparison_page(runs: NamedRuns) -> str:
    """The whole page."""
    best, *others = compare_runs(runs)
    drawn = comparison(runs)
    kinds = tuple((RUNS[number % len(RUNS)], name) for number, name in enumerate(runs))
    plots = (PageBlock("plots", drawn, key=kinds),) if drawn else ()
    lines = tuple(PageBlock("text", line) for line in best.lines)
    made = [
        PageSection(
            "best", best.title, (*lines, *plots, PageBlock("table", best_table(runs), best.title, sortable=True))
        )
    ]
    made += [PageSection("recipes", other.title, (PageBlock("table", other.content, other.title),)) for other in others]
    return document(title=f"{len(runs)} runs", subtitle=", ".join(runs), parts=made)
