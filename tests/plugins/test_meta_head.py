"""The meta-head plugin: the document's counts, its layers, decompositions that are exact where they can be, forms."""

from __future__ import annotations

import itertools

import onnx
import pytest
import torch
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.layer_removal.plugin import LayerRemoval
from compressor_plugins.meta_head.fit import fit_bias, fit_groups, group_moments
from compressor_plugins.meta_head.layers import MetaConv, MetaLayer, MetaLinear, prelu_form, prelu_pays
from compressor_plugins.meta_head.order import best_places, better_order, kept_energy
from compressor_plugins.meta_head.plugin import MetaHead
from hypothesis import given
from hypothesis import strategies as st
from modern import modern
from networks import NETWORKS
from pairing import in_a_row
from rewriting import apply, chain, correlation, evidence, named, parity, reason, site, traced
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import difference
from compressor.measure.session import OnnxModel
from compressor.models import build
from compressor.models.meta import MetaHead as DocumentHead
from compressor.plugin import refusals_of, sites_of
from compressor.testing import PluginContract, check_plugin
from compressor.testing.networks import small_networks

LINES_AND_VOLUMES = [(nn.Conv1d, (8, 20)), (nn.Conv3d, (8, 5, 6, 4))]
PRELU = MetaHead(activation="prelu", layers="linear", min_bytes=0, allow_slower=True)
PLAIN = MetaHead(min_bytes=0)


def alone(leaf: nn.Module, shape: tuple[int, ...]) -> Network:
    """A network of this one leaf."""
    network = traced(nn.Sequential(nn.Identity()), shape)
    editor = Editor(network)
    editor.replace("0", leaf)
    editor.commit()
    return network


