"""``compressor explain``: in plain words what was done to a network, why there, what it cost and brought."""

from __future__ import annotations

from typing import Annotated

import typer

from compressor.cli.options import JsonFlag, RunDir
from compressor.cli.output import output


def explain(
    folder: RunDir,
    candidate: Annotated[
        str,
        typer.Argument(metavar="CANDIDATE", help="A trial's number, or the beginning of its digest; default: best."),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Say what was done to which layer, why there, and what it cost and brought."""
    with output(as_json) as out:
        from compressor.cli.summary import tell
        from compressor.report.explain import chosen_trial
        from compressor.report.explain import explain as explained
        from compressor.report.gather import changes_of, gather
        from compressor.search.run_folder import RunFolder

        run = RunFolder.open(folder)
        facts = gather(run)
        trial = chosen_trial(facts, candidate)
        sections = explained(facts, trial, changes_of(run, trial.digest))
        if as_json:
            told = [section.plain() for section in sections]
            out.document({"trial": trial.number, "digest": trial.digest, "about": trial.about, "sections": told})
        for section in () if as_json else sections:
            tell(section, out)
