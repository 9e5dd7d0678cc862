"""``compressor resume``: go on with a run that was interrupted."""

from __future__ import annotations

import typer

from compressor.api.durations import seconds_of
from compressor.cli.options import Budget, ExecutorName, JsonFlag, RunDir, TrackerName
from compressor.cli.output import output


def resume(
    folder: RunDir,
    budget: Budget = "",
    executor: ExecutorName = "",
    tracker: TrackerName = "",
    as_json: JsonFlag = False,
) -> None:
    """Go on with a run that was interrupted; no finished trial is run again. Exit codes are those of optimize.

    With --budget it goes on for that long, whatever its budget was before; with --executor, on those machines.
    """
    with output(as_json) as out:
        from compressor.cli.run import carry_out
        from compressor.search.run_folder import RunFolder
        from compressor.track.tracker import tracker_named

        tracking = tracker_named(tracker) if tracker else None
        run, more = RunFolder.open(folder), seconds_of(budget, "--budget")
        code = carry_out(run, out, more=more, tracker=tracking, executor=executor)
    if code:
        raise typer.Exit(code)
