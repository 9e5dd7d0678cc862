"""Spans that might be cut out: layers, bottlenecks, blocks; one each, found in one pass."""

from __future__ import annotations

import pytest
import torch
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.common.spans import Obstacle, Span, find_spans
from networks import NETWORKS
from rewriting import apply, chain, evidence, named
from torch import nn

from compressor.graph.capture import capture
from compressor.graph.network import Network


def by_kind(network: Network, kind: str) -> list[str]:
    return [span.path for span in find_spans(network) if isinstance(span, Span) and span.kind == kind]


def test_a_layer_takes_along_what_only_it_feeds() -> None:
    network = chain(
        nn.Conv2d(3, 8, 3), nn.PReLU(), nn.BatchNorm2d(8), nn.Dropout(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3),
        nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10), shape=(3, 14, 14),
    )  # fmt: skip
    assert by_kind(network, "layer") == ["0..3", "5", "7..8", "9"]


def test_residual_blocks_are_found_with_their_shortcut() -> None:
    network = named("resnet")
    assert by_kind(network, "block") == [
        f"layer{stage}.{block}.conv1..add{f'_{n}' if n else ''}"
        for n, (stage, block) in enumerate((s, b) for s in (1, 2, 3) for b in (0, 1))
    ]
    strided = next(s for s in find_spans(network) if isinstance(s, Span) and s.path == "layer2.0.conv1..add_2")
    names = {str(node.target) for node in strided.nodes}
    assert {"layer2.0.downsample.0", "layer2.0.downsample.1"} <= names
    assert strided.source.target == "layer1.1.relu"


def test_a_bottleneck_runs_from_the_widening_to_the_narrowing_layer() -> None:
    assert "features.4.conv.0..features.4.conv.7" in by_kind(named("mobilenetv2"), "bottleneck")
    assert by_kind(named("vgg"), "bottleneck") == []


def test_a_dense_block_is_one_block_and_what_is_read_from_outside_an_obstacle() -> None:
    network = named("densenet")
    assert by_kind(network, "block") == ["cat..cat_3", "cat_4..cat_7"]
    obstacles = [span for span in find_spans(network) if isinstance(span, Obstacle)]
    assert obstacles
    assert all("is used elsewhere too" in obstacle.reason for obstacle in obstacles)


class Nested(nn.Module):
    """A residual block whose branch holds a residual block, and a gate x·σ(f(x)) without and with a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.outer, self.inner, self.gate = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        branch = torch.relu(self.outer(x))
        x = x + (branch + self.inner(branch))
        x = x * torch.sigmoid(x)
        x = x * torch.sigmoid(self.gate(x))
        return self.fc(x.mean((2, 3)))


def test_a_gate_stays_where_a_product_takes_it_and_goes_where_it_is_an_activation() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.plain, self.near, self.far = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
            self.sigmoid, self.fc = nn.Sigmoid(), nn.Linear(4, 3)

        def forward(self, x):
            x = self.sigmoid(self.plain(x))
            x = x * nn.functional.hardsigmoid(self.near(x))
            half = self.far(nn.functional.avg_pool2d(x, 2))
            return self.fc((x * nn.functional.interpolate(self.sigmoid(half), scale_factor=2)).mean((2, 3)))

    assert by_kind(capture(Gated(), (4, 6, 6)), "layer") == ["plain..sigmoid", "near", "far", "fc"]


def test_a_normalisation_before_signs_is_no_part_of_the_layer_ahead() -> None:
    """Without it the binary layer would see ReLU outputs, every sign of which is +1."""
    network = chain(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), shape=(3, 12, 12))
    apply(Binarize(activations="binary"), network, "2", evidence(network))
    assert by_kind(network, "layer") == ["0..1", "2..3"]
    assert "2_before" in {path for path, _ in network.leaves()}


def test_blocks_nest_and_need_a_layer_inside() -> None:
    network = capture(Nested(), (4, 6, 6))
    blocks = [s for s in find_spans(network) if isinstance(s, Span) and s.kind == "block"]
    layers = [{str(n.target) for n in s.nodes if n.op == "call_module"} & {"outer", "inner", "gate"} for s in blocks]
    assert layers == [{"inner"}, {"outer", "inner"}, {"gate"}]


@pytest.mark.parametrize("name", NETWORKS)
def test_each_span_once_in_order_of_its_end_and_no_more_than_the_network_has_nodes(name: str) -> None:
    network = named(name)
    spans = [span for span in find_spans(network) if isinstance(span, Span)]
    order = {node: index for index, node in enumerate(network.graph.nodes)}
    ends = [order[span.last] for span in spans]
    assert ends == sorted(ends)
    assert len({(span.source, span.last) for span in spans}) == len(spans) < len(order)
    for span in spans:
        assert span.source not in span.nodes
        outside = {user for node in span.nodes[:-1] for user in node.users} - set(span.nodes)
        assert not outside


def test_the_number_of_spans_grows_with_the_network() -> None:
    counts = []
    for length in (10, 40):
        layers = [layer for _ in range(length) for layer in (nn.Conv2d(4, 4, 1), nn.ReLU())]
        counts.append(len(find_spans(chain(*layers, shape=(4, 2, 2), sensitive=False))))
    assert counts == [10, 40]
