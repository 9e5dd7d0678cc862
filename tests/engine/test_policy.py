"""A policy turns few knobs into edits at many sites, by what was measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from compressor.engine.plan import Decision
from compressor.engine.policy import POLICIES, admitted, edit_at, shared_knobs
from compressor.engine.sensitivity import SiteSensitivity, rank
from compressor.knobs import Choice, FloatRange, IntRange
from compressor.plugin import Site

SITES = [
    Site("conv1", {"ratio": FloatRange(0.1, 0.5), "kind": Choice(("a", "b"))}),
    Site("conv2", {"ratio": FloatRange(0.2, 0.9), "kind": Choice(("b", "c"))}),
    Site("fc", {"rank": IntRange(2, 8, 2)}),
]
KNOWN = {
    "conv1": SiteSensitivity(loss_increase=0.5, bytes_saved=0.1, macs_saved=0.1),
    "conv2": SiteSensitivity(loss_increase=0.01, bytes_saved=0.2, macs_saved=0.2),
    "fc": SiteSensitivity(loss_increase=2.0, bytes_saved=0.9, macs_saved=0.05),
}


BITS = {"bits": Choice((8, 4))}
AT_8_AND_4 = {
    path: SiteSensitivity(
        at_8, 0.1, 0.0, choice={"bits": 8}, others=(SiteSensitivity(at_4, 0.2, 0.0, choice={"bits": 4}),)
    )
    for path, at_8, at_4 in (("one", 0.01, 4.0), ("two", 0.02, 0.03), ("three", 9.0, 9.0))
}


def chosen(policy: str, **values: object) -> dict[str, object]:
    """Site and bits, in order, of three sites that were measured at 8 and at 4 bits."""
    decision = Decision("p", policy, values)  # type: ignore[arg-type]
    sites = [Site(path, BITS) for path in AT_8_AND_4]
    return {edit.site: edit.choice["bits"] for edit in POLICIES[policy].edits(decision, sites, AT_8_AND_4)}


def test_sites_are_ranked_by_what_was_measured_at_the_chosen_values() -> None:
    assert list(chosen("spread", bits=8)) == ["one", "two", "three"]
    assert list(chosen("spread", bits=4)) == ["two", "one", "three"]
    assert chosen("threshold", bits=8, tau=1.0) == {"one": 8, "two": 8}
    assert chosen("threshold", bits=4, tau=1.0) == {"two": 4}


def test_mixed_takes_each_site_as_far_as_it_pays() -> None:
    assert chosen("mixed", tau=0.05) == {}
    assert chosen("mixed", tau=1.0) == {"two": 4, "one": 8}
    assert chosen("mixed", tau=1000.0) == {"two": 4, "one": 4, "three": 4}
    assert list(POLICIES["mixed"].knobs([Site("one", BITS)])) == ["tau"]


def decide(policy: str, **values: object) -> list[str]:
    decision = Decision("p", policy, values)  # type: ignore[arg-type]
    return [edit.site for edit in POLICIES[policy].edits(decision, SITES, KNOWN)]


def test_spread_prefers_sites_that_save_much_and_hurt_little() -> None:
    assert decide("spread", follow=1.0) == ["conv2", "fc", "conv1"]


def test_without_following_sensitivity_only_the_saving_counts() -> None:
    assert decide("spread", follow=0.0) == ["fc", "conv2", "conv1"]


def test_spread_has_few_knobs_however_many_sites() -> None:
    many = [Site(f"conv{i}", {"ratio": FloatRange(0.1, 0.9)}) for i in range(200)]
    knobs = POLICIES["spread"].knobs(many)
    assert set(knobs) == {"count", "follow", "ratio"}
    count = knobs["count"]
    assert isinstance(count, IntRange)
    assert len(range(count.low, count.high + 1, count.step)) <= 16


def test_one_site_needs_no_count() -> None:
    assert set(POLICIES["spread"].knobs(SITES[:1])) == {"ratio", "kind"}


def test_each_has_a_switch_and_own_knobs_per_site() -> None:
    knobs = POLICIES["each"].knobs(SITES)
    assert set(knobs) == {"conv1", "conv1:ratio", "conv1:kind", "conv2", "conv2:ratio", "conv2:kind", "fc", "fc:rank"}
    decision = Decision("p", "each", {"conv1": True, "conv1:ratio": 0.3, "fc": False})
    (edit,) = POLICIES["each"].edits(decision, SITES, KNOWN)
    assert (edit.site, edit.choice) == ("conv1", {"ratio": 0.3, "kind": "a"})


def test_all_takes_every_site() -> None:
    assert decide("all") == ["conv1", "conv2", "fc"]


def test_a_threshold_takes_every_site_more_efficient_than_tau() -> None:
    assert decide("threshold", tau=0.02) == []
    assert decide("threshold", tau=0.03) == ["conv2"]
    assert decide("threshold", tau=2.2) == ["conv2", "fc"]
    assert decide("threshold", tau=2.6) == ["conv2", "fc", "conv1"]
    assert set(POLICIES["threshold"].knobs(SITES)) == {"tau", "ratio", "kind", "rank"}


def test_a_threshold_leaves_alone_what_saves_nothing_or_was_not_measured() -> None:
    grown = {"conv1": SiteSensitivity(-0.1, -0.5, -0.5, gain=1.0), "conv2": SiteSensitivity(-0.1, 0.0, 0.0)}
    decision = Decision("p", "threshold", {"tau": 10.0})
    assert not list(POLICIES["threshold"].edits(decision, SITES, grown))


def test_a_shared_value_moves_to_what_the_site_allows() -> None:
    decision = Decision("p", "spread", {"ratio": 0.05, "kind": "c", "rank": 7})
    assert edit_at(decision, SITES[0], decision.values).choice == {"ratio": 0.1, "kind": "a"}
    assert edit_at(decision, SITES[1], decision.values).choice == {"ratio": 0.2, "kind": "c"}
    assert edit_at(decision, SITES[2], decision.values).choice in ({"rank": 6}, {"rank": 8})


def test_shared_knobs_cover_what_any_site_offers() -> None:
    assert shared_knobs(SITES) == {
        "ratio": FloatRange(0.1, 0.9),
        "kind": Choice(("a", "b", "c")),
        "rank": IntRange(2, 8, 2),
    }


def test_patterns_admit_and_exclude() -> None:
    assert [site.path for site in admitted(SITES, ["conv*"], ["*2"])] == ["conv1"]


@given(st.dictionaries(st.sampled_from("abcdef"), st.floats(-1, 5), min_size=1), st.floats(0, 1))
def test_ranking_is_a_permutation_and_unmeasured_sites_come_last(losses: dict[str, float], follow: float) -> None:
    known = {path: SiteSensitivity(loss, 0.1, 0.1) for path, loss in losses.items()}
    paths = [*"xy", *known]
    ranked = rank(paths, known, follow)
    assert sorted(ranked) == sorted(paths)
    assert ranked[-2:] == ["x", "y"]
