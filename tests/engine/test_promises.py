"""Every edit is held to its plugin's promise, rows of them together, and the one that breaks it is named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from compressor.engine.plan import Edit
from compressor.engine.promises import Promises
from compressor.errors import BrokenPromise
from compressor.evidence import Evidence
from compressor.graph import verify
from compressor.graph.capture import capture
from compressor.graph.network import Network

SOURCE = """
from dataclasses import dataclass
import torch
from torch import nn
from compressor.knobs import Choice
from compressor.plugin import Plugin, Promise, Site

@dataclass(frozen=True)
class Scale(Plugin):
    "Multiplies weights."
    def sites(self, network):
        for path, leaf in network.leaves():
            if isinstance(leaf, nn.Linear):
                yield Site(path, {"by": Choice((1.0, 1.000001, 1.2, 1.5, -1.0))})
    def rewrite(self, editor, site, choice):
        old = editor.network.leaf(site.path)
        new = nn.Linear(old.in_features, old.out_features, bias=False)
        with torch.no_grad():
            new.weight.copy_(old.weight * choice["by"])
        editor.replace(site.path, new)

@dataclass(frozen=True)
class Exact(Scale):
    "Claims that nothing changes."
    promise = Promise.EXACT

@dataclass(frozen=True)
class Near(Scale):
    "Claims that little changes."
    promise = Promise.APPROXIMATE

@dataclass(frozen=True)
class Free(Scale):
    "Claims nothing."
"""
LAYERS = ("0", "1", "2", "3")


@pytest.fixture
def plugins(install: Any) -> None:
    install("scales", {name: f"scales:{name.title()}" for name in ("exact", "near", "free")}, SOURCE, "scales")


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return capture(nn.Sequential(*(nn.Linear(6, 6, bias=False) for _ in LAYERS)).eval(), (6,))


def evidence(shape: tuple[int, ...] = (6,), count: int = 64) -> Evidence:
    return Evidence([(torch.randn(count, *shape), torch.zeros(count, dtype=torch.long))])


def carry_out(network: Network, *edits: tuple[str, str, float]) -> None:
    promises = Promises(network, found := evidence())
    for plugin, site, by in edits:
        promises.apply(network, Edit(plugin, site, {"by": by}), found)
    promises.settle()


@pytest.mark.parametrize("plugin", ["exact", "near"])
@pytest.mark.parametrize("position", range(4))
def test_the_edit_that_breaks_its_promise_is_named(plugins: None, network: Network, plugin: str, position: int) -> None:
    edits = [(plugin, site, -1.0 if number == position else 1.000001) for number, site in enumerate(LAYERS)]
    with pytest.raises(BrokenPromise, match=rf"plugin '{plugin}' of scales 1\.0, site {position}: promised"):
        carry_out(network, *edits)


def test_edits_that_each_keep_their_promise_are_not_blamed_for_all_of_them(plugins: None, network: Network) -> None:
    """1.2⁴ = 2.07: together they lose more than an answer that does not follow the input; each alone loses 4 %."""
    carry_out(network, *(("near", site, 1.2) for site in LAYERS))
    with pytest.raises(BrokenPromise):
        carry_out(network, ("near", "0", -1.0))


def test_a_promise_is_not_lent_to_the_edits_beside_it(plugins: None, network: Network) -> None:
    """What is broken for an exact edit is no matter for those that promise less or nothing, before it or behind it."""
    carry_out(network, ("near", "0", 1.2), ("exact", "1", 1.000001), ("free", "2", -1.0), ("near", "3", 1.2))
    for edits in ([("near", "0", 1.2), ("exact", "1", 1.2)], [("exact", "1", 1.2), ("near", "0", 1.000001)],
                  [("free", "0", -1.0), ("exact", "1", 1.2), ("free", "2", -1.0)]):  # fmt: skip
        with pytest.raises(BrokenPromise, match=r"plugin 'exact' of scales 1\.0, site 1"):
            carry_out(network.fork(), *edits)


def test_what_keeps_its_promise_costs_one_comparison_and_no_promise_costs_none(
    plugins: None, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[int] = []
    difference = verify.difference

    def counted(before: Network, after: Network, batches: Any) -> float:
        compared.append(sum(len(images) for images, _ in batches))
        return difference(before, after, batches)

    monkeypatch.setattr(verify, "difference", counted)
    carry_out(network, *(("exact", site, 1.000001) for site in LAYERS))
    assert compared == [64]
    carry_out(network, *(("free", site, -1.0) for site in LAYERS))
    assert compared == [64]
