"""The conv3d plugin: equal to nn.Conv3d, every feasible kernel, the document's counts, fits, forms in the file."""

from __future__ import annotations

import onnx
import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.conv3d.fit import Moments, moments
from compressor_plugins.conv3d.layer import ChannelConv3d, SameConv3d, ValidConv3d
from compressor_plugins.conv3d.plugin import Conv3d, same_choices, substitute, valid_choices
from compressor_plugins.conv3d.toeplitz import toeplitz
from compressor_plugins.layer_removal.plugin import LayerRemoval
from networks import NETWORKS
from pairing import in_a_row
from rewriting import apply, chain, evidence, named, parity, reason, site, traced
from torch import nn

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.measure.session import OnnxModel
from compressor.models import build
from compressor.plugin import refusals_of, sites_of
from compressor.testing import PluginContract, check_plugin
from compressor.testing.networks import small_networks

SMALL = Conv3d(min_bytes=0)
SAME = Conv3d(mode="same", min_bytes=0)


def rewritten(conv: nn.Conv2d, mode: str, count: int, size: int = 9) -> tuple[ChannelConv3d, nn.Conv3d]:
    """The leaf without data, and torch's own 3-D convolution with the same weights."""
    leaf = substitute(conv, mode, count, Moments.unknown(conv.in_channels), size**2)
    kernels, volumes, depth, *kernel = leaf.weight.shape
    g = leaf.geometry
    settings = [(1, *g.stride), (leaf.depth_padding, *g.padding), (1, *g.dilation)]
    conv3d = nn.Conv3d(volumes, kernels, (depth, *kernel), *settings, bias=leaf.bias is not None)
    conv3d.weight = leaf.weight
    conv3d.bias = leaf.bias
    return leaf, conv3d


def alone(leaf: nn.Module, shape: tuple[int, ...]) -> Network:
    """A network of this one leaf."""
    network = traced(nn.Sequential(nn.Identity()), shape)
    editor = Editor(network)
    editor.replace("0", leaf)
    editor.commit()
    return network


# --- the algebra -----------------------------------------------------------------------------------------------------


def test_toeplitz_is_what_its_formula_says() -> None:
    weight = torch.randn(2, 3, 3, 1, 2)
    full = toeplitz(weight, 5, 1)
    for place in range(5):
        for channel in range(5):
            depth = channel - place + 1
            wanted = weight[:, :, depth] if 0 <= depth < 3 else torch.zeros(2, 3, 1, 2)
            assert torch.equal(full[:, :, place, channel], wanted)


@pytest.mark.parametrize(("channels", "outputs"), [(16, 32), (12, 12), (8, 24), (3, 4), (5, 2)])
def test_every_feasible_kernel_is_torchs_conv3d(channels: int, outputs: int) -> None:
    """(C − u + 1)·s = D; the same numbers, in the order of places instead of kernels; in torch and in the file."""
    conv = nn.Conv2d(channels, outputs, 3, 2, 1, dilation=(1, 2))
    x = torch.randn(2, channels, 9, 9)
    choices = valid_choices(conv)
    assert set(choices) == {s for s in range(1, outputs) if outputs % s == 0 and s >= outputs / channels}
    for kernels, per_tap in choices.items():
        leaf, conv3d = rewritten(conv, "valid", kernels)
        depth = leaf.weight.shape[2]
        assert (channels - depth + 1) * kernels == outputs
        assert sum(p.numel() for p in leaf.parameters()) == (9 * depth + 1) * kernels == 9 * per_tap + kernels
        wanted = conv3d(x.unsqueeze(1)).transpose(1, 2).flatten(1, 2)
        assert torch.allclose(leaf(x), wanted, atol=1e-5)
        macs = leaf.cost((channels, 9, 9)).mac_count
        assert macs * channels == depth * conv.weight.numel() * wanted[0, 0].numel()
        file = OnnxModel(to_onnx(alone(leaf, (channels, 9, 9))))
        assert torch.allclose(torch.from_numpy(file.run(x)[0]), wanted, atol=1e-5)


@pytest.mark.parametrize(("channels", "outputs"), [(16, 32), (12, 12), (24, 8)])
def test_every_number_of_volumes_is_torchs_conv3d(channels: int, outputs: int) -> None:
    conv = nn.Conv2d(channels, outputs, 3, padding=1)
    x = torch.randn(2, channels, 6, 6)
    assert same_choices(conv)
    for volumes, per_tap in same_choices(conv).items():
        leaf, conv3d = rewritten(conv, "same", volumes)
        wanted = conv3d(x.view(2, volumes, -1, 6, 6)).flatten(1, 2)
        assert torch.allclose(leaf(x), wanted, atol=1e-5)
        kernels = outputs * volumes // channels
        assert sum(p.numel() for p in leaf.parameters()) == (27 * volumes + 1) * kernels == 9 * per_tap + kernels
        file = OnnxModel(to_onnx(alone(leaf, (channels, 6, 6))))
        assert torch.allclose(torch.from_numpy(file.run(x)[0]), wanted, atol=1e-5)
        other = conv3d(x.view(2, volumes, -1, 6, 6)).transpose(1, 2).flatten(1, 2)
        assert outputs == kernels or kernels == 1 or not torch.allclose(leaf(x), other, atol=1e-2)


