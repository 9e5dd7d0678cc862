"""Shapes by rule are shapes by execution."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import NETWORKS
from torch import Tensor, fx, nn
from traced import assert_consistent, chain, traced, zoo

from compressor.errors import GraphError
from compressor.graph import shapes
from compressor.graph.layers.table import kind_of
from compressor.graph.leaf import Cost, Leaf, Shape
from compressor.graph.shapes import propagate, shape_of

CONVOLUTIONS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOLS = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
AVERAGE_POOLS = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}


def has_rule(module: nn.Module) -> bool:
    kind = kind_of(module)
    return kind is not None and kind.shape is not None


def executed(module: nn.Module, shape: Shape) -> Shape:
    return tuple(module(torch.zeros((2, *shape))).shape[1:])


def assert_rule_agrees(module: nn.Module, shape: Shape) -> None:
    """The rule gives what torch gives, or refuses what torch refuses."""
    assert has_rule(module)
    try:
        expected = executed(module, shape)
    except RuntimeError:
        with pytest.raises(GraphError):
            shape_of(module, shape)
        return
    assume(all(expected))  # torch lets some layers make empty images; a network has no use for them
    assert shape_of(module, shape) == expected


@st.composite
def windows(draw: st.DrawFn) -> tuple[int, Shape, dict[str, tuple[int, ...]]]:
    rank = draw(st.integers(1, 3))

    def each(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(rank))

    return rank, (4, *each(1, 9)), {"kernel_size": each(1, 4), "stride": each(1, 3), "padding": each(0, 2)}


@settings(max_examples=60, deadline=None)
@given(windows(), st.integers(1, 2), st.sampled_from([1, 2, 4]))
def test_convolution(window: tuple[int, Shape, dict[str, tuple[int, ...]]], dilation: int, groups: int) -> None:
    rank, shape, options = window
    assert_rule_agrees(CONVOLUTIONS[rank](4, 8, dilation=dilation, groups=groups, **options), shape)


@settings(max_examples=30, deadline=None)
@given(windows(), st.sampled_from(["same", "valid"]), st.integers(1, 2))
def test_convolution_with_named_padding(
    window: tuple[int, Shape, dict[str, tuple[int, ...]]], padding: str, dilation: int
) -> None:
    rank, shape, options = window
    kernel = options["kernel_size"]
    assert_rule_agrees(CONVOLUTIONS[rank](4, 6, kernel, padding=padding, dilation=dilation), shape)


@settings(max_examples=40, deadline=None)
@given(windows(), st.integers(0, 1), st.integers(1, 2))
def test_transposed_convolution(
    window: tuple[int, Shape, dict[str, tuple[int, ...]]], extra: int, dilation: int
) -> None:
    rank, shape, options = window
    assume(extra < min(options["stride"]) or extra < dilation)
    module = TRANSPOSED[rank](4, 6, output_padding=extra, dilation=dilation, **options)
    try:
        expected = executed(module, shape)
    except RuntimeError:
        assume(False)
    assert shape_of(module, shape) == expected


@settings(max_examples=60, deadline=None)
@given(windows(), st.booleans(), st.integers(1, 2), st.booleans())
def test_pooling(
    window: tuple[int, Shape, dict[str, tuple[int, ...]]], ceil: bool, dilation: int, average: bool
) -> None:
    rank, shape, options = window
    assume(all(2 * pad <= kernel for pad, kernel in zip(options["padding"], options["kernel_size"], strict=True)))
    if average:
        assert_rule_agrees(AVERAGE_POOLS[rank](ceil_mode=ceil, **options), shape)
    else:
        assert_rule_agrees(MAX_POOLS[rank](ceil_mode=ceil, dilation=dilation, **options), shape)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_flatten(start: int, end: int, sizes: list[int]) -> None:
    assume(start <= end <= len(sizes))
    module = nn.Flatten(start, end)
    if start == 0 and end > 0:
        with pytest.raises(GraphError, match="mixes samples"):
            shape_of(module, tuple(sizes))
    elif start > 0:
        assert shape_of(module, tuple(sizes)) == executed(module, tuple(sizes))


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Linear(6, 3), (6,)),
        (nn.Linear(6, 3), (2, 6)),
        (nn.BatchNorm1d(4), (4,)),
        (nn.BatchNorm1d(4), (4, 7)),
        (nn.BatchNorm2d(4), (4, 3, 3)),
        (nn.BatchNorm3d(4), (4, 2, 3, 3)),
        (nn.GroupNorm(2, 4), (4, 5)),
        (nn.LayerNorm((5, 5)), (4, 5, 5)),
        (nn.PReLU(4), (4, 5)),
        (nn.AdaptiveAvgPool2d((None, 3)), (4, 5, 7)),
        (nn.AdaptiveMaxPool1d(2), (4, 5)),
        (nn.AdaptiveAvgPool3d(2), (4, 5, 6, 7)),
        (nn.ZeroPad2d((1, 2, 3, 4)), (2, 5, 6)),
        (nn.ConstantPad1d((1, 0), 2.0), (2, 5)),
        (nn.ReflectionPad2d(1), (2, 5, 6)),
        (nn.ReplicationPad3d(1), (2, 3, 5, 6)),
        (nn.Softmax(1), (5,)),
        (nn.LocalResponseNorm(3), (5, 2, 2)),
        (nn.Dropout(0.5), (3, 2)),
        (nn.ReLU6(), (3,)),
    ],
)
def test_layer(module: nn.Module, shape: Shape) -> None:
    assert has_rule(module.eval())
    assert shape_of(module, shape) == executed(module, shape)


@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        (nn.PixelShuffle(2), (8, 3, 3), (2, 6, 6)),
        (nn.Upsample(scale_factor=2), (3, 4, 5), (3, 8, 10)),
        (nn.Unflatten(1, (2, 3)), (6,), (2, 3)),
        (nn.LPPool2d(2, 2), (3, 5, 5), (3, 2, 2)),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), (3, 4, 4), (16,)),
    ],
)
def test_layer_without_rule_is_run(module: nn.Module, shape: Shape, expected: Shape) -> None:
    assert not has_rule(module)
    assert shape_of(module, shape) == expected


def test_inherited_forward_keeps_the_rule_and_an_own_one_does_not() -> None:
    class Named(nn.Conv2d):
        pass

    class Twice(nn.Conv2d):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(super().forward(input))

    assert has_rule(Named(3, 3, 3))
    assert not has_rule(Twice(3, 3, 3))
    assert shape_of(Twice(3, 3, 3), (3, 8, 8)) == (3, 4, 4)


def test_a_leaf_states_its_own_shape() -> None:
    class Halve(Leaf):
        def output_shape(self, *inputs: Shape) -> Shape:
            return (inputs[0][0] // 2, *inputs[0][1:])

        def cost(self, *inputs: Shape) -> Cost:
            return Cost()

        def emit(self, builder: object, inputs: object) -> object:
            raise NotImplementedError

        def forward(self, x: Tensor) -> Tensor:
            raise AssertionError("a leaf with a shape rule is not run")

    assert shape_of(Halve(), (8, 3)) == (4, 3)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (nn.Conv2d(3, 4, 3), (4, 8, 8)),
        (nn.Conv2d(3, 4, 3), (3, 2, 2)),
        (nn.Conv2d(3, 4, 3), (3, 8)),
        (nn.Linear(6, 3), (5,)),
        (nn.BatchNorm2d(4), (5, 3, 3)),
        (nn.BatchNorm2d(4), (4,)),
        (nn.MaxPool2d(3), (4, 2, 2)),
        (nn.PReLU(3), (4, 2)),
        (nn.PixelShuffle(2), (3, 2, 2)),
    ],
)
def test_a_misfit_is_refused(module: nn.Module, shape: Shape) -> None:
    with pytest.raises(GraphError):
        shape_of(module, shape)


class Functions(nn.Module):
    """Everything that is no layer: methods, functions, operators, constants, sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 6, 1, 1))
        self.conv = nn.Conv2d(3, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        x = x * self.scale + 1.0
        left, right = x.chunk(2, 1)
        x = torch.cat([left.sigmoid(), right], dim=-3)
        x = x.add_(x.clone())
        x = F.max_pool2d(x, 2)
        x = x[:, :, 1:].contiguous()
        gate = x.mean((2, 3), keepdim=True)
        x = torch.ops.aten.mul.Tensor(x, gate)
        x = x.permute(0, 2, 3, 1).reshape(x.size(0), -1)
        return torch.flatten(x.unsqueeze(1), 1) - 2


def test_function_nodes() -> None:
    network = traced(Functions(), (3, 8, 8))
    assert_consistent(network)
    assert network.node("chunk").meta["shape"] is None
    assert network.shape(network.output_nodes[0]) == (72,)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name: str) -> None:
    assert_consistent(zoo(name))


