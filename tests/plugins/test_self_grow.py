"""The self-grow plugin: every operator exact, what it leaves to train, limits, refusals, the kit on six networks."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.layer_removal.plugin import LayerRemoval
from compressor_plugins.self_grow.gradmax import inputs_and_gradients, orthonormal, steepest_outputs
from compressor_plugins.self_grow.places import WidthPlace, depth_places, rounded, width_place
from compressor_plugins.self_grow.plugin import SelfGrow
from networks import NETWORKS
from rewriting import apply, chain, evidence, named, parity, reason, site
from torch import Tensor, nn

from compressor.errors import Refusal
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.trunk import trunk
from compressor.graph.verify import difference
from compressor.knobs import Choice, Value
from compressor.models import build
from compressor.plugin import sites_of
from compressor.registry import construct
from compressor.testing import PluginContract, check_plugin

GROW = SelfGrow()
EXACT = 1e-5


def plain(activation: nn.Module, *, bias: bool = True) -> Network:
    """Convolutions without normalisation, a head behind a flattening."""
    return chain(
        nn.Conv2d(3, 8, 3, padding=1), activation, nn.Conv2d(8, 12, 3, 2, 1, bias=bias), copy.deepcopy(activation),
        nn.Flatten(), nn.Linear(432, 20), copy.deepcopy(activation), nn.Linear(20, 5), shape=(3, 12, 12),
    )  # fmt: skip


def operators(network: Network, path: str) -> list[Value]:
    knob = site(GROW, network, path).knobs.get("operator")
    return list(knob.options) if isinstance(knob, Choice) else []


def gradients(network: Network) -> dict[str, Tensor]:
    images, labels = evidence(network).batches[0]
    network.eval()
    network.module.zero_grad()
    F.cross_entropy(network(images), labels).backward()
    return {name: parameter.grad for name, parameter in network.module.named_parameters() if parameter.grad is not None}


# --- the promise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator_at_every_place_is_exact_and_grows(name: str) -> None:
    network = named(name)
    data = evidence(network, 16)
    (images, _), *_ = data.batches
    expected = network(images)
    places = sites_of(GROW, network)
    assert places
    for place in places[:: max(len(places) // 5, 1)]:
        for operator in operators(network, place.path) or [None]:
            grown = apply(GROW, network.fork(), place.path, data, {"operator": operator} if operator else {})
            assert float((grown(images) - expected).abs().max()) < EXACT, (place.path, operator)
            assert grown.parameter_count > network.parameter_count
            assert network_cost(grown).mac_count > network_cost(network).mac_count


@pytest.mark.parametrize("name", NETWORKS)
def test_growing_again_and_again_stays_exact(name: str) -> None:
    network = named(name)
    data = evidence(network, 16)
    grown = network.fork()
    for step in range(5):
        places = sites_of(GROW, grown)
        apply(GROW, grown, places[(3 * step + 1) % len(places)].path, data)
    assert difference(network, grown, data.batches) < EXACT
    assert parity(grown, data).ok
    grown.train()(data.batches[0][0])


# --- depth -----------------------------------------------------------------------------------------------------------


def test_a_residual_block_begins_at_zero_behind_the_relu_and_trains_at_once() -> None:
    network = named("resnet")
    grown = apply(GROW, network, "layer2_0_relu_1+depth", None, {"amount": 1.0})
    total = grown.node("layer2_0_relu_grown")
    assert [source.name for source in total.all_input_nodes] == ["layer2_0_relu_1", "layer2_0_relu_grown_bn2"]
    assert {user.name for user in total.users} == {"layer2_1_conv1", "add_3"}
    norm = grown.leaf("layer2.0.relu_grown_bn2")
    assert not norm.weight.any()
    assert not norm.bias.any()
    assert gradients(grown)["layer2.0.relu_grown_bn2.weight"].abs().max() > 1e-4


def test_a_residual_block_that_is_not_zero_is_noticed() -> None:
    """The control: the same block with γ = 1."""
    network = named("resnet")
    grown = apply(GROW, network.fork(), "layer2_0_relu_1+depth")
    torch.nn.init.ones_(grown.leaf("layer2.0.relu_grown_bn2").weight)
    assert difference(network, grown, evidence(network).batches) > 1e-2


def test_without_normalisation_the_last_convolution_is_zero() -> None:
    grown = apply(GROW, named("squeezenet"), "cat+depth")
    assert not any(isinstance(leaf, nn.BatchNorm2d) for _, leaf in grown.leaves())
    assert not grown.leaf("cat_grown2").weight.any()
    assert gradients(grown)["cat_grown2.weight"].abs().max() > 1e-5


def test_new_blocks_use_the_activation_of_the_network() -> None:
    grown = apply(GROW, plain(nn.GELU()), "1+depth")
    assert isinstance(grown.leaf("1_grown_act"), nn.GELU)
    assert isinstance(apply(GROW, named("mobilenetv2"), "add+depth").leaf("add_grown_act"), nn.ReLU6)


def test_dirac_layers_stay_the_identity_when_statistics_are_measured_again() -> None:
    network = named("vgg")
    data = evidence(network)
    data.calibrate(network)
    grown = apply(GROW, network.fork(), "features.9+depth", data, {"operator": "dirac"})
    norm = grown.leaf("features.9_deeper_bn")
    assert torch.allclose(norm.weight, (norm.running_var + norm.eps).sqrt())
    assert torch.equal(norm.bias, norm.running_mean)
    data.calibrate(grown)
    assert difference(network, grown, data.batches) < 1e-4
    plainly = grown.fork()
    torch.nn.init.ones_(plainly.leaf("features.9_deeper_bn").weight)
    assert difference(network, plainly, data.batches) > 1e-2


def test_dirac_needs_data_where_there_is_normalisation() -> None:
    network = named("vgg")
    editor = Editor(network)
    with pytest.raises(Refusal, match="calibration data"):
        GROW.rewrite(editor, site(GROW, network, "features.9+depth"), {"operator": "dirac"})
    assert not editor.changes


@pytest.mark.parametrize("activation", [nn.GELU(), nn.Tanh(), nn.LeakyReLU()])
def test_dirac_is_offered_behind_idempotent_activations_alone(activation: nn.Module) -> None:
    assert "dirac" in operators(plain(nn.ReLU()), "1+depth")
    network = plain(activation)
    assert "dirac" not in operators(network, "1+depth")
    with pytest.raises(Refusal, match="does not fit"):
        GROW.rewrite(Editor(network), site(GROW, network, "1+depth"), {"operator": "dirac"})


def test_the_trunk_is_what_every_path_passes() -> None:
    names = [node.name for node in trunk(named("resnet"))]
    assert {"relu", "maxpool", "layer1_0_relu_1", "add_5", "fc"} <= set(names)
    assert not {"layer1_0_conv1", "layer1_0_bn2", "layer2_0_downsample_0", "x"} & set(names)
    places = [place.name for place in depth_places(named("resnet"))]
    assert places == ["relu", *(f"layer{i}_{k}_relu_1" for i in (1, 2, 3) for k in (0, 1))]


# --- width -----------------------------------------------------------------------------------------------------------


def test_copies_share_the_outgoing_weights_and_part_in_training() -> None:
    tied = plain(nn.ReLU())
    parted = tied.fork()
    before = tied.leaf("2").weight.detach().clone()
    choice: dict[str, Value] = {"operator": "copy", "amount": 1.0}
    apply(SelfGrow(noise=0.0), tied, "0+width", None, choice)
    apply(SelfGrow(noise=0.3), parted, "0+width", None, choice)
    for network in (tied, parted):
        weight = network.leaf("2").weight.detach()
        assert torch.allclose(weight[:, 0::2] + weight[:, 1::2], before, atol=1e-6)
    gradient = gradients(tied)["0.weight"]
    assert torch.allclose(gradient[0::2], gradient[1::2], atol=1e-7)
    gradient = gradients(parted)["0.weight"]
    assert (gradient[0::2] - gradient[1::2]).abs().max() > 1e-2 * gradient.abs().max()


def test_copies_are_made_behind_a_flattening_too() -> None:
    network = capture(build("lenet"), (1, 28, 28))
    grown = apply(SelfGrow(grow="width"), network.fork(), "conv2+width", evidence(network), {"operator": "copy"})
    assert grown.leaf("conv2").out_channels == 32
    assert grown.leaf("fc1").in_features == 2 * network.leaf("fc1").in_features
    assert difference(network, grown, evidence(network).batches) < EXACT


def test_widths_are_rounded_to_what_runs_well() -> None:
    assert [rounded(width) for width in (1, 6.5, 8, 12.5, 15.9, 16, 17, 40)] == [4, 8, 8, 16, 16, 16, 32, 48]
    grown = apply(SelfGrow(grow="width"), named("resnet"), "layer3.0.conv1+width", None, {"amount": 0.5})
    assert grown.leaf("layer3.0.conv1").out_channels == 48


def probe(network: Network, place: WidthPlace) -> Tensor:
    """The gradient of a zero probe, ``(taker's weights of one unit, layer's weights of one unit)``, entry by entry."""
    layer, taker = network.leaf(place.name), network.leaf(str(place.taker.target))
    pairs = inputs_and_gradients(evidence(network), network, place)
    columns = []
    for index in range(layer.weight[0].numel()):
        kernel = torch.zeros(1, layer.weight[0].numel())
        kernel[0, index] = 1
        total = torch.zeros(len(taker.weight), *taker.weight.shape[2:])
        for x, delta in pairs:
            hidden = F.conv2d(x, kernel.view(1, *layer.weight.shape[1:]), None, layer.stride, layer.padding)
            shape = (len(taker.weight), 1, *taker.weight.shape[2:])
            total += torch.nn.grad.conv2d_weight(hidden, shape, delta, taker.stride, taker.padding)[:, 0]
        columns.append(total.flatten())
    return torch.stack(columns, 1)


def test_gradmax_finds_the_singular_vectors_of_the_probe() -> None:
    network = plain(nn.Tanh())
    place = width_place(network, "0")
    matrix = probe(network, place)
    count = 4
    found = steepest_outputs(evidence(network), network, place, count)
    basis = found.transpose(0, 1).flatten(1)
    assert torch.allclose(basis @ basis.T, torch.eye(count), atol=1e-5)
    best = torch.linalg.svdvals(matrix)[:count].square().sum()
    reached = (basis @ matrix).square().sum()
    assert 0.97 * best < reached < 1.001 * best
    arbitrary = orthonormal(torch.randn_like(found), count).transpose(0, 1).flatten(1)
    assert (arbitrary @ matrix).square().sum() < 0.5 * best


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Tanh()])
@pytest.mark.parametrize("path", ["0+width", "2+width", "5+width"])
def test_new_units_are_silent_and_get_a_gradient_at_once(activation: nn.Module, path: str) -> None:
    network = plain(activation)
    data = evidence(network)
    if path == "5+width":  # the taker gives 5 values: no 10 directions to choose from
        assert not operators(network, path)
        return
    grown = apply(GROW, network.fork(), path, data, {"operator": "gradmax", "amount": 0.5})
    assert difference(network, grown, data.batches) < 1e-6
    layer = path.partition("+")[0]
    old = len(network.leaf(layer).weight)
    assert not grown.leaf(layer).weight[old:].any()
    new = gradients(grown)[f"{layer}.weight"]
    assert new[old:].norm() > 0.1 * new[:old].norm()


def test_a_relu_at_zero_would_be_dead() -> None:
    """The control: without the bias that holds them open, new units would never learn."""
    network = plain(nn.ReLU())
    grown = apply(GROW, network, "0+width", evidence(network), {"operator": "gradmax"})
    assert grown.leaf("0").bias[8:].tolist() == pytest.approx([1e-8] * 4)
    with torch.no_grad():
        grown.leaf("0").bias[8:] = 0
    assert not gradients(grown)["0.weight"][8:].any()


def test_gradmax_is_not_offered_where_new_units_would_not_stay_silent() -> None:
    assert "gradmax" in operators(plain(nn.ReLU()), "2+width")
    assert "gradmax" not in operators(plain(nn.ReLU(), bias=False), "2+width")
    assert "gradmax" in operators(plain(nn.Tanh(), bias=False), "2+width")
    assert "gradmax" not in operators(plain(nn.Sigmoid()), "0+width")
    assert "gradmax" not in operators(named("vgg"), "features.0+width")


@pytest.mark.parametrize(
    ("name", "path", "part"),
    [
        ("resnet", "layer1.0.conv2+width", "reach add"),
        ("resnet", "fc+width", "the network's output"),
        ("squeezenet", "features.3.expand1+width", "reach cat"),
        ("squeezenet", "features.3.squeeze+width", "used in several places"),
        ("mobilenetv2", "features.3.conv.0+width", "in groups"),
    ],
)
def test_refusals_say_why(name: str, path: str, part: str) -> None:
    assert part in reason(GROW, named(name), path)


def test_shared_weights_are_not_widened() -> None:
    twin = chain(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.Flatten(), shape=(4, 6, 6))
    twin.leaf("2").weight = twin.leaf("0").weight
    assert "shares its weight" in reason(GROW, twin, "0+width")


# --- limits ----------------------------------------------------------------------------------------------------------


def test_limits_are_kept_and_named() -> None:
    network = named("resnet")
    params, macs = network.parameter_count, network_cost(network).mac_count
    tight = SelfGrow(max_params=params + 600)
    paths = {place.path for place in sites_of(tight, network)}
    assert "layer1_0_relu_1+depth" in paths
    assert "layer3_0_relu_1+depth" not in paths
    assert f"more than the {params + 600:,} it may have" in reason(tight, network, "layer3_0_relu_1+depth")
    assert "multiply-accumulates" in reason(SelfGrow(max_macs=macs), network, "relu+depth")
    for place in sites_of(tight, network):
        assert apply(tight, network.fork(), place.path, evidence(network)).parameter_count <= params + 600
    grown = apply(tight, network, "layer1_0_relu_1+depth")
    assert not sites_of(tight, grown)


def test_knobs_hold_only_what_the_limits_allow() -> None:
    network = named("resnet")
    params = network.parameter_count
    assert site(GROW, network, "layer2_0_relu_1+depth").knobs["amount"] == Choice((0.5, 0.25, 1.0))
    small = SelfGrow(max_params=params + 1500)
    assert site(small, network, "layer2_0_relu_1+depth").knobs == {}
    grown = apply(small, network.fork(), "layer2_0_relu_1+depth")
    assert grown.leaf("layer2.0.relu_grown1").out_channels == 4
    with pytest.raises(Refusal, match="parameters, more than"):
        small.rewrite(Editor(network), site(small, network, "layer2_0_relu_1+depth"), {"amount": 1.0})


def test_an_amount_is_no_knob_where_only_dirac_is_within_the_limit() -> None:
    network = named("resnet")
    tight = SelfGrow(grow="depth", max_params=network.parameter_count + 595)
    assert site(tight, network, "layer1_0_relu_1+depth").knobs == {}
    grown = apply(tight, network.fork(), "layer1_0_relu_1+depth", evidence(network))
    assert grown.parameter_count == network.parameter_count + 592


@pytest.mark.parametrize("name", ["resnet", "mobilenetv2"])
def test_what_a_growth_adds_is_known_beforehand(name: str) -> None:
    network = named(name)
    data = evidence(network, 16)
    for place in sites_of(GROW, network):
        where, ways = next(GROW._own(network, place.path))
        for way in ways:
            grown = apply(GROW, network.fork(), place.path, data, {"operator": way.name} if len(ways) > 1 else {})
            added = way.added(network, way.amounts[0])
            assert grown.parameter_count - network.parameter_count == added.parameter_count, (where, way.name)
            assert network_cost(grown).mac_count - network_cost(network).mac_count == added.mac_count


def test_options_are_checked() -> None:
    with pytest.raises(Exception, match="cannot be negative"):
        construct(SelfGrow, {"noise": -1.0}, "self-grow")
    network = named("resnet")
    assert all(place.path.endswith("+depth") for place in sites_of(SelfGrow(grow="depth"), network))
    assert all(place.path.endswith("+width") for place in sites_of(SelfGrow(grow="width"), network))


# --- with removal, and repeated --------------------------------------------------------------------------------------


def test_a_grown_block_is_what_layer_removal_takes_away_again() -> None:
    network = named("resnet")
    grown = apply(GROW, network.fork(), "layer2_0_relu_1+depth")
    (path,) = [place.path for place in sites_of(LayerRemoval(), grown) if place.path.endswith("layer2_0_relu_grown")]
    back = apply(LayerRemoval(), grown, path)
    assert difference(network, back, evidence(network).batches) < 1e-6
    assert back.parameter_count == network.parameter_count
    assert [leaf for leaf, _ in back.leaves()] == [leaf for leaf, _ in network.leaves()]


def test_places_depend_on_the_structure_alone() -> None:
    """Rounds with training between them are rebuilt without it, so weights must not decide what is there."""
    data = evidence(named("vgg"))

    def rounds(train: bool) -> Network:
        network = named("vgg")
        for path in ("features.9+depth", "features.14+width", "features_9_grown+depth", "classifier.0+width"):
            apply(GROW, network, path, data)
            if train:
                with torch.no_grad():
                    for parameter in network.module.parameters():
                        parameter.add_(0.05 * torch.randn_like(parameter))
        return network

    trained, rebuilt = rounds(True), rounds(False)
    rebuilt.module.load_state_dict(trained.module.state_dict())
    assert difference(trained, rebuilt, data.batches) == 0


class TestContract(PluginContract):
    plugin = GROW


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kit_finds_nothing_on(name: str) -> None:
    findings = check_plugin(GROW, {name: named(name)}, most_sites=2)
    assert not findings, "\n".join(map(str, findings))
