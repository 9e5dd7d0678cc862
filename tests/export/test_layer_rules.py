"""Every kind of torch layer, exported and compared with torch."""

from __future__ import annotations

import pytest
import torch
from exporting import network_of, randomise, worst
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from compressor.errors import ExportError
from compressor.export.emit import to_onnx
from compressor.graph.leaf import Shape

IMAGE = (6, 11, 9)
LAYERS: list[tuple[nn.Module, Shape]] = [
    (nn.Conv1d(6, 4, 3, 2, 1), (6, 12)),
    (nn.Conv2d(6, 4, (3, 5), (2, 1), (1, 2), (2, 1), bias=False), IMAGE),
    (nn.Conv2d(6, 9, 3, groups=3), IMAGE),
    (nn.Conv2d(6, 6, 3, padding="same", groups=6), IMAGE),
    (nn.Conv2d(6, 4, (2, 4), padding="same", dilation=2), (6, 14, 12)),
    (nn.Conv2d(6, 4, 3, padding="valid"), IMAGE),
    *((nn.Conv2d(6, 4, 3, padding=(2, 1), padding_mode=mode), IMAGE) for mode in ("reflect", "replicate", "circular")),
    (nn.Conv2d(6, 4, 4, padding="same", padding_mode="reflect"), IMAGE),
    (nn.Conv3d(2, 3, (3, 2, 3), (1, 2, 1), (1, 0, 1)), (2, 5, 6, 7)),
    (nn.ConvTranspose1d(6, 4, 3, 2, 1, 1), (6, 7)),
    (nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, groups=2), IMAGE),
    (nn.ConvTranspose2d(6, 4, (2, 3), 3, 0, 2, bias=False, dilation=2), IMAGE),
    (nn.ConvTranspose3d(2, 3, 2, 2), (2, 3, 4, 5)),
    (nn.Linear(7, 5), (7,)),
    (nn.Linear(7, 5, bias=False), (3, 7)),
    (nn.Linear(7, 5), (2, 3, 7)),
    (nn.BatchNorm1d(6), (6,)),
    (nn.BatchNorm1d(6), (6, 5)),
    (nn.BatchNorm2d(6, affine=False, eps=1e-2), IMAGE),
    (nn.BatchNorm3d(2), (2, 3, 4, 5)),
    (nn.LayerNorm(9), IMAGE),
    (nn.LayerNorm((11, 9), elementwise_affine=False), IMAGE),
    (nn.LayerNorm(IMAGE, bias=False, eps=1e-2), IMAGE),
    (nn.GroupNorm(3, 6), IMAGE),
    (nn.GroupNorm(2, 6, affine=False), (6, 8)),
    (nn.InstanceNorm1d(6, affine=True), (6, 8)),
    (nn.InstanceNorm2d(6), IMAGE),
    (nn.InstanceNorm2d(6, track_running_stats=True, affine=True), IMAGE),
    *((layer, IMAGE) for layer in (
        nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.7), nn.LeakyReLU(0.2), nn.ELU(0.7), nn.CELU(0.7), nn.SELU(),
        nn.GELU(), nn.GELU("tanh"), nn.SiLU(), nn.Mish(), nn.Sigmoid(), nn.Tanh(), nn.Hardswish(), nn.Hardsigmoid(),
        nn.Softplus(), nn.Softplus(2.0, 5.0), nn.Softsign(), nn.LogSigmoid(), nn.Tanhshrink(), nn.Softshrink(0.3),
        nn.Hardshrink(0.4), nn.Threshold(0.2, -3.0), nn.RReLU(0.1, 0.3), nn.PReLU(), nn.PReLU(6), nn.GLU(1),
        nn.Softmax(1), nn.Softmax(-1), nn.LogSoftmax(1), nn.Softmin(2), nn.Softmax2d(),
        nn.ZeroPad2d((1, 2, 0, 3)), nn.ConstantPad2d((1, 0, 2, 1), 0.5), nn.ZeroPad2d((-1, 2, -2, 0)),
        nn.ReflectionPad2d((2, 1, 3, 0)), nn.ReplicationPad2d((2, 1, 3, 0)), nn.CircularPad2d((2, 1, 3, 0)),
        nn.Flatten(), nn.Flatten(1, 2), nn.Flatten(2), nn.Unflatten(1, (2, 3)), nn.ChannelShuffle(3),
        nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=1.7), nn.Upsample(size=(13, 20)),
        nn.Upsample(scale_factor=(1.5, 2.0), mode="bilinear"), nn.Upsample(size=(17, 5), mode="bilinear"),
        nn.Upsample(size=(17, 5), mode="bilinear", align_corners=True), nn.Upsample(scale_factor=2, mode="bicubic"),
        nn.Upsample(size=(17, 5), mode="nearest-exact"), nn.Upsample(scale_factor=1.7, recompute_scale_factor=True),
        nn.UpsamplingBilinear2d(scale_factor=2), nn.UpsamplingNearest2d(size=(22, 18)),
        nn.AdaptiveAvgPool2d(1), nn.AdaptiveAvgPool2d((11, 3)), nn.AdaptiveAvgPool2d((4, 7)),
        nn.AdaptiveAvgPool2d((None, 2)), nn.AdaptiveAvgPool2d((13, 20)), nn.AdaptiveMaxPool2d(1),
        nn.AdaptiveMaxPool2d((11, 3)), nn.AdaptiveMaxPool2d((None, 9)), nn.AdaptiveMaxPool2d(4),
        nn.Dropout2d(), nn.Identity(),
    )),
    (nn.PixelShuffle(2), (8, 3, 4)),
    (nn.PixelUnshuffle(2), (2, 6, 4)),
    (nn.Upsample(scale_factor=3, mode="linear"), (4, 7)),
    (nn.Upsample(scale_factor=2, mode="trilinear"), (2, 3, 4, 5)),
    (nn.ReflectionPad1d((2, 1)), (4, 7)),
    (nn.MaxPool1d(3, 2, 1), (4, 9)),
    (nn.AvgPool1d(3, 2, 1, ceil_mode=True), (4, 8)),
    (nn.AdaptiveAvgPool1d(4), (4, 9)),
    (nn.AdaptiveAvgPool3d((2, 3, 4)), (2, 5, 6, 7)),
    (nn.AdaptiveAvgPool3d(1), (2, 5, 6, 7)),
    (nn.MaxPool3d(2), (2, 4, 6, 7)),
    (nn.AvgPool3d(2, 2, 1), (2, 4, 6, 7)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value))
