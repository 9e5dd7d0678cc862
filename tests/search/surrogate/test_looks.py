"""Looks are kept as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.untrained import Untrained
from compressor.search.surrogate.encoding import Values
from compressor.search.surrogate.looks import Look, Looks

FOUND = Untrained(Plan((Phase("p", (Edit("a", "x", {"n": 1}),)),)), True, float("inf"), 10, 20, 30, 1.5, 0.2)


def ask(many: Sequence[Values]) -> Iterator[Look]:
    for values in many:
        yield Look(values, FOUND) if values["n"] != 1 else Look(values, reason="nowhere")


def nobody(many: Sequence[Values]) -> Iterator[Look]:
    return iter(())


def test_no_plan_is_looked_at_twice_not_even_by_the_next_session(tmp_path: Path) -> None:
    looks = Looks(tmp_path / "looks", ask)
    looks.at([{"n": 1}, {"n": 2.0}, {"n": 2.0}, {"n": 3, "s": True}])
    assert (looks.asked, looks.count, looks.stopped) == (3, 2, False)
    again = Looks(tmp_path / "looks", nobody)
    assert again.found == looks.found
    assert [look.values for look in again.found] == [{"n": 2.0}, {"n": 3, "s": True}]
    refused = again.of({"n": 1})
    assert refused is not None
    assert refused.reason == "nowhere"
    assert not again.stopped


def test_a_line_that_was_cut_short_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "looks"
    Looks(file, ask).at([{"n": 2}, {"n": 3}])
    file.write_bytes(file.read_bytes()[:-20])
    looks = Looks(file, ask)
    assert looks.count == 1
    looks.at([{"n": 3}])
    assert Looks(file, nobody).count == 2


def test_it_is_said_when_looks_do_not_come(tmp_path: Path) -> None:
    looks = Looks(tmp_path / "looks", nobody)
    assert looks.of({"n": 2}) is None
    assert looks.stopped
