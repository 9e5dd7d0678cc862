"""The layer-removal plugin: each rule on its own, what is exact, what is refused, and the kit on six networks."""

from __future__ import annotations

import pytest
import torch
from compressor_plugins.input_mask.plugin import InputMask
from compressor_plugins.layer_removal.least_squares import fit_affine, pixels
from compressor_plugins.layer_removal.plugin import LayerRemoval
from networks import NETWORKS
from rewriting import apply, chain, correlation, evidence, named, parity, reason, site
from torch import nn

from compressor.errors import Refusal
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.verify import difference
from compressor.knobs import Choice
from compressor.models import build
from compressor.plugin import sites_of
from compressor.testing import PluginContract, check_plugin

IDENTITY, MAP, CHOOSE = LayerRemoval(repair="identity"), LayerRemoval(repair="map"), LayerRemoval(repair="choose")


def kinds(network: Network) -> list[str]:
    return [type(leaf).__name__ for _, leaf in network.leaves()]


# --- rule 1: as many channels, same size -----------------------------------------------------------------------------


def test_bypass_takes_layer_normalisation_and_activation() -> None:
    before = named("vgg")
    after = apply(IDENTITY, before.fork(), "features.10..features.12")
    gone = {path for path, _ in before.leaves()} - {path for path, _ in after.leaves()}
    assert gone == {"features.10", "features.11", "features.12"}
    x = evidence(before).batches[0][0]
    modules = dict(before.module.named_modules())
    with torch.no_grad():
        by_hand = x
        for path, _ in before.leaves():
            by_hand = by_hand if path in gone else modules[path](by_hand)
        assert torch.allclose(after(x), by_hand.view_as(after(x)), atol=1e-5)


def test_the_students_of_the_document_are_the_teacher_without_two_layers() -> None:
    """With the stem's nine taps, and with the four that a mask leaves."""
    network = capture(build("vgg16-s0"), (3, 128, 128))
    assert network.parameter_count == 16_042_058
    for path in ("conv4_3..relu4_3", "conv5_3..relu5_3"):
        apply(IDENTITY, network, path)
    assert network.parameter_count == 11_320_394
    apply(InputMask(), network, "conv1_1", None, {"mask": "101000101"})
    assert network.parameter_count == network_cost(network).parameter_count == 11_319_434


# --- rule 2: residual blocks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", ["layer1.0.conv1..add", "layer3.1.conv1..add_5"])
def test_a_branch_that_gives_zero_is_removed_exactly_with_the_relu_behind_it(block: str) -> None:
    network = named("resnet")
    norm = network.leaf(f"{block.split('.conv1')[0]}.bn2")
    with torch.no_grad():
        norm.weight.zero_()
        norm.bias.zero_()
    after = apply(LayerRemoval(), network.fork(), block)
    assert difference(network, after, evidence(network).batches) < 1e-6
    assert len(kinds(network)) - len(kinds(after)) == 5


def test_a_branch_that_gives_something_is_missed() -> None:
    """The control of the test above."""
    network = named("resnet")
    after = apply(LayerRemoval(), network.fork(), "layer1.0.conv1..add")
    assert difference(network, after, evidence(network).batches) > 1e-2


def test_a_residual_block_that_changes_shape_becomes_pooling_and_a_map() -> None:
    network = named("resnet")
    data = evidence(network)
    after = apply(LayerRemoval(), network.fork(), "layer2.0.conv1..add_2", data)
    assert {"AvgPool2d", "Conv2d"} <= set(kinds(after))
    assert not [path for path, _ in after.leaves() if "downsample" in path and path.startswith("layer2.0")]
    assert correlation(network, after, data) > 0.7
    assert network_cost(after).mac_count < network_cost(network).mac_count


# --- rules 3 and 4: other channels, smaller size ---------------------------------------------------------------------


def pointwise_in_disguise(stride: int) -> Network:
    """A 3×3 convolution that only uses its centre; one with stride 2 reads every second pixel."""
    network = chain(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 10, 3, stride, 1), nn.BatchNorm2d(10), nn.MaxPool2d(2),
        nn.Conv2d(10, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5), shape=(3, 16, 16),
    )  # fmt: skip
    with torch.no_grad():
        weight = network.leaf("2").weight
        centre = weight[:, :, 1, 1].clone()
        weight.zero_()[:, :, 1, 1] = centre
    return network


