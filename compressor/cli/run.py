"""Carrying out a run folder, fresh or half done: the display while it runs, the summary when it ends."""

from __future__ import annotations

import contextlib
from functools import partial

from compressor.cli.display import observer
from compressor.cli.failures import INTERRUPTED, NO, OK
from compressor.cli.output import CommandOutput
from compressor.cli.summary import tell_result
from compressor.search.driver import run_search
from compressor.search.executors import executor_of
from compressor.search.observer import Observer
from compressor.search.run_folder import RunFolder
from compressor.track.observer import Tracked
from compressor.track.tracker import Tracker


def carry_out(
    run: RunFolder,
    out: CommandOutput,
    *,
    more: float | None = None,
    since: float | None = None,
    tracker: Tracker | None = None,
    executor: str = "",
) -> int:
    """Search until the run is finished or interrupted; the exit code of ``run_search``.

    ``more``: a new budget, in seconds from now on; ``since``: when the command began, which counts.
    ``tracker``: told of every trial; ``executor``: where trials run, in place of the recipe's.
    """
    with contextlib.ExitStack() as stack:
        watching: Observer = stack.enter_context(observer(out.notes))
        if tracker is not None:
            watching = stack.enter_context(Tracked(watching, tracker, run))
        finished = run_search(
            run, observer=watching, executor=partial(executor_of, name=executor), more=more, since=since
        )
    if finished.result is not None:
        tell_result(run, finished.result, out)
    if finished.interrupted:
        out.note(f"interrupted; go on with: compressor resume {run.path}")
        return INTERRUPTED
    return OK if finished.result is not None and finished.result.verdict.helped else NO
