"""``compressor compare``: several runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from compressor.cli.options import JsonFlag
from compressor.cli.output import output


def compare(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR…", help="Run folders.", show_default=False)],
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write a page, with the fronts as plots.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Set the best of several runs side by side, and say what their recipes differ in."""
    with output(as_json) as out:
        from compressor.cli.summary import tell
        from compressor.files import write_atomic
        from compressor.report.compare import compare_runs as compared
        from compressor.report.compare import named
        from compressor.report.gather import gather
        from compressor.report.page.comparison import comparison_page
        from compressor.search.result import RESULT
        from compressor.search.run_folder import RunFolder

        runs = named([gather(RunFolder.open(folder)) for folder in folders])
        if html is not None:
            write_atomic(html, comparison_page(runs))
        sections = compared(runs)
        if as_json:
            out.document(
                {
                    "runs": {name: RESULT.plain(facts.result) for name, facts in runs.items()},
                    "sections": [section.plain() for section in sections],
                }
            )
            return
        for section in sections:
            tell(section, out)
        if html is not None:
            out.line(f"page: {html}")
