"""The conformance kit passes a sound plugin and catches each broken one with the check meant for it."""

from __future__ import annotations

from pathlib import Path

import broken_plugins
import pytest
import torch
from broken_plugins import BROKEN, Sound

from compressor.errors import GraphError
from compressor.plugin import Plugin
from compressor.registry import make
from compressor.testing import Finding, PluginContract, check_plugin, small_networks
from compressor.testing.contract import CHECKS


@pytest.fixture(autouse=True)
def _forget() -> None:
    broken_plugins.MEMORY.clear()


def one_network() -> dict:
    """A fresh network: some of the plugins below do damage."""
    return {"chain": small_networks()["chain"]}


def test_a_sound_plugin_has_no_findings() -> None:
    assert check_plugin(Sound()) == []


@pytest.mark.parametrize(
    ("check", "plugin"), [(check, plugin) for check, plugins in BROKEN.items() for plugin in plugins]
)
def test_a_broken_plugin_is_caught(check: str, plugin: type[Plugin]) -> None:
    findings = check_plugin(plugin(), one_network())
    assert check in {name for finding in findings for name in (finding.check, *finding.also)}, findings


def test_every_check_has_something_to_catch() -> None:
    assert set(BROKEN) == set(CHECKS)


def test_the_contract_class_runs_every_check() -> None:
    tests = {name.removeprefix("test_").replace("_", "-") for name in vars(PluginContract) if name.startswith("test_")}
    assert tests == {*CHECKS, "there-is-something-to-rewrite"}


def test_no_site_anywhere_is_a_finding() -> None:
    class Blind(Sound):
        def sites(self, network):
            return []

    findings = check_plugin(Blind(), one_network())
    assert [finding.check for finding in findings] == ["there-is-something-to-rewrite"]


@pytest.mark.parametrize("error", [KeyError("lost"), GraphError("the network has no node 'x'"), SystemExit(3)])
@pytest.mark.parametrize("method", ["sites", "rewrite"])
def test_an_error_is_one_finding_with_its_kind_and_the_line_that_raised_it(method: str, error: BaseException) -> None:
    """However many checks it stops, on however many networks."""

    def fails(*_: object) -> None:
        raise error  # the line

    line = fails.__code__.co_firstlineno + 1
    (finding,) = check_plugin(type("Failing", (Sound,), {method: fails, "__module__": __name__})())
    assert finding.places > 10
    assert len(finding.also) > 5
    assert type(error).__name__ in str(finding)
    assert f"{__file__}, line {line})" in str(finding)
    assert "times more" in str(finding)


def test_an_error_in_a_library_is_put_down_to_the_line_that_called_it(install) -> None:
    """Also where the plugin is installed among libraries itself."""
    source = (Path(__file__).parent / "broken_plugins.py").read_text()
    source += "\n\n@dataclass(frozen=True)\nclass Odd(Sound):\n"
    source += "    def rewrite(self, editor, site, choice):\n        torch.zeros(2) @ torch.zeros(3)\n"
    install("site-packages", {"odd": "odd_plugin:Odd"}, source, "odd_plugin")
    (finding,) = check_plugin(make("odd"), one_network())
    assert f"odd_plugin.py, line {len(source.splitlines())})" in finding.message


def test_one_message_of_a_check_is_said_once() -> None:
    idle = check_plugin(broken_plugins.Idle())
    assert [finding.message for finding in idle] == ["the editor recorded no change", "nothing changed"]
    assert str(Finding("check", "net", "path", "wrong")) == "[check] net path: wrong"
    assert str(Finding("check", "", "", "wrong", places=3)) == "[check], and 2 times more: wrong"


def test_checking_leaves_the_random_state_and_the_networks_alone() -> None:
    networks = one_network()
    before = {name: value.clone() for name, value in networks["chain"].module.state_dict().items()}
    state = torch.get_rng_state()
    check_plugin(Sound(), networks)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in networks["chain"].module.state_dict().items())


class TestSound(PluginContract):
    plugin = Sound()