def test_propagation_leaves_no_trace() -> None:
    network = chain(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.PixelShuffle(2), nn.Dropout(), shape=(3, 6, 6))
    network.train()
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    random_state = torch.get_rng_state()
    propagate(network)
    assert all(torch.equal(value, before[name]) for name, value in network.module.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert all(module.training for module in network.module.modules())


def test_only_what_changed_is_visited(monkeypatch: pytest.MonkeyPatch) -> None:
    layers = [nn.Conv2d(2, 2, 1) for _ in range(50)]
    network = chain(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2), shape=(2, 8, 8))
    visited: list[str] = []
    compute = shapes._node_shape
    monkeypatch.setattr(shapes, "_node_shape", lambda net, node: visited.append(node.name) or compute(net, node))
    same = network.calls_of("10")[0]
    propagate(network, [same])
    assert len(visited) == 1, "an unchanged shape goes no further"
    visited.clear()
    network.module.set_submodule("40", nn.Conv2d(2, 2, 1, stride=2))
    propagate(network, network.calls_of("40"))
    assert len(visited) == 11, "a smaller image goes as far as the adaptive pooling"
    assert_consistent(network)


def test_a_misfit_in_the_graph_is_named() -> None:
    network = chain(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), shape=(3, 8, 8))
    network.module.set_submodule("0", nn.Conv2d(3, 6, 3))
    with pytest.raises(GraphError, match=r"node _2 .*does not take samples of shape \(6, 6, 6\)"):
        propagate(network, network.calls_of("0"))


def test_sums_of_unlike_shapes_are_refused() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x) + self.right(x)

    network = traced(Sum(), (3, 4, 4))
    network.module.set_submodule("left", nn.Conv2d(3, 5, 1))
    with pytest.raises(GraphError, match="do not combine"):
        propagate(network)


def test_a_call_that_keeps_no_samples_apart_has_no_shape() -> None:
    class Whole(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x + x.sum()

    network = traced(Whole(), (3,))
    total: fx.Node = network.node("sum_1")
    assert total.meta["shape"] is None
    assert network.shape(network.output_nodes[0]) == (3,)
