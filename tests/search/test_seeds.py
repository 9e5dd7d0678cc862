from __future__ import annotations

import pytest
from search_support import SPACE

from compressor.engine.space import Parameter, PhaseSpec, PluginUse, SearchSpace
from compressor.knobs import Choice, IntRange, Value
from compressor.recipe.model import SearchSpec
from compressor.search.seeds import automatic_seeds, completed, seeds_of, single_sites
from compressor.train.spec import TrainingSpec

SWITCH = Choice((False, True))


def test_naming_a_knob_switches_its_plugin_on() -> None:
    assert completed({"p.b.count": 3}, SPACE) == {"p.a": False, "p.b": True, "p.b.count": 3, "p.b.kind": "x"}


def test_each_plugin_alone_then_all_as_far_as_they_go() -> None:
    assert dict(automatic_seeds(SPACE)) == {
        "p.a alone": {"p.a": True, "p.a.count": 4, "p.b": False},
        "p.b alone": {"p.a": False, "p.b": True, "p.b.count": 4, "p.b.kind": "x"},
        "everything": {"p.a": True, "p.a.count": 4, "p.b": True, "p.b.count": 4, "p.b.kind": "x"},
    }


def test_a_plugin_at_one_site_is_at_the_best_one_or_at_each_that_has_a_switch() -> None:
    ranked = PluginUse("a")
    each = PluginUse("b", policy="each")
    parameters = (
        *(Parameter("p.a", SWITCH), Parameter("p.a.count", IntRange(1, 4), "p.a"), Parameter("p.b", SWITCH)),
        *(Parameter("p.b.x", SWITCH, "p.b"), Parameter("p.b.x:r", Choice((0.5, 0.25)), "p.b")),
        *(Parameter("p.b.y", SWITCH, "p.b"), Parameter("p.b.y:up", SWITCH, "p.b")),
    )
    space = SearchSpace(parameters, (PhaseSpec("p", (ranked, each)),), TrainingSpec())
    knobs = {"p.b.x:r": 0.5, "p.b.y:up": True}
    assert dict(single_sites(space)) == {
        "p.a at one site": {"p.a": True, "p.a.count": 1, "p.b": False},
        "p.b.x alone": {"p.a": False, "p.b": True, "p.b.x": True, "p.b.y": False, **knobs},
        "p.b.y alone": {"p.a": False, "p.b": True, "p.b.x": False, "p.b.y": True, **knobs},
    }


def test_the_recipe_s_own_come_first_and_nothing_twice() -> None:
    search = SearchSpec(seeds=({"p.a.count": 4}, {"p.b.kind": "z"}))
    assert [name for name, _ in seeds_of(search, SPACE)[0]] == ["seed 1", "seed 2", "p.b alone", "everything"]
    assert seeds_of(SearchSpec(automatic_seeds=False), SPACE) == ([], [])
    assert seeds_of(SearchSpec(sampler="surrogate"), SPACE) == ([], [])


@pytest.mark.parametrize(
    ("seed", "message"),
    [
        ({"p.a.cuont": 3}, "no parameter 'p.a.cuont' here; did you mean 'p.a.count'"),
        ({"p.a.count": 9}, "p.a.count cannot be 9 here, only 1…4"),
        ({"p.b.kind": "q"}, "p.b.kind cannot be 'q' here, only {x, y, z}"),
        ({"p.a": False, "p.a.count": 2}, "p.a is off, and yet p.a.count is set"),
    ],
)
def test_seeds_that_do_not_fit_are_left_out_and_named(seed: dict[str, Value], message: str) -> None:
    seeds, (note,) = seeds_of(SearchSpec(seeds=(seed, {"p.a": True}), automatic_seeds=False), SPACE)
    assert [name for name, _ in seeds] == ["seed 2"]
    assert note.startswith("seed 1 is left out: ")
    assert message in note
