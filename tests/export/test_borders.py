"""Spare rows are not computed, zeros are the convolution's own; what the network says stays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
import pytest
import torch
from exporting import network_of, randomise, worst
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.export.emit import to_onnx
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Shape


def nodes(model: bytes, kind: str) -> list[dict[str, Any]]:
    found = [node for node in onnx.load_from_string(model).graph.node if node.op_type == kind]
    return [{a.name: onnx.helper.get_attribute_value(a) for a in node.attribute} for node in found]


def emitted(module: nn.Module, shape: Shape) -> bytes:
    """The file, checked against torch."""
    network = network_of(randomise(module), shape)
    model = to_onnx(network)
    assert worst(network, model=model) < 1e-5
    return model


def test_the_last_row_and_column_of_seven_are_not_computed_for_a_pooling_by_two() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    assert nodes(emitted(net, (2, 7, 7)), "Conv")[0]["pads"] == [1, 1, 0, 0]


@pytest.mark.parametrize("shape", [(2, 8, 8), (2, 8, 7)])
def test_an_axis_that_is_read_to_its_end_stays(shape: Shape) -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
    assert nodes(emitted(net, shape), "Conv")[0]["pads"] == [1, 1, 1, shape[2] - 7]


class _SeenTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.MaxPool2d(2), nn.Linear(49 * 4 + 9 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.conv(x))
        return self.head(torch.cat([y.flatten(1), self.pool(y).flatten(1)], 1))


def test_rows_that_somebody_else_reads_stay() -> None:
    assert nodes(emitted(_SeenTwice(), (2, 7, 7)), "Conv")[0]["pads"] == [1, 1, 1, 1]


def test_without_zeros_behind_the_image_there_is_nothing_to_leave_out() -> None:
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
    assert "pads" not in nodes(emitted(net, (2, 9, 9)), "Conv")[0]


def test_zeros_around_the_image_are_the_convolutions_own_and_go_where_they_are_spare() -> None:
    net = nn.Sequential(nn.ZeroPad2d((1, 2, 1, 0)), nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    model = emitted(net, (2, 8, 8))
    assert nodes(model, "Pad") == []
    assert nodes(model, "Conv")[0]["pads"] == [2, 2, 0, 2]  # 9 rows, of which 8 are read; 11 columns, of which 10


class _Bare(Leaf):
    """A 1×1 convolution that writes its node without a single attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight)

    def output_shape(self, *inputs: Shape) -> Shape:
        return (4, *inputs[0][1:])

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        return builder.op("Conv", [*inputs, builder.constant(self.weight)])

    def cost(self, *inputs: Shape) -> Cost:
        return Cost({32: 8}, {})


def test_a_convolution_need_not_say_its_kernel() -> None:
    emitted(nn.Sequential(_Bare(), nn.ReLU(), nn.MaxPool2d(2)), (2, 7, 7))


@pytest.mark.parametrize("pad", [nn.ConstantPad2d(1, 0.5), nn.ReflectionPad2d(1)])
def test_anything_but_zeros_is_put_around_by_a_node(pad: nn.Module) -> None:
    model = emitted(nn.Sequential(pad, nn.Conv2d(2, 4, 3)), (2, 6, 6))
    assert len(nodes(model, "Pad")) == 1
    assert "pads" not in nodes(model, "Conv")[0]


@given(
    size=st.integers(6, 15),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    pooling=st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]),
    window=st.integers(2, 3),
    step=st.integers(1, 4),
    rim=st.integers(0, 1),
)
def test_no_geometry_changes_what_is_said(
    size: int, kernel: int, stride: int, padding: int, pooling: Any, window: int, step: int, rim: int
) -> None:
    assume((size + 2 * padding - kernel) // stride + 1 + 2 * rim >= window)
    pool = pooling(window, step, padding=rim)
    emitted(nn.Sequential(nn.Conv2d(2, 3, kernel, stride, padding), nn.ReLU(), pool), (2, size, size + 1))
