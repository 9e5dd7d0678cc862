"""Figures as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compressor.report import text


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (692_968, "693 k"),
        (999_700, "1.00 M"),
        (1.82e9, "1.82 G"),
        (2.5, "2.50"),
    ],
)
def test_short_count(number: float, shown: str) -> None:
    assert text.short_count(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (318, "318 B"), (1024, "1.00 KiB"), (53_350, "52.1 KiB"), (431_104, "421 KiB"), (2**31, "2.00 GiB")],
)
def test_size(number: int, shown: str) -> None:
    assert text.size(number) == shown


def test_accuracy_and_its_changes() -> None:
    assert text.percent(0.90123) == "90.12 %"
    assert text.percent(None) == text.NONE
    assert [text.points(change) for change in (0.0012, -0.014, 0.0, -0.00001)] == ["+0.12", "−1.40", "±0.00", "±0.00"]


def test_ratios_and_times() -> None:
    assert [text.times(ratio) for ratio in (0.9, 8.131, 31.44, 280.2)] == ["0.90×", "8.13×", "31.4×", "280×"]
    assert [text.micros(us) for us in (3.9, 23.44, 999.4, 999.6, 1820)] == [
        "3.90 µs",
        "23.4 µs",
        "999 µs",
        "1.00 ms",
        "1.82 ms",
    ]
    assert [text.duration(s) for s in (8.4, 125, 3725)] == ["8 s", "2:05", "1:02:05"]


def test_counts_in_words() -> None:
    assert [text.plural(number, "trial") for number in (0, 1, 1200)] == ["0 trials", "1 trial", "1,200 trials"]


def test_shape() -> None:
    assert text.shape((3, 32, 32)) == "3×32×32"


def test_names_of_others_cannot_steer_a_terminal() -> None:
    assert text.clean("conv\x1b[31m\n1\u202e\x07") == "conv?[31m 1??"


@given(st.text())
def test_clean_text_is_one_printable_line(raw: str) -> None:
    shown = text.clean(raw)
    assert len(shown.splitlines()) <= 1
    assert all(char.isprintable() or char == " " or ord(char) > 0x7F for char in shown)


@given(st.floats(0.01, 1e12))
def test_a_figure_is_sorted_by_what_it_stands_for(number: float) -> None:
    for shown in (text.size(number), text.short_count(number), text.times(number), text.micros(number)):
        assert text.value(shown) == pytest.approx(number, rel=6e-3, abs=0.51)
    assert text.value(text.percent(number)) == pytest.approx(100 * number, abs=0.0051, rel=1e-9)
    assert text.value(text.duration(number % 1e6)) == round(number % 1e6)


@pytest.mark.parametrize(
    ("shown", "value"), [("−0.0012", -0.0012), ("+1,234", 1234), ("±0.00", 0), ("8.1× smaller", 8.1)]
)
def test_signs_and_words_behind_a_figure(shown: str, value: float) -> None:
    assert text.value(shown) == value


@pytest.mark.parametrize("shown", ["", text.NONE, "conv1", "same", "trial"])
def test_text_is_no_figure(shown: str) -> None:
    assert text.value(shown) is None
