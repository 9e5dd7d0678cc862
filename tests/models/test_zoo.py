from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from compressor.errors import InputError
from compressor.models import build, find, zoo
from compressor.models.meta import Meta

PARAMETERS = {
    "lenet": 107_786,
    "vgg16-s0": 16_042_058,
    "vgg16-s0-stride1": 19_187_786,
    "vgg16-s0-student": 11_320_394,
    "vgg16-s0-student-4tap": 11_319_434,
    "vgg16-quarter-32": 957_722,
    "t1-conv2d": 88_170,
    "t1-conv3d": 83_526,
    "t1-meta": 84_126,
    "t1-meta-head": 26_750,
    "t2-conv2d": 357_265,
    "t2-conv3d": 176_761,
    "t2-meta": 187_433,
    "t2-meta-head": 292_961,
    "t3-conv2d": 1_573_902,
    "t3-conv3d": 846_222,
    "t3-meta": 931_086,
    "t3-meta-head": 1_516_766,
    "a1": 8_060,
    "a2": 5_490,
    "a3": 3_170,
    "resnet20": 272_474,
}
TRAINABLE = {"a1": 7_968, "a2": 5_382, "a3": 3_090}

MACS = {
    "lenet": (693_000, 0),
    "vgg16-s0": (1_254.1e6, 0.05e6),
    "vgg16-quarter-32": (19.9e6, 0.05e6),
    "t1-conv2d": (2.313e6, 500),
    "t1-conv3d": (1.354e6, 500),
    "t1-meta": (1.289e6, 500),
    "t1-meta-head": (2.251e6, 500),
    "t2-conv2d": (33.55e6, 5_000),
    "t2-conv3d": (21.75e6, 5_000),
    "t2-meta": (16.97e6, 5_000),
    "t2-meta-head": (33.48e6, 5_000),
    "t3-conv2d": (160.9e6, 50_000),
    "t3-conv3d": (106.7e6, 50_000),
    "t3-meta": (96.5e6, 50_000),
    "t3-meta-head": (160.9e6, 50_000),
}
"""The published figure, and how far its rounding may be off."""


def macs(name: str) -> int:
    """Multiply-accumulates of all convolutions and dense layers for one sample, from the sizes of what they put out."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(module, nn.Linear):
            total += module.in_features * output[0].numel()
        elif isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
            total += module.in_channels // module.groups * math.prod(module.kernel_size) * output[0].numel()

    with torch.device("meta"):
        network = build(name).eval()
        for module in network.modules():
            module.register_forward_hook(count)
        network(torch.empty(1, *find(name).input_shape))
    return total


@pytest.mark.parametrize(("name", "expected"), PARAMETERS.items())
def test_parameters(name: str, expected: int) -> None:
    assert find(name).params == expected


@pytest.mark.parametrize("name", PARAMETERS)
def test_trainable_parameters(name: str) -> None:
    assert find(name).trainable == TRAINABLE.get(name, PARAMETERS[name])


@pytest.mark.parametrize(("name", "figure"), MACS.items())
def test_multiply_accumulates(name: str, figure: tuple[float, float]) -> None:
    expected, rounding = figure
    assert abs(macs(name) - expected) <= rounding


def test_what_two_wide_convolutions_and_five_taps_save() -> None:
    saved = 1 - macs("vgg16-s0-student-4tap") / macs("vgg16-s0")
    assert saved == pytest.approx(0.154, abs=5e-4)


def test_weights_that_pruning_may_take_from_a2() -> None:
    assert sum(m.weight.numel() for m in build("a2").modules() if isinstance(m, nn.Conv2d)) == 5_220


@pytest.mark.parametrize("entry", zoo(), ids=lambda entry: entry.name)
def test_every_network_answers_for_any_batch_size(entry: object) -> None:
    name = entry.name  # type: ignore[attr-defined]
    with torch.device("meta"):
        network = build(name).eval()
        for count in (1, 3):
            assert network(torch.empty(count, *find(name).input_shape)).shape == (count, 100 if "c100" in name else 10)


@pytest.mark.parametrize("name", ["lenet", "t1-conv3d", "t1-meta", "t1-meta-head", "t2-meta", "a2", "resnet8"])
def test_exporting_keeps_the_function_for_any_batch_size(name: str) -> None:
    network, shape = build(name).eval(), find(name).input_shape
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(network, (torch.randn(2, *shape),), dynamic_shapes=({0: batch},))
    images = torch.randn(3, *shape)
    assert torch.equal(program.module()(images), network(images))


def test_a_meta_layer_is_the_sum_over_groups() -> None:
    layer = Meta(4, 3)
    x = torch.randn(2, 4, 5, 6, 7)
    expected = torch.einsum("ngchw,mg->nmchw", x, layer.mix.weight[:, :, 0])
    assert torch.allclose(layer(x), expected, atol=1e-5)


def test_names_are_unique_and_an_unknown_one_gets_the_nearest() -> None:
    names = [entry.name for entry in zoo()]
    assert len(set(names)) == len(names)
    assert all(entry.about for entry in zoo())
    with pytest.raises(InputError, match="did you mean 'lenet'"):
        build("le-net")


def test_two_builds_share_nothing_and_differ() -> None:
    one, two = build("lenet"), build("lenet")
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    assert all(a is not b and not torch.equal(a, b) for a, b in pairs)
