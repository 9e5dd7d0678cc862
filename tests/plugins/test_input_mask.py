"""The input-mask plugin: masks are black tiles exactly and small convolutions in the file; stride 1; where it acts."""

from __future__ import annotations

import onnx
import pytest
import torch
import torch.nn.functional as F
from compressor_plugins.binarize.plugin import Binarize
from compressor_plugins.input_mask.masked_conv import MaskedConv2d
from compressor_plugins.input_mask.parity_masks import CLASSES, DOCUMENT_MASKS, REFERENCE, tap_mask, tiles, useful_masks
from compressor_plugins.input_mask.plugin import InputMask, merged_taps
from compressor_plugins.input_mask.stems import stems
from compressor_plugins.input_mask.tap_sets import Axis, products
from compressor_plugins.input_mask.tiled_conv import TiledConv2d, TileImage
from compressor_plugins.layer_removal.plugin import LayerRemoval
from networks import NETWORKS
from pairing import in_a_row
from rewriting import apply, chain, evidence, named, parity, reason, site, traced
from torch import nn

from compressor.errors import Refusal
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

PLAIN = InputMask(merge_taps=False)


class Stem(nn.Module):
    """A convolution, padded on all sides or, as TensorFlow does it, below and to the right."""

    def __init__(self, kernel: int = 3, stride: int = 2, *, same: bool = False, channels: int = 3, width: int = 8):
        super().__init__()
        self.same = same
        padding = 0 if same else kernel // 2
        self.conv = nn.Conv2d(channels, width, kernel, stride, padding)
        self.head = nn.Linear(width, 5)

    def forward(self, x):
        x = F.pad(x, (0, 1, 0, 1)) if self.same else x
        return self.head(F.relu(self.conv(x)).mean((2, 3)))


def stem(size: int = 16, seed: int = 0, **options) -> Network:
    torch.manual_seed(seed)
    return capture(Stem(**options), (options.get("channels", 3), size, size))


def blackened(images: torch.Tensor, tile) -> torch.Tensor:
    """The images with every pixel outside the tile set to zero, one pixel at a time."""
    result = images.clone()
    for row in range(images.shape[2]):
        for column in range(images.shape[3]):
            if (row % 2, column % 2) not in tile:
                result[:, :, row, column] = 0
    return result


def tile_of(mask: str, padding: tuple[int, int]):
    return useful_masks((3, 3), padding)[mask][0]


# --- the algebra -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("same", [False, True], ids=["symmetric", "tensorflow"])
@pytest.mark.parametrize("mask", DOCUMENT_MASKS)
def test_a_masked_stem_is_the_stem_on_black_tiles_in_torch_and_in_the_file(mask: str, same: bool) -> None:
    for size in (16, 15):
        before = stem(size, same=same)
        after = apply(PLAIN, before.fork(), "conv", choice={"mask": mask})
        images = torch.randn(4, 3, size, size, generator=torch.Generator().manual_seed(1))
        wanted = before(blackened(images, tile_of(mask, (0, 0) if same else (1, 1))))
        assert torch.allclose(after(images), wanted, atol=1e-6)
        assert (torch.from_numpy(OnnxModel(to_onnx(after)).run(images)[0]) - wanted).abs().max() <= 1e-6
        assert not torch.allclose(before(images), wanted, atol=1e-3)