def test_layer_agrees_with_torch(layer: nn.Module, shape: Shape) -> None:
    assert worst(network_of(randomise(layer), shape)) < 2e-6


def test_a_changed_layer_does_not_agree() -> None:
    layer = randomise(nn.Conv2d(6, 4, 3, padding=1))
    model = to_onnx(network_of(layer, IMAGE))
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] += 0.1
    assert worst(network_of(layer, IMAGE), model=model) > 1e-3


@pytest.mark.parametrize("opset", [18, 19, 20, 21, 22])
def test_opsets(opset: int) -> None:
    model = nn.Sequential(
        nn.Conv2d(6, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.AvgPool2d(2, ceil_mode=True), nn.Flatten()
    )
    assert worst(network_of(randomise(model), IMAGE), opset=opset) < 2e-6


@pytest.mark.parametrize(
    ("layer", "shape", "reason"),
    [
        (nn.BatchNorm2d(6, track_running_stats=False), IMAGE, "running statistics"),
        (nn.Softmax(0), IMAGE, "no axis of a sample"),
        (nn.LPPool2d(2, 3), IMAGE, "no ONNX form"),
    ],
)
def test_what_has_no_form_is_refused_by_name(layer: nn.Module, shape: Shape, reason: str) -> None:
    with pytest.raises(ExportError, match=rf"^layer 0 \({type(layer).__name__}\): .*{reason}"):
        to_onnx(network_of(layer, shape))


class Doubled(nn.Conv2d):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(input)


class Renamed(nn.Conv2d):
    pass


def test_subclass_is_written_by_its_base_only_if_it_computes_the_same() -> None:
    kept = nn.Sequential(Renamed(6, 4, 3))
    network = network_of(kept, IMAGE)
    assert worst(network) < 2e-6
    network.module.add_module("0", Doubled(6, 4, 3))
    with pytest.raises(ExportError, match="no ONNX form"):
        to_onnx(network)


sizes = st.integers(5, 12)


@st.composite
def convolutions(draw: st.DrawFn) -> nn.Conv2d:
    groups = draw(st.sampled_from([1, 2, 4]))
    kernel, stride, dilation = (draw(st.tuples(st.integers(1, 3), st.integers(1, 3))) for _ in range(3))
    dilation = (1, 2) if kernel[0] > 2 and dilation[0] > 2 else (min(dilation[0], 2), min(dilation[1], 2))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    outputs = groups * draw(st.integers(1, 3))
    return nn.Conv2d(4, outputs, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()))


@given(convolutions(), sizes, sizes)
@settings(max_examples=40, deadline=None)
def test_any_convolution(layer: nn.Conv2d, height: int, width: int) -> None:
    assert worst(network_of(randomise(layer), (4, height, width)), batches=(2,)) < 2e-6


@st.composite
def pools(draw: st.DrawFn) -> nn.Module:
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, size // 2)) for size in kernel)
    ceil = draw(st.booleans())
    if draw(st.booleans()):
        dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
        dilation = tuple(1 if k > 3 else d for k, d in zip(kernel, dilation, strict=True))
        return nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil)
    return nn.AvgPool2d(kernel, stride, padding, ceil, draw(st.booleans()), draw(st.sampled_from([None, 1, 5])))


@given(pools(), sizes, sizes)
@settings(max_examples=120, deadline=None)
def test_any_pooling(layer: nn.Module, height: int, width: int) -> None:
    assert worst(network_of(layer, (3, height, width)), batches=(2,)) < 2e-6


@given(sizes, sizes, st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_any_adaptive_average(height: int, width: int, rows: int, columns: int) -> None:
    assert worst(network_of(nn.AdaptiveAvgPool2d((rows, columns)), (2, height, width)), batches=(2,)) < 2e-6
