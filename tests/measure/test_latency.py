"""The paired timing protocol: its statistics, its answers on known ratios, its refusals."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import fx, nn

from compressor.errors import InputError
from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature
from compressor.measure import latency
from compressor.measure.latency import FULL, NOT_SLOWER, QUICK, Protocol, clock_of, compare
from compressor.measure.statistics import median, median_interval, quantile
from compressor.runtime import Setting

FAST = Protocol(sessions=2, min_rounds=9, max_rounds=15, block_us=500)


def convolutions(count: int, size: int = 16, channels: int = 16) -> bytes:
    layers = [nn.Conv2d(channels, channels, 3, padding=1) for _ in range(count)]
    network = Network(fx.symbolic_trace(nn.Sequential(*layers)), Signature.of("x", (channels, size, size)))
    propagate(network)
    return to_onnx(network)


# --- statistics ------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_median_and_quantile_agree_with_numpy(values: list[float]) -> None:
    assert median(values) == pytest.approx(float(np.median(values)))
    assert quantile(values, 0.9) == pytest.approx(float(np.quantile(values, 0.9, method="inverted_cdf")))
    low, high = median_interval(values)
    assert min(values) <= low <= median(values) <= high <= max(values)


@pytest.mark.parametrize(("n", "rank"), [(6, 1), (9, 2), (10, 2), (21, 6), (60, 22), (100, 40)])
def test_interval_takes_the_tabulated_order_statistics(n: int, rank: int) -> None:
    """Ranks from the table of the sign test, two-sided 5 %."""
    assert median_interval(range(1, n + 1)) == (rank, n + 1 - rank)


@pytest.mark.parametrize("n", [9, 21, 60])
@pytest.mark.parametrize("shape", ["normal", "skewed", "mixture"])
def test_interval_covers_the_median_of_any_distribution(n: int, shape: str) -> None:
    rng = np.random.default_rng(0)
    draws = {
        "normal": lambda: rng.standard_normal(n),
        "skewed": lambda: rng.exponential(size=n) - np.log(2),
        "mixture": lambda: np.where(rng.random(n) < 0.2, rng.standard_cauchy(n) * 20, rng.standard_normal(n) * 0.1),
    }
    covered = 0
    for _ in range(1000):
        low, high = median_interval(draws[shape]().tolist())
        covered += low <= 0 <= high
    assert covered >= 940


@pytest.mark.parametrize("session_effect", [0.0, 0.005, 0.02])
@pytest.mark.parametrize("noise", [0.002, 0.1])
def test_interval_holds_the_truth_when_sessions_differ(session_effect: float, noise: float) -> None:
    """Rounds of one session share its effect: treating them as independent would be far too sure."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        effects = rng.normal(0, session_effect, (FULL.sessions, 1))
        sessions = np.exp(effects + noise * rng.standard_t(3, (FULL.sessions, 15))).tolist()
        times = latency._Times([100.0], [100.0])
        found = latency._summary(
            [ratio for ratios in sessions for ratio in ratios],
            [median(ratios) for ratios in sessions],
            times,
            times,
            FULL,
        )
        covered += found.low <= 1 <= found.high
    assert covered >= 0.95 * 300


# --- the protocol ----------------------------------------------------------------------------------------------------


def test_twice_the_work_takes_about_twice_the_time() -> None:
    single, double = convolutions(4), convolutions(8)
    faster = compare(double, single, protocol=FAST)
    assert 1.7 < faster.low <= faster.speedup <= faster.high < 2.3
    slower = compare(single, double, protocol=FAST)
    assert slower.speedup == pytest.approx(1 / faster.speedup, rel=0.1)


def test_a_model_against_itself_is_neither_faster_nor_slower() -> None:
    model = convolutions(3)
    result = compare(model, model, protocol=FAST)
    assert result.low < 1.02
    assert result.high > 0.98
    assert result.high - result.low >= 0.0099 * result.speedup
    assert result.rankable
    assert result.notes == ()
    assert result.candidate_p90_us >= result.candidate_wall_us > 0