def test_the_padding_decides_which_pixels_a_mask_drops() -> None:
    assert tile_of("101000101", (1, 1)) == {(1, 1)}
    assert tile_of("101000101", (0, 0)) == {(0, 0)}
    for padding in ((0, 0), (1, 1), (0, 1)):
        assert set(useful_masks((3, 3), padding)) == set(DOCUMENT_MASKS)
    assert len(useful_masks((3, 3), (1, 1), stripes=True)) == 14
    assert REFERENCE not in useful_masks((3, 3), (1, 1), stripes=True)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation"), [
    (2, 2, 0, 1), (4, 4, 0, 1), (4, 2, 1, 1), (5, 2, 2, 1), (6, 2, 2, 1), (7, 2, 3, 1), (3, 4, 1, 1), (3, 2, 3, 3),
])  # fmt: skip
def test_any_kernel_of_even_stride(kernel: int, stride: int, padding: int, dilation: int) -> None:
    """Every mask, on images of even and odd size, as the file computes it."""
    for size in (22, 23):
        conv = nn.Conv2d(2, 40, kernel, stride, padding, dilation)
        images = torch.randn(2, 2, size, size)
        for tile, mask in useful_masks((kernel,) * 2, (padding,) * 2, (dilation,) * 2, stripes=True).values():
            masked = MaskedConv2d(
                conv.weight, conv.bias, mask, (size, size), stride=(stride,) * 2, padding=(padding,) * 4,
                dilation=(dilation,) * 2,
            )  # fmt: skip
            wanted = conv(blackened(images, tile))
            assert torch.allclose(masked(images), wanted, atol=1e-5)
            network = traced(nn.Sequential(nn.Identity()), (2, size, size))
            editor = Editor(network)
            editor.replace("0", masked)
            editor.commit()
            assert torch.allclose(torch.from_numpy(OnnxModel(to_onnx(network)).run(images)[0]), wanted, atol=1e-5)


def test_even_dilation_and_single_taps_leave_no_mask_to_choose() -> None:
    assert not useful_masks((3, 3), (2, 2), (2, 2))
    assert not useful_masks((1, 1), (0, 0))
    assert tap_mask(frozenset(CLASSES), (3, 3), (1, 1)).all()


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 3), (1, 1), (1, 2)])
def test_in_front_of_the_stem_the_tile_is_exact_at_every_stride_and_saves_nothing(kernel: int, stride: int) -> None:
    for same in (False, True):
        before = stem(15, kernel=kernel, stride=stride, same=same)
        plugin = InputMask(form="tile")
        found = site(plugin, before, "conv")
        assert len(found.knobs["mask"].options) == 10
        for name in found.knobs["mask"].options[::4]:
            after = apply(plugin, before.fork(), "conv", choice={"mask": name})
            tile = plugin._masks(dict(stems(before))["conv"])[name][0]
            images = torch.randn(2, 3, 15, 15)
            assert torch.allclose(after(images), before(blackened(images, tile)), atol=1e-6)
            assert parity(after, evidence(after)).ok
            assert network_cost(after) == network_cost(before)


@pytest.mark.parametrize(("kernel", "stride", "padding", "dilation", "size"), [
    (5, 1, (2, 2), 1, 12), (5, 1, (2, 1), 1, 11), (6, 1, (0, 3), 1, 12), (3, 3, (1, 1), 1, 14), (3, 1, (3, 0), 3, 13),
])  # fmt: skip
def test_folded_into_the_stem_the_tile_is_four_smaller_convolutions(kernel, stride, padding, dilation, size) -> None:
    images = torch.randn(2, 20, size, size)
    for tile in tiles(stripes=True):
        conv = nn.Conv2d(20, 12, kernel, stride, padding, dilation)
        tiled = TiledConv2d(conv.weight, conv.bias, tile, (size, size), stride=(stride, stride),
                            padding=(*padding, *padding), dilation=(dilation, dilation))  # fmt: skip
        if not all(phase.parts() for phase in tiled.phases()):
            assert not tiled.pays()
            continue
        wanted = conv(blackened(images, tile))
        scale, shift = torch.rand(12) + 0.5, torch.randn(12)
        for layer, expected in (
            (tiled, wanted),
            (tiled.fold_affine(scale, shift), wanted * scale.view(12, 1, 1) + shift.view(12, 1, 1)),
        ):
            network = traced(nn.Sequential(nn.Identity()), (20, size, size))
            editor = Editor(network)
            editor.replace("0", layer)
            editor.commit()
            assert torch.allclose(layer(images), expected, atol=1e-5)
            assert torch.allclose(torch.from_numpy(OnnxModel(to_onnx(network)).run(images)[0]), expected, atol=1e-5)
        even = all(side % 2 == 0 for side in wanted.shape[2:])
        dense = conv.weight.numel() * wanted[0, 0].numel()
        assert not even or network_cost(network).mac_count == dense * len(tile) / 4
        assert len(to_onnx(network)) < 4 * conv.weight.numel() + 4500