def test_a_span_that_is_a_map_is_replaced_exactly() -> None:
    network = pointwise_in_disguise(1)
    after = apply(MAP, network.fork(), "2..3", evidence(network))
    assert difference(network, after, evidence(network).batches) < 5e-3
    weight = after.leaf("3_map").weight
    assert weight.shape == (10, 6, 1, 1)


def test_a_span_that_is_no_map_is_not() -> None:
    network = named("squeezenet")
    after = apply(MAP, network.fork(), "features.6.expand3..features.6.act", evidence(network))
    assert difference(network, after, evidence(network).batches) > 2e-2


def test_a_strided_span_is_pooled_first() -> None:
    network = pointwise_in_disguise(2)
    after = apply(MAP, network.fork(), "2..3", evidence(network))
    pool = after.leaf("3_pool")
    assert isinstance(pool, nn.AvgPool2d)
    assert pool.kernel_size == (2, 2)


def test_a_map_is_composed_into_the_next_convolution_where_that_is_cheaper() -> None:
    """Unpadded, so that the composition is exact; the activation is linear on what the data holds."""
    network = chain(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 12, 1), nn.ReLU(), nn.Conv2d(12, 8, 3), nn.Flatten(),
        nn.Linear(512, 5), shape=(3, 12, 12),
    )  # fmt: skip
    with torch.no_grad():
        network.leaf("2").bias.fill_(100.0)
    after = apply(LayerRemoval(repair="merge"), network.fork(), "2..3", evidence(network))
    assert after.leaf("4").weight.shape == (8, 4, 3, 3)
    assert difference(network, after, evidence(network).batches) < 5e-3


def test_what_joins_relus_stays_behind_one() -> None:
    network = named("squeezenet")
    after = apply(MAP, network.fork(), "features.3.expand1..cat", evidence(network))
    calls = [node for node in after.graph.nodes if str(node.target).startswith("cat")]
    assert [type(after.leaf(str(node.target))).__name__ for node in calls if node.op == "call_module"] == [
        "Conv2d",
        "ReLU",
    ]


# --- linear layers ---------------------------------------------------------------------------------------------------


def test_a_linear_layer_of_the_head_goes_into_the_next_one() -> None:
    network = capture(build("lenet"), (1, 28, 28))
    after = apply(LayerRemoval(), network.fork(), "fc2..relu4", evidence(network, 256))
    assert after.leaf("fc3").weight.shape == (10, 120)
    assert network.parameter_count - after.parameter_count == 120 * 84 + 84 + 84 * 10 - 120 * 10
    assert correlation(network, after, evidence(network, 256)) > 0.99


def test_with_fewer_samples_than_features_the_fit_falls_back_on_the_weights() -> None:
    network = chain(nn.Flatten(), nn.Linear(400, 300), nn.ReLU(), nn.Linear(300, 10), shape=(1, 20, 20))
    after = apply(LayerRemoval(), network.fork(), "1..2", evidence(network, 16))
    assert correlation(network, after, evidence(network, 512)) > 0.6


def test_the_fit_is_the_least_squares_solution_and_needs_its_shift() -> None:
    torch.manual_seed(0)
    matrix, shift = torch.randn(4, 7), torch.randn(4)
    x = torch.randn(500, 7) + 3
    found, offset = fit_affine(x, x @ matrix.T + shift, ridge=1e-9)
    assert torch.allclose(found, matrix, atol=1e-4)
    assert torch.allclose(offset, shift, atol=1e-3)
    noise = x @ matrix.T + shift + torch.randn(500, 4)
    fitted = torch.linalg.lstsq(torch.cat([x, torch.ones(500, 1)], 1), noise).solution
    assert torch.allclose(fit_affine(x, noise, ridge=1e-9)[0], fitted[:7].T, atol=1e-3)
    prior = torch.randn(4, 7)
    assert torch.allclose(fit_affine(x[:1], noise[:1], prior)[0], prior, atol=1e-4)


@pytest.mark.parametrize("samples", [3, 11, 12, 40])
def test_the_fit_is_the_same_by_samples_as_by_inputs(samples: int) -> None:
    generator = torch.Generator().manual_seed(samples)
    x, y, prior = (
        torch.randn(size, generator=generator, dtype=torch.float64) for size in ((samples, 11), (samples, 5), (5, 11))
    )
    matrix, _ = fit_affine(x, y, prior, ridge=0.1)
    rows, wanted = x - x.mean(0), y - y.mean(0)
    pull = 0.1 * rows.square().mean() * torch.eye(11, dtype=torch.float64)
    gradient = (matrix @ rows.T - wanted.T) @ rows / samples + (matrix - prior) @ pull
    assert gradient.abs().max() < 1e-8