# --- the document ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "groups", "mixed", "count"), [
    ("t1", 4, 4, 26_750), ("t2", 16, 8, 292_961), ("t3", 16, 8, 1_516_766),
])  # fmt: skip
def test_heads_count_as_in_the_document(name: str, groups: int, mixed: int, count: int) -> None:
    """The PReLU behind the layer, which the document counts with the Meta layer, is the network's own."""
    network = capture(build(f"{name}-conv2d"), (3, 32, 32))
    (found,) = sites_of(PRELU, network)
    inputs, outputs = network.leaf(found.path).in_features, network.leaf(found.path).out_features
    apply(PRELU, network, found.path, choice={"groups": groups, "mixed": mixed})
    leaf, width = network.leaf(found.path), outputs // mixed
    own = groups * (inputs // groups * width + width) + groups + groups * mixed
    assert sum(parameter.numel() for parameter in leaf.parameters()) == own
    assert network.parameter_count == network_cost(network).parameter_count == count
    if name != "t3":  # which takes seconds to capture
        assert network_cost(network).macs == network_cost(capture(build(f"{name}-meta-head"), (3, 32, 32))).macs


def test_the_layer_is_the_documents() -> None:
    """The same weights in the network's Meta head, which is written with one module per group."""
    head = DocumentHead(24, 4, 5, 3).eval()
    leaf = MetaLinear(
        torch.stack([branch[0].weight for branch in head.groups.branches]),
        torch.stack([branch[0].bias for branch in head.groups.branches]),
        head.meta.mix.weight[:, :, 0].t(),
        4,
        slope=torch.cat([branch[1].weight for branch in head.groups.branches]),
    ).eval()
    x = torch.randn(7, 24)
    assert torch.allclose(head.act(leaf(x)), head(x), atol=1e-6)


@pytest.mark.parametrize(("channels", "outputs", "groups", "mixed"), [(16, 32, 4, 8), (64, 64, 8, 8), (12, 8, 2, 2)])
def test_convolutions_count_as_in_the_document(channels: int, outputs: int, groups: int, mixed: int) -> None:
    """G(h·v·C/G·L + L) + G·M: the document's without its PReLUs and BatchNorms; the layer as it is defined."""
    network = chain(nn.Conv2d(channels, outputs, 3, 2, 1), shape=(channels, 7, 7))
    leaf = apply(PLAIN, network, "0", choice={"groups": groups, "mixed": mixed}).leaf("0")
    width = outputs // mixed
    count = groups * (9 * channels // groups * width + width) + groups * mixed
    assert sum(parameter.numel() for parameter in leaf.parameters()) == count
    x = torch.randn(2, channels, 7, 7)
    branches = [
        nn.functional.conv2d(part, leaf.weight[g], leaf.bias[g], stride=2, padding=1)
        for g, part in enumerate(x.chunk(groups, 1))
    ]
    wanted = torch.cat([sum(leaf.mix[g, m] * branches[g] for g in range(groups)) for m in range(mixed)], 1)
    assert torch.allclose(leaf(x), wanted, atol=1e-5)


# --- the warm start --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ranks", [1, 2])
def test_structured_weights_are_found_again(ranks: int) -> None:
    own, mix = torch.randn(4 * ranks, 5, 6), torch.randn(4 * ranks, 3)
    dense = torch.einsum("grli,grm->mlgi", own.view(4, ranks, 5, 6), mix.view(4, ranks, 3)).reshape(15, 24)
    rows = torch.randn(500, 24) @ torch.randn(24, 24)
    for known in (None, group_moments(rows, 4)):
        found, mixing = fit_groups(dense, 4, 3, ranks, known=known)
        again = torch.einsum("grli,grm->mlgi", found.view(4, ranks, 5, 6), mixing.view(4, ranks, 3)).reshape(15, 24)
        assert torch.allclose(again, dense, atol=1e-3)
        bias = fit_bias(dense, torch.ones(15), found, mixing, 4, known)
        assert torch.allclose((mixing.t() @ bias).flatten(), torch.ones(15), atol=1e-2)


@pytest.mark.parametrize(("apart", "exact"), [(10.0, True), (1e-2, False)])
def test_biases_do_not_cancel_where_groups_mix_nearly_alike(apart: float, exact: bool) -> None:
    """Least squares, which is exact, would take biases that are many times their sum."""
    torch.manual_seed(0)
    mix = torch.ones(4, 4) + apart * torch.linalg.qr(torch.randn(4, 4))[0]
    wanted = torch.randn(4 * 5)
    bias = fit_bias(torch.zeros(20, 8), wanted, torch.zeros(4, 5, 2), mix, 4)
    least_squares = torch.linalg.pinv(mix.t()) @ wanted.view(4, 5)
    assert torch.allclose(bias, least_squares, atol=1e-4) == exact
    assert (float(least_squares.norm()) > 50) != exact
    assert float(bias.norm()) < 2 * float(wanted.norm())


def test_a_head_with_slopes_and_dropout_can_be_trained_on_from_where_it_starts() -> None:
    """Groups of a dense layer that answer nearly alike: biases that cancel would make noise of a dropout."""
    torch.manual_seed(0)
    network = chain(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 10), shape=(32,))
    with torch.no_grad():
        network.leaf("0").weight.copy_(torch.ones(4, 1).kron(torch.randn(4, 32)) + 1e-2 * torch.randn(16, 32))
        network.leaf("0").bias.copy_(torch.randn(16))
    leaf, rows = apply(PRELU, network, "0", choice={"groups": 4, "mixed": 4}).leaf("0"), torch.randn(500, 32)
    assert isinstance(leaf, MetaLinear)
    assert leaf.dropout > 0
    still, shaken = leaf.eval()(rows), leaf.train()(rows)
    assert float((shaken - still).square().mean()) < float(still.square().mean())


def error(weight: torch.Tensor, rows: torch.Tensor, ranks: int, *, data: bool, softmax: bool = False) -> float:
    known = group_moments(rows, 4) if data else None
    own, mix = fit_groups(weight, 4, 4, ranks, known=known, softmax=softmax)
    leaf = MetaLinear(own, None, mix, 4, normalise="softmax" if softmax else "none")
    return float((leaf(rows) - rows @ weight.t()).square().mean() / (rows @ weight.t()).var())


def test_data_and_ranks_bring_the_fit_closer() -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(32, 64), torch.randn(2000, 64) @ torch.randn(64, 64) * torch.rand(64) ** 4
    assert error(weight, rows, 1, data=True) < 0.95 * error(weight, rows, 1, data=False)
    assert error(weight, rows, 2, data=True) < 0.8 * error(weight, rows, 1, data=True)
    assert error(weight, rows, 4, data=True) < 1e-3
    assert error(weight, rows, 1, data=True) < error(weight, rows, 1, data=True, softmax=True) < 1


def test_a_softmax_mix_is_positive_and_sums_to_one() -> None:
    network = apply(MetaHead(normalise="softmax"), named("vgg"), "classifier.0")
    mixing = network.leaf("classifier.0").mixing()
    assert bool((mixing > 0).all())
    assert torch.allclose(mixing.sum(0), torch.ones(mixing.shape[1]))
    assert parity(network, evidence(network)).ok


def test_prelu_starts_linear_and_the_network_follows_its_old_output() -> None:
    torch.manual_seed(0)
    network = chain(nn.Flatten(), nn.Linear(192, 64), nn.ReLU(), nn.Linear(64, 10), shape=(3, 8, 8))
    data = evidence(network, 512)
    choice = {"groups": 4, "mixed": 2}
    plain, prelu = (apply(plugin, network.fork(), "1", data, choice) for plugin in (PLAIN, PRELU))
    x = data.batches[0][0]
    assert torch.allclose(plain(x), prelu(x), atol=1e-4)
    follows = {
        rank: correlation(
            network, apply(MetaHead(rank=rank, min_bytes=-99999), network.fork(), "1", data, choice), data
        )
        for rank in (1, 2)
    }
    assert 0.5 < follows[1] < follows[2]
    assert follows[2] > 0.999


# --- the order of the hidden units -----------------------------------------------------------------------------------


def planted(outputs: int, inputs: int, groups: int, mixed: int) -> torch.Tensor:
    """A weight (H, K) that groups and mix express exactly, in their order."""
    own, mix = torch.randn(groups, outputs // mixed, inputs // groups), torch.randn(groups, mixed)
    return torch.einsum("gli,gm->mlgi", own, mix).reshape(outputs, inputs)


def by_group(weight: torch.Tensor, groups: int) -> torch.Tensor:
    return weight.view(len(weight), groups, -1).transpose(0, 1)


@pytest.mark.parametrize(("outputs", "inputs", "groups", "mixed"), [(64, 256, 16, 8), (120, 256, 8, 4), (48, 96, 8, 2)])
def test_a_structure_hidden_by_the_order_of_the_units_is_found(outputs, inputs, groups, mixed) -> None:
    weight = planted(outputs, inputs, groups, mixed)
    hidden = weight[torch.randperm(outputs)]
    whole = float(weight.square().sum())
    assert kept_energy(by_group(weight, groups), mixed) > 0.999 * whole
    assert kept_energy(by_group(hidden, groups), mixed) < 0.7 * whole
    order = better_order(by_group(hidden, groups), mixed, 0.01)
    assert sorted(order.tolist()) == list(range(outputs))
    assert kept_energy(by_group(hidden[order], groups), mixed) > 0.999 * whole


def one_after_the_other(gain: Tensor) -> list[int]:
    """A place for each row, the largest gains first, of equal ones the first."""
    taken = [-1] * len(gain)
    for entry in gain.flatten().argsort(descending=True, stable=True).tolist():
        row, column = divmod(entry, len(gain))
        if taken[row] < 0 and column not in taken:
            taken[row] = column
    return taken


@given(size=st.integers(1, 9), levels=st.integers(1, 40), seed=st.integers(0, 999))
def test_rows_find_their_places_as_if_one_chose_after_the_other(size: int, levels: int, seed: int) -> None:
    gain = torch.randint(levels, (size, size), generator=torch.Generator().manual_seed(seed)).float()
    assert best_places(gain).tolist() == one_after_the_other(gain)


def test_weights_without_structure_gain_little_and_a_good_order_stays() -> None:
    """Control: there is nothing to find in noise, and nothing to do where the order is right already."""
    noise, weight = by_group(torch.randn(64, 256), 16), by_group(planted(64, 256, 16, 8), 16)
    whole, before = float(noise.square().sum()), kept_energy(noise, 8)
    order = better_order(noise, 8, 0.0)
    assert before <= kept_energy(noise[:, order], 8) < before + 0.05 * whole
    assert better_order(noise, 8, 0.2) is None
    assert better_order(weight, 8, 0.01) is None


def test_the_rewrite_counts_hidden_units_anew_and_what_reads_them_follows() -> None:
    torch.manual_seed(0)
    network = chain(
        nn.Flatten(), nn.Linear(192, 64), nn.BatchNorm1d(64), nn.PReLU(64), nn.Linear(64, 10), shape=(3, 8, 8)
    )
    layer = network.leaf("1")
    with torch.no_grad():
        layer.weight.copy_(planted(64, 192, 8, 4)[torch.randperm(64)] / 14)
    data, choice = evidence(network, 128), {"groups": 8, "mixed": 4}
    off = {}
    for permute in (True, False):
        after = apply(MetaHead(min_bytes=0, permute=permute), network.fork(), "1", choice=choice)
        off[permute] = float((after(data.batches[0][0]) - network(data.batches[0][0])).abs().max())
        assert torch.equal(after.leaf("4").weight, network.leaf("4").weight) is not permute
    assert off[True] < 1e-4
    assert off[False] > 0.1


def test_units_that_something_else_counts_keep_their_order() -> None:
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(64, 32), nn.Linear(32, 4)

        def forward(self, x):
            return self.second(self.first(x.flatten(1)).view(-1, 8, 4).transpose(1, 2).flatten(1))

    network = capture(Shuffled(), (1, 8, 8))
    with torch.no_grad():
        network.leaf("first").weight.copy_(planted(32, 64, 4, 4)[torch.randperm(32)])
    before = network.leaf("second").weight.clone()
    apply(MetaHead(min_bytes=0), network, "first", choice={"groups": 4, "mixed": 4})
    assert torch.equal(network.leaf("second").weight, before)


# --- the file --------------------------------------------------------------------------------------------------------


def leaf_of(groups: int, width: int, reads: int, mixed: int, ranks: int = 1, **options) -> MetaLinear:
    results = groups * ranks
    own, bias = torch.randn(results, width, reads) / reads**0.5, torch.randn(results, width)
    return MetaLinear(own, bias, torch.randn(results, mixed), groups, **options).eval()


@pytest.mark.parametrize(("leaf", "operators"), [
    (leaf_of(4, 10, 32, 4), {"Gemm": 1, "MatMul": 1, "PRelu": 0}),
    (leaf_of(4, 10, 32, 4, 2), {"Gemm": 1, "MatMul": 1, "PRelu": 0}),
    (leaf_of(4, 10, 32, 4, slope=torch.rand(4)), {"Gemm": 1, "Conv": 1, "PRelu": 1, "EyeLike": 1}),
    (leaf_of(8, 16, 64, 8), {"Gemm": 1, "MatMul": 1}),
    (leaf_of(8, 64, 64, 8), {"Gemm": 0, "MatMul": 2, "PRelu": 0}),
    (leaf_of(8, 64, 64, 8, 3), {"Gemm": 0, "MatMul": 2, "Reshape": 3}),
    (leaf_of(8, 16, 64, 8, slope=torch.rand(8)), {"Gemm": 0, "MatMul": 2, "PRelu": 1}),
    (leaf_of(8, 64, 64, 8, 2, slope=torch.rand(16)), {"MatMul": 2, "PRelu": 0, "Relu": 1, "Concat": 1}),
    (leaf_of(8, 64, 64, 8, slope=torch.rand(8), normalise="softmax"), {"Softmax": 0, "Relu": 1}),
])  # fmt: skip
def test_linear_forms_in_the_file(leaf: MetaLinear, operators: dict[str, int]) -> None:
    """Never Einsum, never a dense block diagonal; alone and with a BatchNorm behind."""
    inputs = leaf.groups * leaf.weight.shape[2]
    network = alone(leaf, (inputs,))
    model = to_onnx(network)
    found = [node.op_type for node in onnx.load_from_string(model).graph.node]
    assert {name: found.count(name) for name in operators} == operators
    assert "Einsum" not in found
    parameters = sum(parameter.numel() for parameter in leaf.parameters())
    assert len(model) < 4 * (2 * parameters if leaf.slope is not None else parameters + leaf.outputs) + 1500
    scale, shift = torch.rand(leaf.outputs) - 0.5, torch.randn(leaf.outputs)
    for batch in (1, 5):
        x = torch.randn(batch, inputs)
        for layer, wanted in ((leaf, leaf(x)), (leaf.fold_affine(scale, shift), leaf(x) * scale + shift)):
            assert torch.allclose(layer(x), wanted, atol=1e-5)
            file = OnnxModel(to_onnx(alone(layer, (inputs,))))
            assert torch.allclose(torch.from_numpy(file.run(x)[0]), wanted, atol=1e-4)


@pytest.mark.parametrize(("channels", "outputs", "groups", "mixed", "size", "form"), [
    (64, 64, 4, 4, 18, "product"), (256, 256, 16, 4, 5, "reshape"), (32, 32, 4, 4, 16, "dense"),
    (64, 64, 16, 4, 16, "dense"), (64, 64, 4, 4, 4, "dense"), (32, 32, 2, 2, 16, "product"),
])  # fmt: skip
def test_convolution_forms_in_the_file(channels, outputs, groups, mixed, size, form) -> None:
    layers = (nn.Conv2d(channels, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
    before = chain(*layers, nn.Flatten(), shape=(channels, size, size))
    for rank in (1, 2):
        plugin = MetaHead(min_bytes=0, rank=rank)
        if rank >= mixed:
            continue
        after = apply(plugin, before.fork(), "0", choice={"groups": groups, "mixed": mixed})
        if rank == 1:
            assert after.leaf("0").form() == form
        model = to_onnx(after)
        found = [node.op_type for node in onnx.load_from_string(model).graph.node]
        assert "BatchNormalization" not in found
        assert "Einsum" not in found
        assert parity(after, evidence(after, 8)).ok
        saved = 4 * (before.leaf("0").weight.numel() - sum(p.numel() for p in after.leaf("0").parameters()))
        assert len(to_onnx(before)) - len(model) > saved - 8 * outputs - 1500


# --- where it acts ---------------------------------------------------------------------------------------------------


def test_sites_are_hidden_linear_layers_and_convolutions() -> None:
    network = named("vgg")
    linear = [found.path for found in sites_of(MetaHead(layers="linear"), network)]
    assert linear == ["classifier.0", "classifier.3"]
    assert {found.path for found in sites_of(MetaHead(), network)} > set(linear)
    assert all(path.startswith("features") for path in (s.path for s in sites_of(MetaHead(layers="conv"), network)))
    assert "gives the classes" in reason(MetaHead(), network, "classifier.6")
    assert "no groups of 3 inputs" in reason(MetaHead(), network, "features.0")


def test_knobs_hold_what_divides_and_saves() -> None:
    network = chain(nn.Flatten(), nn.Linear(192, 40), nn.ReLU(), nn.Linear(40, 10), shape=(3, 8, 8))
    knobs = site(MetaHead(), network, "1").knobs
    assert knobs["groups"].options == (16, 4, 8, 32)
    assert knobs["mixed"].options == (4, 8, 2)
    assert "save" in reason(MetaHead(min_bytes=10**6), network, "1")
    assert "mixed" not in site(MetaHead(rank=4), network, "1").knobs  # 8 alone saves


def test_prelu_is_refused_where_it_would_be_slower() -> None:
    """Small heads; the document's of T2 and T3 are."""
    fast = MetaHead(activation="prelu", layers="linear", min_bytes=0)
    for inputs, outputs, offered in ((1152, 64, False), (784, 120, False), (2048, 40, True), (1024, 256, True)):
        network = chain(nn.Linear(inputs, outputs), nn.ReLU(), nn.Linear(outputs, 10), shape=(inputs,), sensitive=False)
        assert bool(sites_of(fast, network)) is offered
        assert sites_of(MetaHead(layers="linear"), network)
        if not offered:
            assert "slower than the dense layer" in reason(fast, network, "0")
            assert sites_of(PRELU, network)
        else:
            knobs = site(fast, network, "0").knobs
            pairs = itertools.product(knobs["groups"].options, knobs["mixed"].options)
            assert all(prelu_pays(inputs, outputs, groups, mixed) for groups, mixed in pairs)
            assert 4 in knobs["groups"].options
            assert 4 in knobs["mixed"].options
    assert prelu_form(40, 4, 10) == prelu_form(40, 16, 10) == "grouped"
    assert prelu_form(64, 4, 16) == prelu_form(512, 16, 8) == "batched"


def test_grouped_shared_and_odd_layers_are_refused() -> None:
    grouped = chain(nn.Conv2d(16, 16, 3, groups=2), shape=(16, 8, 8))
    assert "grouped already" in reason(PLAIN, grouped, "0")
    mirrored = traced(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect")), (16, 8, 8))
    assert "pads with reflect" in reason(PLAIN, mirrored, "0")
    assert not refusals_of(PLAIN, chain(nn.Conv2d(16, 16, 3), shape=(16, 8, 8)))


def test_a_rewritten_layer_is_no_site_again() -> None:
    network = apply(MetaHead(), named("vgg"), "classifier.0")
    assert "classifier.0" not in [place.path for place in MetaHead().sites(network)]


@pytest.mark.parametrize("name", ["vgg", "resnet"])
def test_both_orders_with_other_plugins_work_or_refuse(name: str) -> None:
    for other in (Binarize(), Binarize(activations="binary"), LayerRemoval()):
        for first, second in ((MetaHead(activation="prelu", allow_slower=True), other), (other, MetaHead())):
            network = named(name)
            assert all(in_a_row(network, evidence(network, 32), first, second))


# --- the kit ---------------------------------------------------------------------------------------------------------


class TestPlainContract(PluginContract):
    plugin = PLAIN


class TestPReLUContract(PluginContract):
    plugin = MetaHead(activation="prelu", rank=2, normalise="softmax", min_bytes=1000, allow_slower=True)


@pytest.mark.parametrize(("name", "activation"), [*((name, "none") for name in NETWORKS), ("vgg", "prelu")])
def test_the_kit_finds_nothing_on(name: str, activation) -> None:
    findings = check_plugin(
        MetaHead(activation=activation, min_bytes=1000, allow_slower=True), {name: named(name)}, most_sites=2
    )
    assert not [finding for finding in findings if "has no site" not in str(finding)], "\n".join(map(str, findings))


@pytest.mark.parametrize("kind", [MetaLinear, MetaConv])
def test_the_kit_notices_a_mix_that_is_not_in_the_file(kind: type, monkeypatch) -> None:
    monkeypatch.setattr(MetaLayer, "_emit_dense_weight", lambda self, builder: builder.constant(torch.ones(
        self.outputs, self.groups, self.weight[0, 0].numel())))  # fmt: skip
    plugin = MetaHead(layers="linear" if kind is MetaLinear else "conv", min_bytes=1000)
    assert any("ONNX" in str(finding) for finding in check_plugin(plugin, {"chain": small_networks()["chain"]}))


@pytest.mark.parametrize(("kind", "shape"), LINES_AND_VOLUMES)
def test_convolutions_of_lines_and_volumes_that_have_the_structure_keep_their_function(kind: type, shape) -> None:
    """The blocks of outputs are multiples of one another within each group, so one result per group says all."""
    layer = kind(8, 12, 3, 2, padding=1, bias=False)
    with torch.no_grad():
        small = torch.randn(2, 3, 4, *layer.weight.shape[2:])
        mix = torch.randn(2, 4)
        dense = torch.einsum("gm,glc...->mlgc...", mix, small)
        layer.weight.copy_(dense.reshape(layer.weight.shape))
    network = chain(layer, nn.ReLU(), shape=shape, sensitive=False)
    data = evidence(network)
    plugin = MetaHead(min_bytes=0, layers="conv")
    after = apply(plugin, network.fork(), "0", data, {"groups": 2, "mixed": 4})
    assert isinstance(after.leaf("0"), MetaConv)
    assert difference(network, after, data.batches) < 1e-4
    assert parity(after, data).ok
    assert len(to_onnx(after)) < len(to_onnx(network))


def test_what_has_no_groups_to_split_says_so() -> None:
    assert "tokens" in reason(PLAIN, modern("channels-last"), "block1.wide")
    assert "is a ConvTranspose1d" in reason(PLAIN, modern("signals"), "up.0")
