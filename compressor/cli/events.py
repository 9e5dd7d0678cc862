"""Events of a search in words, one line each."""

from __future__ import annotations

from compressor.engine.candidate import Metrics, Outcome
from compressor.report import text
from compressor.search.observer import (
    ArmEnded,
    ArmProgress,
    BaselineMeasured,
    Event,
    Finished,
    FrontChanged,
    Note,
    PilotEnded,
    PilotStarted,
    Stage,
    Started,
    TrialEnded,
    TrialProgress,
    TrialStarted,
)

_STAGES = {
    "reading": "reading",
    "data": "reading the data",
    "baseline": "measuring the baseline",
    "sensitivity": "measuring sensitivities",
    "pilot": "pilot study",
    "search": "searching",
    "final": "final measurement, test split opened",
    "control": "training control arms",
}


def stage_words(stage: Stage) -> str:
    """What is going on, for people."""
    return _STAGES.get(stage.name, stage.name) + (f": {stage.detail}" if stage.detail else "")


def sentence(event: Event, trials: int, baseline: Metrics | None) -> str:
    """The event as a line; empty for those that are not worth one."""
    match event:
        case Started():
            resumed = f", {text.plural(event.finished, 'trial')} finished already" if event.finished else ""
            limits = f"; limits: {', '.join(event.constraints)}" if event.constraints else ""
            return f"{event.source}: {text.plural(event.trials, 'trial')}{resumed}{limits}; folder {event.folder}"
        case Stage():
            return stage_words(event)
        case Note():
            return f"note: {event.text}"
        case BaselineMeasured(metrics):
            return f"baseline: {figures(metrics, None)}"
        case PilotStarted():
            resumed = f", {event.finished} finished already" if event.finished else ""
            return f"pilot study {event.name}: {text.plural(event.arms, 'training')}{resumed}; data: {event.data}"
        case ArmProgress():
            return f"arm {event.name}: {event.stage}, {event.share:.0%}"
        case ArmEnded():
            return f"arm {event.name}: {event.figures} [{event.finished}/{event.arms}]"
        case PilotEnded(result):
            return f"pilot study: {result.reason}"
        case TrialStarted():
            return f"trial {event.number} starts: {event.about}"
        case TrialProgress():
            return f"trial {event.number}: {event.stage}, {event.share:.0%}"
        case TrialEnded():
            same = f" (same as trial {event.duplicate_of})" if event.duplicate_of is not None else ""
            all_there_are = max(trials, event.finished)  # what a budget allows was a guess
            return f"trial {event.number} {ending(event.outcome, baseline)}{same} [{event.finished}/{all_there_are}]"
        case FrontChanged(front):
            return f"front: {text.plural(len(front), 'candidate')}" if front else ""
        case Finished():
            return "interrupted" if event.interrupted else "finished"


def ending(outcome: Outcome, baseline: Metrics | None) -> str:
    """How a trial ended, and with which figures."""
    shown = figures(outcome.metrics, baseline) if outcome.metrics is not None else ""
    missed = [name for name, amount in outcome.excess.items() if amount > 0]
    match outcome.status:
        case "complete":
            return f"complete: {shown}" + (f"; misses {', '.join(missed)}" if missed else "")
        case "screened":
            return f"screened before training: {outcome.reason}"
        case _:
            return f"{outcome.status}: {outcome.reason}"


def figures(metrics: Metrics, baseline: Metrics | None) -> str:
    """Quality, size and time; ratios where there is a baseline to compare with, else the name of the metric."""
    shown = metrics.quality.show("validation")
    if baseline is None:
        quality = f"validation {metrics.quality.metric} {shown}"
        return f"{quality}, {text.size(metrics.size_bytes)}, {text.micros(metrics.latency.us)}"
    smaller = text.times(baseline.size_bytes / metrics.size_bytes)
    return (
        f"validation {shown}, {text.size(metrics.size_bytes)} ({smaller} smaller), "
        f"speed {text.times(metrics.latency.speedup)}"
    )
