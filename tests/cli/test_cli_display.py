"""The display of a running search, driven by events alone."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from qualities import accuracy_of
from rich.console import Console
from sample_run import HOSTILE

from compressor.cli.display import _Lines, observer, picture, time_left
from compressor.cli.events import ending, sentence
from compressor.cli.output import plain_console
from compressor.cli.watch import Watch
from compressor.engine.candidate import Latency, Metrics, Outcome
from compressor.engine.plan import Edit, Phase, Plan
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
from compressor.search.result import Candidate, PilotResult

BASE = Metrics(107_786, 432_422, 692_968, accuracy_of(0.9), Latency(23.4))
SMALL = Metrics(107_000, 52_000, 692_968, accuracy_of(0.895), Latency(20.0, 1.17, 1.15, 1.19))
CANDIDATE = Candidate.of(SMALL, Plan((Phase("p", (Edit("binarize", "fc1"), Edit("binarize", "fc2"))),)), trial=0)


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def events(trials: int = 4, finished: int = 0) -> list[Event]:
    return [
        Stage("baseline"),
        BaselineMeasured(BASE),
        Started(Path("/runs/a"), "model.pt", trials, finished, ("max_size = 0.5",)),
        Stage("search"),
        TrialStarted(0, "aa", "binarize fc1, fc2"),
        TrialProgress(0, "compress epoch 1/3", 0.33),
    ]


def ended(number: int, finished: int) -> TrialEnded:
    return TrialEnded(number, "aa", "binarize fc1, fc2", Outcome("complete", SMALL), None, finished)


def shown(watch: Watch, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, highlight=False, emoji=False)
    console.print(picture(watch))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def watched(*more: Event, clock: Clock | None = None) -> Watch:
    watch = Watch(clock or Clock())
    for event in (*events(), *more):
        watch.update(event)
    return watch


def test_the_picture_shows_stage_trial_progress_and_front() -> None:
    text = shown(watched(FrontChanged((CANDIDATE,)), Note("a plugin finds no site")), 80)
    for part in ("0/4 trials", "searching", "trial 0", "33%", "compress epoch 1/3", "front so far", "8.32×", "1.17×",
                 "89.50 %", "a plugin finds no site"):  # fmt: skip
        assert part in text, part


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_the_picture_fits_the_terminal(width: int) -> None:
    text = shown(watched(FrontChanged((CANDIDATE,) * 12), Note("a long note " * 20)), width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "4 more" in text


def test_before_the_first_event_there_is_something_to_see() -> None:
    assert "reading" in shown(Watch(Clock()), 80)


def test_names_cannot_steer_the_terminal() -> None:
    watch = watched(TrialStarted(1, "bb", HOSTILE), Note(HOSTILE))
    assert "\x1b" not in shown(watch, 80)


def test_the_time_left_follows_the_trials_of_this_session() -> None:
    clock = Clock()
    watch = watched(clock=clock)
    clock.now += 30
    assert watch.left() is None
    watch.update(ended(0, 1))
    assert watch.left() == pytest.approx(90)
    watch.update(TrialStarted(1, "bb", ""))
    watch.update(TrialProgress(1, "train", 0.5))
    clock.now += 15
    assert watch.left() == pytest.approx(45 * 2.5 / 1.5)


def test_what_is_still_to_come_is_said_beside_the_time_left() -> None:
    clock = Clock()
    watch = Watch(clock)
    for event in (*events(trials=2), ended(0, 1)):
        clock.now += 10
        watch.update(event)
    assert time_left(watch) == "about 20 s left, then the final measurement"
    watch.update(ended(1, 2))
    assert time_left(watch) == "then the final measurement"
    watch.update(Stage("final", "baseline"))
    assert time_left(watch) == ""


def test_resumed_trials_do_not_count_as_quick_ones() -> None:
    clock = Clock()
    watch = Watch(clock)
    for event in (*events(trials=10, finished=8), ended(0, 9)):
        clock.now += 10
        watch.update(event)
    assert watch.left() == pytest.approx(20)


def test_ended_trials_leave_the_picture() -> None:
    watch = watched(ended(0, 1))
    assert watch.running == {}
    assert watch.finished == 1


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome("complete", SMALL), "complete: validation 89.50 %, 50.8 KiB (8.32× smaller), speed 1.17×"),
        (Outcome("complete", SMALL, {"max_drop": 0.01}), "misses max_drop"),
        (Outcome("screened", SMALL, {"max_size": 0.1}, "size"), "screened before training: size"),
        (Outcome("stopped", SMALL, reason="gate"), "stopped: gate"),
        (Outcome("failed", reason="Refusal: no"), "failed: Refusal: no"),
    ],
)
def test_every_ending_has_words(outcome: Outcome, words: str) -> None:
    assert words in ending(outcome, BASE)


def test_a_duplicate_names_the_trial_it_equals() -> None:
    event = TrialEnded(5, "aa", "", Outcome("complete", SMALL), 2, 3)
    assert "same as trial 2" in sentence(event, 4, BASE)
    assert sentence(event, 1, BASE).endswith(
        f"[{event.finished}/{event.finished}]"
    )  # a budget guesses how many there will be


def test_off_a_terminal_there_are_plain_lines_with_the_time(capfd: pytest.CaptureFixture[str]) -> None:
    with observer(plain_console(stderr=True)) as watching:
        for event in (*events(), ended(0, 1), FrontChanged((CANDIDATE,)), Finished(None, False)):
            watching.notify(event)
    err = capfd.readouterr().err
    assert "\x1b" not in err
    lines = err.splitlines()
    assert all(line[2] == ":" and line[5] == ":" for line in lines)
    assert any("trial 0 complete" in line and "[1/4]" in line for line in lines)
    assert not any("epoch" in line for line in lines)


def test_off_a_terminal_long_silence_is_broken() -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), width=80)
    lines = _Lines(console, Watch(clock), clock)
    lines.notify(TrialStarted(0, "aa", "binarize"))
    lines.notify(TrialProgress(0, "epoch 1/9", 0.1))
    clock.now += 31
    lines.notify(TrialProgress(0, "epoch 2/9", 0.2))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "epoch 1/9" not in text
    assert "trial 0: epoch 2/9, 20%" in text


# --- a pilot study ---------------------------------------------------------------------------------------------------

PILOT = PilotResult("tiles", True, "a quarter is not needed", "a, a stand-in for b", 2, 10.0, {})
IN_PILOT: list[Event] = [
    BaselineMeasured(BASE),
    PilotStarted(name="tiles", arms=6, finished=2, trials=4, data="a, a stand-in for b", trial_cost=3.0),
    Stage("pilot", "stage 1 of 3"),
    ArmProgress("GRI0-set1-repeat1", "epoch 1/4", 0.25),
]


def test_the_time_left_in_a_pilot_study_counts_the_trials_to_come() -> None:
    clock = Clock()
    watch = Watch(clock)
    for event in IN_PILOT:
        watch.update(event)
    clock.now += 5
    assert watch.left() is None
    clock.now += 5
    watch.update(ArmEnded("GRI0-set1-repeat1", "error 30.0 %, loss 1.00", 3, 6))
    assert watch.left() == pytest.approx(10 * (3 + 4 * 3.0))
    watch.update(PilotEnded(PILOT))
    assert watch.left() is None


@pytest.mark.parametrize("width", [80, 40])
def test_the_picture_of_a_pilot_study(width: int) -> None:
    watch = Watch(Clock())
    for event in IN_PILOT:
        watch.update(event)
    text = shown(watch, width)
    for part in ("2/6 arms", "stage 1 of 3", "25% epoch 1/4" if width == 80 else "arm GRI0-set1"):
        assert part in text, part
    assert max(len(line) for line in text.splitlines()) <= width


def test_a_pilot_study_in_plain_lines_says_where_it_is_and_how_long_it_takes() -> None:
    clock = Clock()
    console = Console(file=io.StringIO(), width=80)
    lines = _Lines(console, Watch(clock), clock)
    for event in IN_PILOT:
        lines.notify(event)
    clock.now += 10
    lines.notify(ArmEnded("GRI0-set1-repeat1", "error 30.0 %, loss 1.00", 3, 6))
    lines.notify(PilotEnded(PILOT))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "pilot study tiles: 6 trainings, 2 finished already; data: a, a stand-in for b" in text
    assert "stage 1 of 3" in text
    assert "arm GRI0-set1-repeat1: error 30.0 %, loss 1.00 [3/6], about 2:30 left" in text
    assert "pilot study: a quarter is not needed" in text
    assert "epoch 1/4" not in text
