"""``compressor report``: what a run found, and its report written anew."""

from __future__ import annotations

from compressor.cli.options import JsonFlag, RunDir
from compressor.cli.output import output


def report(folder: RunDir, as_json: JsonFlag = False) -> None:
    """Write DIR/report.html anew and show the front and the verdict."""
    with output(as_json) as out:
        from compressor.cli.summary import tell_result
        from compressor.search.run_folder import RunFolder

        run = RunFolder.open(folder)
        tell_result(run, run.result(), out)
