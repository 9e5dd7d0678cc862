"""The conformance kit passes a sound plugin and catches each broken one with the check meant for it."""

from __future__ import annotations

import broken_plugins
import pytest
import torch
from broken_plugins import BROKEN, Sound

from compressor.plugin import Plugin
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
    assert check in {finding.check for finding in findings}, "\n".join(map(str, findings))


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


def test_an_exception_is_a_finding_with_its_kind() -> None:
    findings = check_plugin(broken_plugins.CrashingSites(), one_network())
    assert "KeyError" in str(findings[0])
    assert str(Finding("check", "net", "path", "wrong")) == "[check] net path: wrong"


def test_checking_leaves_the_random_state_and_the_networks_alone() -> None:
    networks = one_network()
    before = {name: value.clone() for name, value in networks["chain"].module.state_dict().items()}
    state = torch.get_rng_state()
    check_plugin(Sound(), networks)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in networks["chain"].module.state_dict().items())


class TestSound(PluginContract):
    plugin = Sound()