@pytest.mark.parametrize(("channels", "kernel", "mask", "folded"), [
    (12, 5, "1000", True), (3, 7, "1000", False), (12, 5, "1001", False), (16, 5, "1001", True), (16, 5, "0111", False),
    (64, 3, "010101010", False),
])  # fmt: skip
def test_the_tile_is_folded_only_where_that_is_faster(channels: int, kernel: int, mask: str, folded: bool) -> None:
    """Large kernels on many channels; for an ordinary stem it stays a product in front of the dense convolution."""
    after = stem(20, kernel=kernel, stride=1, channels=channels, width=32)
    apply(InputMask(form="tile"), after, "conv", choice={"mask": mask})
    assert isinstance(after.leaf("conv"), TiledConv2d) is folded
    assert parity(after, evidence(after, 4)).ok


def test_padding_by_other_leaves_is_folded_with_the_tile() -> None:
    before = stem(16, kernel=5, stride=1, channels=16, same=True)
    images = torch.randn(2, 16, 16, 16)
    plugin = InputMask(form="tile")
    after = apply(plugin, before.fork(), "conv", choice={"mask": "0001"})
    tile = plugin._masks(dict(stems(before))["conv"])["0001"][0]
    assert isinstance(after.leaf("conv"), TiledConv2d)
    assert torch.allclose(after(images), before(blackened(images, tile)), atol=1e-5)


def test_a_masked_pixel_is_the_mean_of_normalised_images_and_not_black() -> None:
    """Zero means the mean there, and the site says so."""
    network, mean, std = stem(), torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), 0.25
    raw = torch.rand(4, 3, 16, 16)
    tile = tile_of("101000101", (1, 1))
    kept = blackened(torch.ones_like(raw), tile)
    masked = apply(PLAIN, network.fork(), "conv", choice={"mask": "101000101"})((raw - mean) / std)
    filled, black = (network((raw * kept + fill * (1 - kept) - mean) / std) for fill in (mean, 0.0))
    assert torch.allclose(masked, filled, atol=1e-5)
    assert not torch.allclose(masked, black, atol=1e-2)
    assert "zeros of the network's input: the data set's mean" in site(PLAIN, network, "conv").about


# --- the warm start --------------------------------------------------------------------------------------------------


def test_merging_keeps_the_sum_of_the_kernel_and_the_answer_to_flat_images() -> None:
    weight = torch.randn(4, 3, 3, 3)
    for mask in [tap_mask(tile, (3, 3), (1, 1)) for tile in tiles(stripes=True)]:
        merged = merged_taps(weight, mask)
        assert not merged[:, :, ~mask].any()
        assert torch.allclose(merged.sum((2, 3)), weight.sum((2, 3)), atol=1e-5)
    centre = merged_taps(weight, tap_mask(frozenset({(0, 0)}), (3, 3), (1, 1)))
    assert torch.allclose(centre[:, :, 1, 1], weight.sum((2, 3)), atol=1e-5)
    corner = merged_taps(weight, tap_mask(frozenset({(1, 1)}), (3, 3), (1, 1)))
    wanted = weight[..., 0, 0] + (weight[..., 0, 1] + weight[..., 1, 0]) / 2 + weight[..., 1, 1] / 4
    assert torch.allclose(corner[:, :, 0, 0], wanted, atol=1e-5)


def test_merged_taps_follow_the_old_output_on_smooth_images_and_dropped_ones_do_not() -> None:
    before = stem(32, width=16)
    images = F.avg_pool2d(F.pad(torch.randn(8, 3, 32, 32), (4,) * 4, mode="reflect"), 9, 1)
    off = {
        merge: float((apply(InputMask(merge_taps=merge), before.fork(), "conv")(images) - before(images)).norm())
        for merge in (True, False)
    }
    assert off[True] < 0.3 * off[False]


# --- stride 1 becomes stride 2 ---------------------------------------------------------------------------------------