def test_parameters_of_sixteen_to_thirty_two_as_in_the_document() -> None:
    conv = nn.Conv2d(16, 32, 3, padding=1)
    found = {s: 9 * per_tap + s for s, per_tap in valid_choices(conv).items()}
    assert found == {2: 20, 4: 328, 8: 944, 16: 2176}


# --- the document's networks -----------------------------------------------------------------------------------------


def test_t1_reaches_the_documents_count() -> None:
    """83,526, where the BatchNorm of 32 channels is one of 2 there: 60 parameters."""
    network = capture(build("t1-conv2d"), (3, 32, 32))
    (middle,) = [path for path, leaf in network.leaves() if isinstance(leaf, nn.Conv2d) and leaf.in_channels == 16]
    apply(SAME, network, middle, choice={"volumes": 1})
    assert sum(p.numel() for p in network.leaf(middle).parameters()) == 56
    assert network_cost(network).parameter_count == network.parameter_count == 83_526 + 60


def test_t3_reaches_the_documents_count() -> None:
    """846,222, where 32 BatchNorms of 32 and 64 channels are such of 4 there."""
    network = capture(build("t3-conv2d"), (3, 32, 32))
    sites = [found.path for found in sites_of(SAME, network) if "branch.0.0" in found.path]
    assert len(sites) == 32
    for path in sites:
        apply(SAME, network, path, choice={"volumes": 4})
        assert sum(p.numel() for p in network.leaf(path).parameters()) == 436
    assert network.parameter_count == 846_222 + 16 * (2 * 32 - 8) + 16 * (2 * 64 - 8)


# --- the warm start --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "count"), [("valid", 4), ("same", 2)])
def test_what_is_a_conv3d_already_is_found_again(mode: str, count: int) -> None:
    """With data and without, in patches and channel by channel."""
    conv = nn.Conv2d(12, 12, 3, padding=1)
    source, _ = rewritten(conv, mode, count)
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.normal_()
        conv.weight.copy_(source.weight2d())
        conv.bias.copy_(source._per_output(source.bias))
    x = torch.randn(32, 12, 9, 9)
    known = moments(x, conv)
    assert known.mean.shape == (12, 9)
    few = Moments(known.mean[:, 4:5], known.covariance[:, 4:5, :, 4:5])
    for found in (known, few, Moments.unknown(12)):
        leaf = substitute(conv, mode, count, found, 81)
        assert (leaf(x) - conv(x)).abs().max() < 0.02 * conv(x).abs().max()
    conv.weight.data.normal_()
    assert (substitute(conv, mode, count, known, 81)(x) - conv(x)).abs().max() > 0.2 * conv(x).abs().max()


def test_without_data_kernels_are_means_of_diagonals() -> None:
    conv = nn.Conv2d(6, 8, 3)
    leaf = substitute(conv, "valid", 4, Moments.unknown(6), 1)
    diagonal = [(conv.weight[j, k] + conv.weight[4 + j, 1 + k]) / 2 for j in range(4) for k in range(5)]
    assert torch.allclose(leaf.weight.flatten(0, 2), torch.stack(diagonal), atol=2e-3)


def test_the_fit_on_activations_is_the_better_one() -> None:
    """Least squares on the layer's own input; correlated channels make the difference."""
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 16, 3, padding=1)
    x = F.conv2d(torch.randn(64, 6, 12, 12), torch.randn(16, 6, 3, 3)).relu()
    error = {}
    for name, known in (("data", moments(x, conv)), ("none", Moments.unknown(16))):
        leaf = substitute(conv, "valid", 8, known, 100)
        error[name] = float((leaf(x) - conv(x)).square().mean() / conv(x).var())
    assert error["data"] < 0.9 * error["none"]


def test_evidence_is_used_and_not_needed() -> None:
    before = named("vgg")
    data = evidence(before)
    path = sites_of(Conv3d(), before)[-1].path
    weights = [apply(Conv3d(), before.fork(), path, given).leaf(path).weight for given in (data, None)]
    assert not torch.allclose(*weights, atol=1e-3)


# --- the file --------------------------------------------------------------------------------------------------------


