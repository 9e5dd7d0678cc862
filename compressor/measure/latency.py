"""Is the candidate faster than the baseline, by how much, and how sure is that: a paired measurement in ONNX Runtime.

Wall-clock times on a shared machine are wrong by tens of percent; the ratio of two models' *thread CPU* times, taken
side by side, is not. So: one thread, no spinning, bound inputs and outputs; fresh pairs of sessions; in each round both
models in random order, one untimed call, then enough calls to fill a millisecond; one ratio per round. The answer is
the median of the ratios; its interval spans the order statistics of the rounds, those of the sessions' medians, and a
floor of half a percent. Where a decision hangs on a mark and the interval lies across it, more sessions follow, once.

Where others do the work (more threads, a GPU) the time of the calling thread means nothing: wall time is taken, with
inputs and outputs on the device, from the call until the outputs are there.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from compressor.apart import alive
from compressor.measure.bound import COPIES, bound, fed, load, same_inputs
from compressor.measure.inputs import Feeding
from compressor.measure.statistics import median, median_interval, quantile
from compressor.runtime import ONE_THREAD, Setting

MEANINGFUL_US = 5.0
"""Below this a call of the runtime itself (about 2 µs) is most of the time."""
NOT_SLOWER = 0.98
"""A speed-up whose 95 % interval begins above this counts as not slower."""
_SHORT_CALLS = 5
"""Blocks of one call each that tell how many calls fill a block."""
WARM_UP_CALLS = 1 + 2 * _SHORT_CALLS
"""Calls of every session before the first that counts."""


@dataclass(frozen=True)
class Protocol:
    """How long to measure. Times in microseconds, the rest in counts and shares."""

    sessions: int = 9
    """Where a session's memory lies shifts its speed by up to a percent, for all its rounds: the interval needs enough
    sessions for order statistics of their medians (six at least; with nine, the second and the eighth)."""
    more_sessions: int = 18
    """Added where the interval lies across the mark that decides: one session apart from the others must not. Looked at
    once more and not after each, so that going on does not become a search for the answer that is wanted."""
    min_rounds: int = 9
    max_rounds: int = 30
    block_us: float = 1000.0
    target: float = 0.01
    """Half-width, as a share of the median, at which a session stops."""
    floor: float = 0.005
    """Half-width below which no result claims to be known."""


FULL = Protocol()
"""For what is reported: about half a second of CPU per pair of small models."""
QUICK = Protocol(sessions=1, more_sessions=0, min_rounds=21, max_rounds=21)
"""For trials of a search: some 50 ms per pair of small models."""


@dataclass(frozen=True)
class Comparison:
    """Candidate against baseline. ``speedup`` = baseline time / candidate time, 95 % within [``low``, ``high``].

    Times are microseconds per call of the whole batch: thread CPU time where one thread does the work (``clock_of``),
    and wall time (median, and 90th percentile of the candidate). ``load`` is the machine's load average over the last
    minute; ``notes`` say what limits the result.
    """

    speedup: float
    low: float
    high: float
    baseline_us: float
    candidate_us: float
    baseline_wall_us: float
    candidate_wall_us: float
    candidate_p90_us: float
    rounds: int
    sessions: int
    load: float
    notes: tuple[str, ...] = ()

    @property
    def rankable(self) -> bool:
        """Whether both models take long enough for their ratio to be about the models."""
        return min(self.baseline_us, self.candidate_us) >= MEANINGFUL_US


@dataclass
class _Times:
    """Microseconds per call, one entry per round."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def compare(
    baseline: bytes | Path,
    candidate: bytes | Path,
    *,
    batch: int = 1,
    protocol: Protocol = FULL,
    seed: int = 0,
    feeding: Feeding | None = None,
    setting: Setting = ONE_THREAD,
    mark: float | None = None,
) -> Comparison:
    """Time two ONNX files against each other on equal inputs: random ones in batches of ``batch``, or ``feeding``.

    ``mark``: the speed-up at which something is decided; where the interval lies across it, more sessions follow.
    Raises ``InputError`` for a file that cannot be loaded, for files with different inputs, and for sizes that a file
    is not made for.
    """
    feeding = feeding or Feeding(batch=batch)
    rng = random.Random(seed)
    before, after = _Times(), _Times()
    ratios: list[float] = []
    medians: list[float] = []
    in_place = True

    def time_sessions(numbers: Iterable[int]) -> Comparison:
        nonlocal in_place
        for session in numbers:
            alive()
            first, second = load(baseline, setting), load(candidate, setting)
            inputs = fed(first, feeding, seed=seed + session, turn=session)
            calls = bound(first, inputs), bound(second, same_inputs(first, inputs, second))
            in_place = in_place and first.in_place and second.in_place
            found = _session_ratios(*calls, before, after, protocol, rng, _clock(setting))
            ratios.extend(found)
            medians.append(median(found))
        return _summary(ratios, medians, before, after, protocol)

    summary = time_sessions(range(protocol.sessions))
    if mark is not None and summary.low <= mark <= summary.high:
        summary = time_sessions(range(protocol.sessions, protocol.sessions + protocol.more_sessions))
    return summary if in_place else replace(summary, notes=(*summary.notes, COPIES))


