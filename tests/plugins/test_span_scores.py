"""Cheap scores of spans: each finds a block that does nothing, and leaves one alone that does much."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from compressor_plugins.common.spans import Span, find_spans
from compressor_plugins.layer_removal.plugin import LayerRemoval
from compressor_plugins.layer_removal.span_scores import SCORES, ScoreName, span_scores
from networks import NETWORKS
from rewriting import chain, evidence, named
from torch import nn

from compressor.engine.sensitivity import rank
from compressor.engine.site_measurement import measure_sensitivities
from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor.plugin import sites_of

PLANTED = "layer2.1.conv1..add_3"
"""The second block of the second stage, which keeps its shape."""
BLOCKS = LayerRemoval(spans="blocks")


def planted(factor: float) -> Network:
    """A residual network one of whose branches gives this much of what it gave."""
    network = named("resnet")
    norm = network.leaf("layer2.1.bn2")
    with torch.no_grad():
        norm.get_parameter("weight").mul_(factor)
        norm.get_parameter("bias").mul_(factor)
    return network


def answered(network: Network) -> Evidence:
    """Images with the network's own answers, so that what changes it costs something."""
    data = evidence(network, 96)
    with torch.no_grad():
        return replace(data, batches=[(images, network(images).argmax(1)) for images, _ in data.batches])


def scores(score: ScoreName, network: Network) -> dict[str, float]:
    spans = [span for span in find_spans(network) if isinstance(span, Span) and span.kind == "block"]
    return {span.path: found for span, found in span_scores(score, network, spans, answered(network)).items()}


@pytest.mark.parametrize("score", ["gamma", "influence", "angle", "taylor"])
def test_a_block_that_gives_nothing_has_the_lowest_score(score: ScoreName) -> None:
    found = scores(score, planted(1e-4))
    assert min(found, key=lambda path: found[path]) == PLANTED


@pytest.mark.parametrize("score", ["gamma", "influence", "angle", "taylor"])
def test_one_that_gives_much_has_not(score: ScoreName) -> None:
    """The control of the test above."""
    found = scores(score, planted(4.0))
    assert min(found, key=lambda path: found[path]) != PLANTED
    assert found[PLANTED] > 10 * scores(score, planted(1e-4))[PLANTED]


def test_a_score_says_nothing_of_what_it_cannot_judge() -> None:
    """No input stands in for a block that changes its channels; without BatchNorm there is no γ."""
    assert set(scores("gamma", planted(1.0))) == set(scores("probe", planted(1.0))) > set(scores("angle", planted(1.0)))
    network = named("squeezenet")
    assert (
        span_scores("gamma", network, [s for s in find_spans(network) if isinstance(s, Span)], answered(network)) == {}
    )


# --- the probe: a label that is linear behind one layer only ---------------------------------------------------------


def exclusive_or() -> tuple[Network, Evidence]:
    """Images of two flat channels ±1, whose label is their product: behind |a + b| it is linear, before it is not.

    The layer in front of the one that finds it keeps everything as it is.
    """
    network = chain(
        nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2), shape=(2, 4, 4), sensitive=False,
    )  # fmt: skip
    rows = {"0": [[1.0, 0], [-1, 0], [0, 1], [0, -1]], "2": torch.eye(4).tolist()}
    rows["4"] = [[1, -1, 1, -1], [-1, 1, -1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]
    with torch.no_grad():
        for path, weight in rows.items():
            network.leaf(path).get_parameter("weight").copy_(torch.tensor(weight)[:, :, None, None])
            network.leaf(path).get_parameter("bias").zero_()
    generator = torch.Generator().manual_seed(0)
    signs = torch.randint(0, 2, (128, 2), generator=generator) * 2.0 - 1
    images = signs[:, :, None, None] + 0.1 * torch.randn(128, 2, 4, 4, generator=generator)
    return network, Evidence([(images, (signs.prod(1) > 0).long())])


def test_the_probe_tells_the_layer_that_finds_the_label_from_one_that_does_nothing() -> None:
    network, data = exclusive_or()
    spans = {span.path: span for span in find_spans(network) if isinstance(span, Span)}
    found = span_scores("probe", network, list(spans.values()), data)
    assert abs(found[spans["2..3"]]) < 0.05
    assert found[spans["4..5"]] > 0.4


# --- the shortlist ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", list(SCORES))
@pytest.mark.parametrize("name", NETWORKS)
def test_every_score_works_on(name: str, score: ScoreName) -> None:
    network = named(name)
    plugin = LayerRemoval(score=score, shortlist=2)
    sites = sites_of(plugin, network)
    before = {key: value.clone() for key, value in network.module.state_dict().items()}
    kept = plugin.worth_measuring(network, sites, answered(network))
    assert [site for site in sites if site in kept] == list(kept)
    assert len(kept) >= min(2, len(sites))
    assert all(torch.equal(value, before[key]) for key, value in network.module.state_dict().items())


def test_what_is_not_on_the_list_is_not_measured_and_ranks_last() -> None:
    network = planted(1e-4)
    options = {"spans": "blocks", "score": "gamma", "shortlist": 2}
    known = measure_sensitivities(network, [("layer-removal", options)], answered(network)).of("layer-removal", options)
    assert PLANTED in known
    assert len(known) == 2
    paths = [site.path for site in sites_of(BLOCKS, network)]
    assert rank(paths, known, 1.0)[0] == PLANTED
    assert set(rank(paths, known, 1.0)[:2]) == set(known)


@pytest.mark.parametrize(("factor", "first"), [(1e-4, True), (4.0, False)])
def test_the_measured_bypass_finds_it_too(factor: float, first: bool) -> None:
    network = planted(factor)
    known = measure_sensitivities(network, [("layer-removal", {"spans": "blocks"})], answered(network))
    found = known.of("layer-removal", {"spans": "blocks"})
    assert (rank(list(found), found, 1.0)[0] == PLANTED) is first


def test_by_default_all_are_measured_and_an_empty_list_is_refused() -> None:
    network = named("resnet")
    sites = sites_of(LayerRemoval(), network)
    assert LayerRemoval().worth_measuring(network, sites, evidence(network)) == sites
    with pytest.raises(ValueError, match="at least 1"):
        LayerRemoval(score="gamma", shortlist=0)