def only(conv: nn.Conv2d, size: int) -> Network:
    layers = (conv, nn.BatchNorm2d(conv.out_channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return chain(*layers, shape=(conv.in_channels, size, size))


@pytest.mark.parametrize(("conv", "kernels", "size", "operators"), [
    (nn.Conv2d(64, 64, 3, padding=1), 2, 18, {"Conv": 2, "Slice": 3, "Concat": 1}),
    (nn.Conv2d(128, 256, 3, padding=1), 4, 3, {"Conv": 4, "Slice": 5, "Concat": 1}),
    (nn.Conv2d(64, 64, 3, padding=1), 2, 8, {"Conv": 1, "Slice": 1, "Transpose": 1}),
    (nn.Conv2d(64, 64, 3, padding=1, stride=2), 16, 8, {"Conv": 1, "Slice": 1, "Transpose": 1}),
    (nn.Conv2d(32, 64, 3, padding=1), 2, 16, {"Conv": 1, "Slice": 0, "Tile": 1}),
    (nn.Conv2d(12, 24, 3, padding=1), 2, 6, {"Conv": 1, "Slice": 1}),
])  # fmt: skip
def test_forms_in_the_file(conv: nn.Conv2d, kernels: int, size: int, operators: dict[str, int]) -> None:
    before = only(conv, size)
    after = apply(SMALL, before.fork(), "0", choice={"kernels": kernels})
    model = to_onnx(after)
    found = [node.op_type for node in onnx.load_from_string(model).graph.node]
    assert {name: found.count(name) for name in operators} == operators
    assert "BatchNormalization" not in found
    assert parity(after, evidence(after, 8)).ok
    saved = 4 * (conv.weight.numel() - after.leaf("0").weight.numel())
    assert len(to_onnx(before)) - len(model) > saved - 2500


def test_a_layer_takes_a_forty_eighth_of_its_bytes() -> None:
    before = only(nn.Conv2d(128, 128, 3, padding=1), 8)
    after = apply(Conv3d(), before.fork(), "0", choice={"kernels": 2})
    assert len(to_onnx(before)) > 48 * len(to_onnx(after))


# --- where it acts ---------------------------------------------------------------------------------------------------


def test_choices_are_those_that_save_the_default_first() -> None:
    network = only(nn.Conv2d(64, 64, 3, padding=1), 8)
    assert site(Conv3d(), network, "0").knobs["kernels"].options == (16, 32, 8, 4, 2, 1)
    assert site(Conv3d(mode="same"), network, "0").knobs["volumes"].options == (16, 8, 4, 2, 1)
    assert site(Conv3d(min_bytes=100_000), network, "0").knobs["kernels"].options == (16, 8, 4, 2, 1)


def test_refusals_say_why() -> None:
    def refused(conv: nn.Conv2d, plugin: Conv3d = SMALL) -> str:
        return reason(plugin, traced(nn.Sequential(conv), (conv.in_channels, 8, 8)), "0")

    assert "grouped" in refused(nn.Conv2d(8, 8, 3, groups=2))
    assert "pads with reflect" in refused(nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"))
    assert "no kernel fits in mode valid" in refused(nn.Conv2d(3, 7, 3))
    assert "no kernel fits in mode same" in refused(nn.Conv2d(2, 8, 3), SAME)
    assert "no choice saves 2000 bytes" in refused(nn.Conv2d(6, 6, 3), Conv3d())
    assert not refusals_of(SMALL, only(nn.Conv2d(8, 8, 3), 8))


def test_a_rewritten_layer_is_no_site_again() -> None:
    network = apply(SMALL, only(nn.Conv2d(8, 8, 3), 8), "0")
    assert not list(SMALL.sites(network))


@pytest.mark.parametrize("name", ["vgg", "squeezenet"])
def test_both_orders_with_other_plugins_work_or_refuse(name: str) -> None:
    for other in (Binarize(), Binarize(activations="binary"), LayerRemoval()):
        for first, second in ((Conv3d(), other), (other, Conv3d())):
            network = named(name)
            assert all(in_a_row(network, evidence(network, 32), first, second))


# --- the kit ---------------------------------------------------------------------------------------------------------


class TestValidContract(PluginContract):
    plugin = SMALL


class TestSameContract(PluginContract):
    plugin = SAME


@pytest.mark.parametrize(("name", "mode"), [*((name, "valid") for name in NETWORKS), ("vgg", "same")])
def test_the_kit_finds_nothing_on(name: str, mode) -> None:
    findings = check_plugin(Conv3d(mode=mode, min_bytes=1000), {name: named(name)}, most_sites=2)
    assert not [finding for finding in findings if "has no site" not in str(finding)], "\n".join(map(str, findings))


@pytest.mark.parametrize("kind", [ValidConv3d, SameConv3d])
def test_the_kit_notices_a_wrong_weight_in_the_file(kind: type, monkeypatch) -> None:
    right = kind._emit_weight2d
    monkeypatch.setattr(kind, "_emit_weight2d", lambda self, builder: builder.op("Neg", [right(self, builder)]))
    plugin = SMALL if kind is ValidConv3d else SAME
    assert any("ONNX" in str(finding) for finding in check_plugin(plugin, {"chain": small_networks()["chain"]}))