def test_a_stem_of_stride_one_gets_stride_two_and_the_first_pool_goes() -> None:
    network = capture(build("lenet"), (1, 28, 28))
    after = apply(PLAIN, network.fork(), "conv1", choice={"mask": "0001"})
    (found,) = [leaf for _, leaf in after.leaves() if isinstance(leaf, MaskedConv2d)]
    assert found.stride == (2, 2)
    assert sum(isinstance(leaf, nn.MaxPool2d) for _, leaf in network.leaves()) == 2
    assert sum(isinstance(leaf, nn.MaxPool2d) for _, leaf in after.leaves()) == 1
    images = torch.randn(3, 1, 28, 28)
    every_other = F.conv2d(F.pad(blackened(images, {(1, 1)}), (2,) * 4), network.leaf("conv1").weight, stride=2)
    assert torch.allclose(found(images) - found.bias.view(-1, 1, 1), every_other, atol=1e-5)
    assert parity(after, evidence(after)).ok


def test_a_network_with_global_pooling_may_shrink_instead() -> None:
    before = named("resnet")
    for repair, size in (("auto", 16), ("drop-pool", 16), ("shrink", 8)):
        after = apply(InputMask(repair=repair), before.fork(), "conv1")
        assert after.shape(after.calls_of("layer1.0.conv1")[0])[1] == size
        assert parity(after, evidence(after)).ok


def test_sizes_that_cannot_be_repaired_are_refused() -> None:
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10))
    network = chain(*layers, shape=(3, 8, 8))
    assert "cannot be repaired if it becomes 2" in reason(InputMask(), network, "0")
    pooled = chain(*layers[:2], nn.MaxPool2d(2), *layers[2:3], nn.Linear(8 * 16, 10), shape=(3, 8, 8))
    assert "cannot be repaired by shrink" in reason(InputMask(repair="shrink"), pooled, "0")
    assert site(InputMask(), pooled, "0")


# --- counts and the file ---------------------------------------------------------------------------------------------


def test_the_teacher_with_masked_stems_counts_as_in_the_document() -> None:
    """960 parameters fewer with four taps, 384 with seven."""
    network = capture(build("vgg16-s0"), (3, 128, 128))
    for mask, fewer in (("101000101", 960), ("111010111", 384)):
        after = apply(InputMask(), network.fork(), "conv1_1", choice={"mask": mask})
        assert after.parameter_count == network_cost(after).parameter_count == 16_042_058 - fewer


@pytest.mark.parametrize(("mask", "kernels"), [
    ("000010000", [[1, 1]]), ("010000010", [[2, 1]]), ("000101000", [[1, 2]]), ("101000101", [[2, 2]]),
    ("010111010", [[2, 1], [1, 3]]), ("101010101", [[3, 3]]), ("010101010", [[2, 1], [1, 2]]),
    ("111010111", [[3, 3]]), ("111101111", [[3, 3]]), ("101111101", [[3, 3]]),
])  # fmt: skip
def test_masks_are_small_convolutions_in_the_file(mask: str, kernels: list[list[int]]) -> None:
    after = apply(InputMask(), stem(64, width=64), "conv", choice={"mask": mask})
    graph = onnx.load_from_string(to_onnx(after)).graph
    shapes = {value.name: list(value.dims) for value in graph.initializer}
    found = [shapes.get(node.input[1], [3, 3])[-2:] for node in graph.node if node.op_type == "Conv"]
    assert sorted(found) == sorted(kernels)
    operators = {node.op_type for node in graph.node}
    assert not operators & {"Slice"}
    assert ("Gather" in operators) == (kernels == [[3, 3]])
    assert len(to_onnx(after)) < len(to_onnx(stem(64, width=64)))
    assert parity(after, evidence(after, 4)).ok


def test_a_part_of_one_tap_needs_many_inputs() -> None:
    axis, mask = Axis(32, 3, 2, 1, 1, 1), torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 1]], dtype=torch.bool)
    assert [part.count for part in products(mask, axis, axis, 64, 10**7)] == [4, 1]
    assert not products(mask, axis, axis, 3, 10**7)


