"""Discovery, loading and construction of plugins, on distributions made of nothing but metadata and one module."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from compressor import registry
from compressor.errors import PluginError
from compressor.registry import Broken, Working

ROOT = Path(__file__).parents[1]

GOOD = '''
from __future__ import annotations
from dataclasses import dataclass
from typing import Literal
from compressor.plugin import Plugin

@dataclass(frozen=True)
class Good(Plugin):
    """Does nothing, well."""
    mode: Literal["fast", "slow"] = "fast"
    bits: int = 4
    ratio: float = 0.5
    layers: tuple[str, ...] = ("a",)

    def __post_init__(self):
        if self.bits < 1:
            raise ValueError("bits must be at least 1")
        if self.bits > 32:
            raise RuntimeError("too many bits")

    def sites(self, network):
        return []

    def rewrite(self, editor, site, choice):
        pass
'''


def state(name: str) -> Working | Broken:
    (found,) = [state for state in registry.status() if state.found.name == name]
    return found


def reason(name: str) -> str:
    found = state(name)
    assert isinstance(found, Broken)
    return found.reason


def test_first_party_plugins_enter_by_the_same_door_and_match_pyproject() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"][registry.GROUP]
    assert {found.name: found.value for found in registry.discover() if found.distribution == "compressor"} == declared


def test_discovery_imports_nothing_and_is_sorted(install) -> None:
    install(
        "zeta", {"z-plugin": "explosive_a:X", "a-plugin": "explosive_a:Y"}, "raise SystemExit('boom')", "explosive_a"
    )
    names = [found.name for found in registry.discover()]
    assert names == sorted(names)
    assert {"z-plugin", "a-plugin"} <= set(names)
    assert "explosive_a" not in sys.modules


def test_a_good_plugin_loads_and_takes_its_options(install) -> None:
    install("good-dist", {"good": "good_a:Good"}, GOOD, "good_a", version="2.5")
    found = state("good")
    assert isinstance(found, Working)
    assert (found.found.distribution, found.found.version) == ("good-dist", "2.5")
    assert found.plugin.summary() == "Does nothing, well."
    plugin = registry.make("good", {"mode": "slow", "layers": ["x", "y"], "ratio": 1})
    assert (plugin.mode, plugin.bits, plugin.layers, plugin.ratio) == ("slow", 4, ("x", "y"), 1.0)
    assert hash(plugin) == hash(registry.make("good", {"mode": "slow", "layers": ("x", "y"), "ratio": 1.0}))
    assert [option.name for option in registry.options_of(found.plugin)] == ["mode", "bits", "ratio", "layers"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": "fast"}, "unknown option 'modes'; did you mean 'mode'? (known: bits, layers, mode, ratio)"),
        ({"mode": "quick"}, "option 'mode' cannot be 'quick': input should be 'fast' or 'slow'"),
        ({"bits": "4"}, "option 'bits' cannot be '4': input should be a valid integer"),
        ({"bits": True}, "option 'bits' cannot be True"),
        ({"bits": 4.5}, "option 'bits' cannot be 4.5"),
        ({"layers": [1]}, "option 'layers.0' cannot be 1"),
        ({"bits": 0}, "bits must be at least 1"),
        ({"bits": 33}, "RuntimeError: too many bits"),
        ({"bits": object()}, "options must be plain data"),
    ],
)
def test_bad_options_give_one_line(install, options, message) -> None:
    install("good-dist", {"good": "good_b:Good"}, GOOD, "good_b")
    with pytest.raises(PluginError) as caught:
        registry.make("good", options)
    assert str(caught.value).startswith("plugin 'good': ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones_and_the_nearest() -> None:
    with pytest.raises(PluginError, match=r"no plugin 'binarise'; did you mean 'binarize'\? \(known: .*layer-removal"):
        registry.load("binarise")


def test_a_stranger_cannot_take_the_name_of_the_toolkits_own_plugin(install) -> None:
    install("stranger", {"binarize": "good_s:Good"}, GOOD, "good_s")
    assert registry.load("binarize").__module__.startswith("compressor_plugins")
    own, other = sorted((s for s in registry.status() if s.found.name == "binarize"), key=lambda s: not s.found.own)
    assert isinstance(own, Working)
    assert isinstance(other, Broken)
    assert "the name belongs to compressor's own plugin" in other.reason
    assert str(own.found) == registry.titled("binarize")


def test_a_name_claimed_twice_is_broken_for_both(install) -> None:
    install("first-dist", {"good": "good_c:Good"}, GOOD, "good_c")
    install("second-dist", {"good": "good_c:Good"})
    both = [found for found in registry.status() if found.found.name == "good"]
    assert [type(found) for found in both] == [Broken, Broken]
    assert "claimed by second-dist 1.0" in both[0].reason
    assert "claimed by first-dist 1.0" in both[1].reason
    with pytest.raises(PluginError, match=r"first-dist.*claimed by second-dist"):
        registry.load("good")


def test_the_same_distribution_twice_on_the_path_is_one(install, monkeypatch) -> None:
    install("good-dist", {"good": "good_d:Good"}, GOOD, "good_d")
    monkeypatch.setattr(sys, "path", [*sys.path, sys.path[0]])
    assert isinstance(state("good"), Working)


HEADER = "from dataclasses import dataclass\nfrom compressor.plugin import Plugin\n"
BODY = "    def sites(self, network): return []\n    def rewrite(self, editor, site, choice): pass\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError: No module named 'no_such_module_anywhere'"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError('line one\\nline two')", "ValueError: line one line two"),
        ("X = 1", "not a subclass of compressor.plugin.Plugin"),
        ("class X: pass", "not a subclass of compressor.plugin.Plugin"),
        ("Y = 1", "AttributeError"),
        (HEADER + "class X(Plugin):\n" + BODY, "X is not a dataclass; decorate it with @dataclass(frozen=True)"),
        (HEADER + "@dataclass\nclass X(Plugin):\n" + BODY, "cannot inherit non-frozen dataclass from a frozen one"),
        (
            HEADER + "@dataclass(frozen=True)\nclass X(Plugin):\n    def sites(self, n): return []\n",
            "does not define rewrite",
        ),
        (
            HEADER + "@dataclass(frozen=True)\nclass X(Plugin):\n    bits: int\n" + BODY,
            "option 'bits' of X has no default",
        ),
        (
            HEADER + "@dataclass(frozen=True)\nclass X(Plugin):\n    o: 'Nowhere' = 1\n" + BODY,
            "cannot be read from a recipe",
        ),
    ],
)
def test_what_is_wrong_with_a_plugin_is_kept_and_the_distribution_named(install, source, message) -> None:
    module = f"broken_{abs(hash(source))}"
    install("broken-dist", {"broken": f"{module}:X"}, source, module)
    assert message in reason("broken")
    assert "\n" not in reason("broken")
    with pytest.raises(PluginError, match=r"plugin 'broken' of broken-dist 1.0 cannot be used: "):
        registry.load("broken")


def test_a_value_that_is_no_reference_and_a_name_that_is_no_name(install) -> None:
    install("odd-dist", {"odd": "not a reference", "Bad.Name": "x:Y"})
    assert "not a reference" in reason("odd")
    assert "lower-case letters" in reason("Bad.Name")


def test_one_broken_plugin_leaves_the_others_alone(install) -> None:
    install("good-dist", {"good": "good_e:Good", "gone": "nowhere_e:Gone"}, GOOD, "good_e")
    assert isinstance(state("good"), Working)
    assert isinstance(state("gone"), Broken)