def test_rounds_and_sessions_are_those_of_the_protocol() -> None:
    model = convolutions(1)
    exact = dataclasses.replace(FAST, min_rounds=11, max_rounds=11)
    assert (compare(model, model, protocol=exact).rounds, compare(model, model, protocol=exact).sessions) == (22, 2)
    assert (QUICK.sessions, QUICK.min_rounds, QUICK.max_rounds) == (1, 21, 21)


@pytest.mark.parametrize(
    ("first", "later", "sessions", "not_slower"),
    [
        ([0.96, 0.96, *[1.0] * 7], 1.0, 27, True),  # two sessions apart from the others decide nothing
        ([0.97, 0.97, 0.97, *[1.0] * 6], 0.97, 27, False),
        ([0.90] * 9, 1.0, 9, False),  # what is decided is left
        ([1.10] * 9, 1.0, 9, True),
    ],
)
def test_an_interval_across_the_mark_is_measured_on_once(
    monkeypatch: pytest.MonkeyPatch, first: list[float], later: float, sessions: int, not_slower: bool
) -> None:
    drawn = iter([*first, *[later] * 18])

    def session(_b: object, _c: object, before: latency._Times, after: latency._Times, *_: object) -> list[float]:
        for times in (before, after):
            times.cpu.append(10.0)
            times.wall.append(10.0)
        return [next(drawn)] * 9

    monkeypatch.setattr(latency, "_session_ratios", session)
    model = convolutions(1)
    found = compare(model, model, mark=NOT_SLOWER)
    assert (found.sessions, found.low > NOT_SLOWER) == (sessions, not_slower)


def test_order_is_random_and_every_call_is_paired() -> None:
    clock = iter(range(10**9))
    log: list[str] = []
    before, after = latency._Times(), latency._Times()
    protocol = Protocol(min_rounds=12, max_rounds=12, block_us=1e-3)
    ratios = latency._session_ratios(
        lambda: log.append("b"), lambda: log.append("c"), before, after, protocol, random.Random(0), lambda: next(clock)
    )
    assert len(ratios) == len(before.cpu) == len(after.cpu) == 12
    rounds = "".join(log)[20:]
    pairs = {rounds[i : i + 4] for i in range(0, len(rounds), 4)}
    assert pairs == {"bbcc", "ccbb"}


def test_batch_size_is_the_one_asked_for() -> None:
    model = convolutions(2)
    one, four = compare(model, model, protocol=FAST), compare(model, model, batch=4, protocol=FAST)
    assert four.baseline_us > 2 * one.baseline_us


def test_where_others_do_the_work_wall_time_decides() -> None:
    assert [clock_of(Setting(threads)) for threads in (1, 2)] == ["thread", "wall"]
    assert clock_of(Setting(provider="CUDAExecutionProvider")) == "wall"
    model = convolutions(2)
    found = compare(model, model, protocol=FAST, setting=Setting(threads=2))
    assert found.baseline_us == pytest.approx(found.baseline_wall_us, abs=1)
    assert found.candidate_us == pytest.approx(found.candidate_wall_us, abs=1)


def test_different_inputs_cannot_be_compared() -> None:
    with pytest.raises(InputError, match=r"different inputs.*×16×16×16.*×16×8×8"):
        compare(convolutions(1), convolutions(1, size=8), protocol=FAST)


def test_tiny_models_are_not_ranked() -> None:
    network = Network(fx.symbolic_trace(nn.Sequential(nn.ReLU())), Signature.of("x", (4,)))
    propagate(network)
    result = compare(to_onnx(network), to_onnx(network), protocol=FAST)
    assert result.rankable == (min(result.baseline_us, result.candidate_us) >= 5)
    assert result.rankable or any("not fit for ranking" in note for note in result.notes)


def test_without_a_thread_clock_the_result_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "COARSE", True)
    model = convolutions(1)
    assert "thread clock" in compare(model, model, protocol=FAST).notes[0]
