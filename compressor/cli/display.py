"""The search as it runs: a live picture on a terminal, plain lines with the time of day elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from compressor.cli.draw import as_rich
from compressor.cli.events import sentence, stage_words
from compressor.cli.watch import Watch
from compressor.engine.candidate import Metrics
from compressor.engine.plan import Plan
from compressor.report import text
from compressor.report.tables import front_table
from compressor.search.observer import ArmEnded, ArmProgress, Event, Observer, PilotEnded, TrialEnded, TrialProgress
from compressor.search.result import Candidate

QUIET_SECONDS = 30.0
"""Off a terminal a trial under way is mentioned when nothing was printed for this long."""
MOST_ROWS = 8


@contextlib.contextmanager
def observer(console: Console) -> Iterator[Observer]:
    """Draws on ``console`` what it is told, the way the console can show it."""
    watch = Watch()
    if not sys.stderr.isatty() or console.is_dumb_terminal:
        yield _Lines(console, watch)
        return
    live = Live(
        get_renderable=lambda: picture(watch),
        console=console,
        refresh_per_second=4,
        transient=True,
        vertical_overflow="ellipsis",
    )
    with live:
        yield _Picture(console, watch)


class _Picture:
    """Keeps the watch up to date, which the live display draws; notes stay on the terminal above it."""

    def __init__(self, console: Console, watch: Watch) -> None:
        self.console, self.watch = console, watch

    def notify(self, event: Event) -> None:
        self.watch.update(event)
        if isinstance(event, TrialEnded | PilotEnded):
            self.console.print(text.clean(sentence(event, self.watch.trials, self.watch.baseline)))


class _Lines:
    """Prints one line per event worth one."""

    def __init__(self, console: Console, watch: Watch, clock: Callable[[], float] = time.monotonic) -> None:
        self.console, self.watch, self.clock = console, watch, clock
        self.printed = clock()

    def notify(self, event: Event) -> None:
        self.watch.update(event)
        if isinstance(event, TrialProgress | ArmProgress) and self.clock() - self.printed < QUIET_SECONDS:
            return
        line = sentence(event, self.watch.trials, self.watch.baseline)
        if line:
            more = f", {left}" if isinstance(event, TrialEnded | ArmEnded) and (left := time_left(self.watch)) else ""
            self.console.print(f"{time.strftime('%H:%M:%S')} {text.clean(line)}{more}", soft_wrap=True)
            self.printed = self.clock()


# --- the picture -------------------------------------------------------------------------------------------------


def picture(watch: Watch) -> RenderableType:
    """Everything the watch knows, from the general to the particular."""
    parts: list[RenderableType] = [_overall(watch), Text(stage_words(watch.stage))]
    if watch.piloting is not None:
        parts += [_doing(f"arm {name}", *how, "") for name, how in list(watch.piloting.running.items())]
    for trial in list(watch.running.values()):
        parts.append(_doing(f"trial {trial.number}", trial.stage, trial.share, trial.about))
    if watch.front and watch.baseline is not None:
        parts.append(as_rich(front_table(watch.front[:MOST_ROWS], base(watch.baseline), title="front so far")))
        if len(watch.front) > MOST_ROWS:
            parts.append(Text(f"and {len(watch.front) - MOST_ROWS} more"))
    parts += [Text(f"note: {text.clean(note)}", style="dim", overflow="fold") for note in list(watch.notes)]
    return Group(*parts)


def time_left(watch: Watch) -> str:
    """How long the trials still take, and what comes after them; empty where nothing is known."""
    if watch.until is not None and watch.stage.name == "search":
        return f"{text.duration(max(watch.until - watch.clock(), 1))} left of the budget"
    left = watch.left()
    if left is None or watch.stage.name in ("final", "control"):
        return ""
    if watch.piloting is None and watch.finished >= watch.trials:
        return "then the final measurement"
    about = f"about {text.duration(max(left, 1))} left"
    return about if watch.piloting is not None else f"{about}, then the final measurement"


def _overall(watch: Watch) -> RenderableType:
    left = time_left(watch)
    times = text.duration(watch.elapsed) + (f", {left}" if left else "")
    if watch.piloting is not None:
        done, number, total, noun = watch.piloting.done, watch.piloting.finished, watch.piloting.started.arms, "arms"
    else:
        done, number, total, noun = watch.done, watch.finished, watch.trials, "trials"
    if not total:  # still reading and measuring
        return Text(times)
    row = RichTable.grid(padding=(0, 1), expand=False)
    row.add_column(no_wrap=True)
    row.add_column(width=16)
    row.add_column(overflow="fold")
    bar = ProgressBar(total=total, completed=done, width=16)
    row.add_row(Text(f"{number}/{total} {noun}", style="bold"), bar, times)
    return row


def _doing(what: str, stage: str, share: float, about: str) -> RenderableType:
    line = Text(f"{what} ", overflow="ellipsis", no_wrap=True)
    line.append(f"{share:4.0%} {text.clean(stage)} ", style="bold")
    line.append(text.clean(about), style="dim")
    return line


def base(metrics: Metrics) -> Candidate:
    """The baseline as a row of the front."""
    return Candidate.of(metrics, Plan())