def test_small_stems_are_not_split_in_two() -> None:
    after = apply(InputMask(), stem(16, width=8), "conv", choice={"mask": "010111010"})
    assert not after.leaf("conv").parts()


# --- where it acts ---------------------------------------------------------------------------------------------------


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)

    def forward(self, x):
        return self.second(self.first(x / 2 - 1)).mean((2, 3))


def test_only_stems_are_sites_and_the_rest_is_refused_with_reasons() -> None:
    network = stem()
    assert [found.path for found in sites_of(InputMask(), network)] == ["conv"]
    assert set(site(InputMask(), network, "conv").knobs["mask"].options) == set(DOCUMENT_MASKS)
    assert not refusals_of(InputMask(), network)
    scaled = capture(Scaled(), (3, 16, 16))
    assert "reads the image through" in reason(InputMask(), scaled, "first")
    assert len(list(InputMask().sites(scaled))) == 1
    assert "odd stride 3" in reason(InputMask(), stem(kernel=5, stride=3), "conv")
    assert "one class only" in reason(InputMask(), stem(kernel=1), "conv")
    mirrored = traced(nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, padding_mode="reflect")), (3, 8, 8))
    assert "pads with reflect" in reason(InputMask(), mirrored, "0")


def test_a_masked_stem_is_no_site_again() -> None:
    network = apply(InputMask(), stem(), "conv")
    assert "is a MaskedConv2d" in reason(InputMask(), network, "conv")
    assert "is a MaskedConv2d" in reason(InputMask(form="tile"), network, "conv")
    tiled = apply(InputMask(form="tile"), stem(), "conv")
    assert isinstance(dict(tiled.leaves())["conv_tile"], TileImage)
    assert not sites_of(InputMask(), tiled)


def test_both_orders_with_other_plugins_work_or_refuse() -> None:
    for other in (Binarize(), LayerRemoval()):
        for first, second in ((InputMask(), other), (other, InputMask())):
            network = named("mobilenetv2")
            assert any(in_a_row(network, evidence(network, 32), first, second))
    binary = apply(Binarize(min_weights=1), named("mobilenetv2"), "features.0")
    assert "not a plain convolution" in reason(InputMask(), binary, "features.0")


# --- the kit ---------------------------------------------------------------------------------------------------------


class TestContract(PluginContract):
    plugin = InputMask()


class TestTileContract(PluginContract):
    plugin = InputMask(form="tile", stripes=True)


def test_the_kit_finds_nothing_in_a_folded_tile() -> None:
    network = stem(13, kernel=5, stride=1, channels=16)
    assert isinstance(apply(InputMask(form="tile"), network.fork(), "conv").leaf("conv"), TiledConv2d)
    assert not check_plugin(InputMask(form="tile"), {"stem": network})


def test_the_kit_notices_a_file_that_forgets_the_mask(monkeypatch) -> None:
    def forgetful(self, builder, x):
        weight = builder.constant(torch.ones_like(self.weight()))
        return self._conv(builder, x, weight, True, self.padding, self.dilation)

    monkeypatch.setattr(MaskedConv2d, "parts", lambda self: [])
    monkeypatch.setattr(MaskedConv2d, "_emit_dense", forgetful)
    networks = {"branches": small_networks()["branches"]}
    assert any("ONNX" in str(finding) for finding in check_plugin(InputMask(), networks))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_kit_finds_nothing_on(name: str) -> None:
    findings = check_plugin(InputMask(), {name: named(name)})
    assert not findings, "\n".join(map(str, findings))


def test_a_refused_stride_edits_nothing() -> None:
    layers = (nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 64, 10))
    network = chain(*layers, shape=(3, 8, 8))
    twin = chain(*layers[:2], nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 16, 10), shape=(3, 8, 8))
    editor = Editor(network)
    with pytest.raises(Refusal, match="cannot be repaired"):
        InputMask().rewrite(editor, site(InputMask(), twin, "0"), {"mask": "101000101"})
    assert not editor.changes