def test_pixels_are_rows() -> None:
    images = torch.arange(24.0).view(1, 2, 3, 4)
    assert pixels(images).shape == (12, 2)
    assert pixels(images)[5].tolist() == [images[0, 0, 1, 1], images[0, 1, 1, 1]]


# --- where it acts ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "path", "part"),
    [
        ("resnet", "fc", "gives the output"),
        ("resnet", "layer2.0.downsample.0..layer2.0.downsample.1", "a map from 8 to 16 channels would cost as much"),
        ("mobilenetv2", "features.5.conv.0..features.5.conv.7", "remove that block instead"),
        ("squeezenet", "features.3.squeeze..features.3.act", "a map from 16 to 6 channels would cost as much"),
        ("densenet", "cat_1", "is used elsewhere too"),
    ],
)
def test_refusals_say_why(name: str, path: str, part: str) -> None:
    assert part in reason(LayerRemoval(), named(name), path)


def test_a_knob_stands_where_there_is_a_choice_and_the_preferred_way_comes_first() -> None:
    network = named("vgg")
    assert site(CHOOSE, network, "features.3..features.5").knobs == {"repair": Choice(("identity", "map"))}
    assert site(CHOOSE, network, "classifier.0..classifier.2").knobs == {}
    assert all(not found.knobs for found in sites_of(LayerRemoval(), network))
    assert site(MAP, network, "features.3..features.5").about.endswith(": map or identity")


def test_kinds_of_span_can_be_chosen() -> None:
    network = named("resnet")
    blocks = [found.path for found in sites_of(LayerRemoval(spans="blocks"), network)]
    layers = [found.path for found in sites_of(LayerRemoval(spans="layers"), network)]
    assert all("add" in path for path in blocks)
    assert not any("add" in path for path in layers)
    assert sorted(blocks + layers) == sorted(found.path for found in sites_of(LayerRemoval(), network))


def test_a_fit_without_data_is_refused_before_the_first_edit() -> None:
    network = named("vgg")
    editor = Editor(network)
    found = site(LayerRemoval(), network, "classifier.0..classifier.2")
    with pytest.raises(Refusal, match="calibration data"):
        LayerRemoval().rewrite(editor, found, {})
    assert not editor.changes


class Shared(nn.Module):
    """One convolution called twice: each call can go, the weights stay for the other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x):
        x = torch.relu(self.conv(torch.relu(self.conv(torch.relu(self.stem(x))))))
        return self.fc(x.mean((2, 3)))


def test_calls_of_a_shared_layer_are_sites_of_their_own() -> None:
    network = capture(Shared(), (3, 10, 10))
    paths = [found.path for found in sites_of(IDENTITY, network) if "conv" in found.path]
    assert len(set(paths)) == len(paths) == 2
    after = apply(IDENTITY, network.fork(), paths[1])
    assert after.parameter_count == network.parameter_count
    assert network_cost(after).mac_count < network_cost(network).mac_count


# --- the kit ---------------------------------------------------------------------------------------------------------


class TestContract(PluginContract):
    most_sites = 3
    plugin = CHOOSE


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kit_finds_nothing_on(name: str) -> None:
    findings = check_plugin(CHOOSE, {name: named(name)}, most_sites=2)
    assert not findings, "\n".join(map(str, findings))


@pytest.mark.parametrize("name", NETWORKS)
def test_sites_one_after_the_other_until_none_is_left(name: str) -> None:
    original = named(name)
    network, data, plugin = original.fork(), evidence(original, 16), LayerRemoval(repair="identity")
    macs = network_cost(network).mac_count
    for _ in range(8):
        left = sites_of(plugin, network)
        if not left:
            break
        apply(plugin, network, left[len(left) // 2].path, data)
        macs, before = network_cost(network).mac_count, macs
        assert macs < before
    data.calibrate(network)
    assert parity(network, data).ok
    assert not any(isinstance(leaf, Leaf) for _, leaf in network.leaves())
    assert network_cost(original).mac_count > macs