def _session_ratios(
    baseline: Callable[[], None],
    candidate: Callable[[], None],
    before: _Times,
    after: _Times,
    protocol: Protocol,
    rng: random.Random,
    clock: Callable[[], int],
) -> list[float]:
    """Ratios of one pair of sessions, one per round, until they are known well enough."""
    pair = [
        (baseline, before, _repeats(baseline, protocol, clock)),
        (candidate, after, _repeats(candidate, protocol, clock)),
    ]
    ratios: list[float] = []
    while len(ratios) < protocol.max_rounds:
        for call, times, repeats in rng.sample(pair, 2):
            cpu, wall = _timed(call, repeats, clock)
            times.cpu.append(cpu)
            times.wall.append(wall)
        ratios.append(before.cpu[-1] / max(after.cpu[-1], 1e-3))
        if len(ratios) >= protocol.min_rounds and _known(ratios, protocol.target):
            break
    return ratios


def _known(ratios: list[float], target: float) -> bool:
    low, high = median_interval(ratios)
    return (high - low) / 2 < target * median(ratios)


def _repeats(call: Callable[[], None], protocol: Protocol, clock: Callable[[], int]) -> int:
    """How many calls fill a block."""
    fastest = min(_timed(call, 1, clock)[0] for _ in range(_SHORT_CALLS))
    return max(1, round(protocol.block_us / max(fastest, 0.1)))


def _timed(call: Callable[[], None], repeats: int, clock: Callable[[], int]) -> tuple[float, float]:
    """Microseconds per call, by the clock that decides and by the wall's, after one untimed call."""
    alive()
    call()
    cpu, wall = clock(), time.perf_counter_ns()
    for _ in range(repeats):
        call()
    wall_end, cpu_end = time.perf_counter_ns(), clock()
    return (cpu_end - cpu) / repeats / 1e3, (wall_end - wall) / repeats / 1e3


def _clock_resolution_us() -> float:
    """Resolution of the clock in use; infinite where the system has none for threads."""
    try:
        return time.get_clock_info("thread_time").resolution * 1e6
    except ValueError:
        return float("inf")


COARSE = _clock_resolution_us() > 10
"""No usable thread clock (Windows ticks every 16 ms): wall time stands in, and the result says so."""
cpu_clock: Callable[[], int] = time.perf_counter_ns if COARSE else time.thread_time_ns


def clock_of(setting: Setting) -> str:
    """What decides: ``thread``, the CPU time of the thread that calls, or ``wall``."""
    return "thread" if setting.one_thread and not COARSE else "wall"


def _clock(setting: Setting) -> Callable[[], int]:
    return cpu_clock if clock_of(setting) == "thread" else time.perf_counter_ns


def _summary(
    ratios: list[float], medians: list[float], before: _Times, after: _Times, protocol: Protocol
) -> Comparison:
    speedup = median(ratios)
    (low, high), (least, most) = median_interval(ratios), median_interval(medians)
    baseline_us, candidate_us = median(before.cpu), median(after.cpu)
    return Comparison(
        speedup=speedup,
        low=min(low, least, speedup * (1 - protocol.floor)),
        high=max(high, most, speedup * (1 + protocol.floor)),
        baseline_us=baseline_us,
        candidate_us=candidate_us,
        baseline_wall_us=median(before.wall),
        candidate_wall_us=median(after.wall),
        candidate_p90_us=quantile(after.wall, 0.9),
        rounds=len(ratios),
        sessions=len(medians),
        load=_load(),
        notes=_notes(min(baseline_us, candidate_us)),
    )


def _load() -> float:
    """Load average over the last minute; 0 where the system keeps none."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _notes(shortest_us: float) -> tuple[str, ...]:
    notes = []
    if COARSE:
        notes.append("this system has no fine thread clock: wall time was used, and other load distorts it")
    if shortest_us < MEANINGFUL_US:
        notes.append(f"a call takes {shortest_us:.1f} µs, mostly the runtime's own: not fit for ranking")
    return tuple(notes)
