"""Custom leaves lose channels by their own methods, along with everything coupled to them."""

from __future__ import annotations

import pytest
import torch
from oracles import ZERO_THEN_DROP, silence
from torch import Tensor, fx, nn
from traced import assert_consistent, images

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.leaf import Cost, Leaf, Shape
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature
from compressor.graph.verify import difference


class Silent(Leaf):
    def output_shape(self, *inputs: Shape) -> Shape:
        return tuple(self(torch.zeros((2, *inputs[0]))).shape[1:])

    def cost(self, *inputs: Shape) -> Cost:
        return Cost()

    def emit(self, builder: object, inputs: object) -> object:
        raise NotImplementedError


class MaskedConv(Silent):
    """A convolution with a mask buffer: torch-pruning would not know the mask."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.register_buffer("mask", (torch.rand(outputs, inputs, 3, 3) > 0.5).float())

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight * self.mask, padding=1)

    def _pick(self, channels: Tensor, dim: int) -> None:
        self.weight = nn.Parameter(self.weight.detach().index_select(dim, channels))
        self.mask = self.mask.index_select(dim, channels)

    def keep_outputs(self, channels: Tensor) -> None:
        self._pick(channels, 0)

    def keep_inputs(self, channels: Tensor) -> None:
        self._pick(channels, 1)


class Scale(Silent):
    """Channelwise: one method for both sides says so."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.rand(channels) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor[:, None, None]

    def keep_outputs(self, channels: Tensor) -> None:
        self.factor = nn.Parameter(self.factor.detach()[channels])

    keep_inputs = keep_outputs


class Fixed(Silent):
    """Says nothing about channels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight)


class Rows(Silent):
    """A linear layer of one's own, behind a flattening."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T

    def keep_inputs(self, channels: Tensor) -> None:
        self.weight = nn.Parameter(self.weight.detach()[:, channels])


def with_leaves(*layers: nn.Module, shape: Shape) -> Network:
    class Model(nn.Sequential):
        pass

    tracer = fx.Tracer()
    tracer.is_leaf_module = lambda module, name: not isinstance(module, nn.Sequential)  # type: ignore[method-assign]
    model = Model(*layers).eval()
    network = Network(fx.GraphModule(model, tracer.trace(model)), Signature.of("x", shape))
    propagate(network)
    return network


def test_custom_leaves_follow() -> None:
    network = with_leaves(
        nn.Conv2d(3, 6, 1), Scale(6), nn.ReLU(), MaskedConv(6, 5), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten(),
        Rows(80, 3), shape=(3, 4, 4),
    )  # fmt: skip
    for path, channels in (("0", [1, 4]), ("3", [0, 2])):
        silenced = network.fork()
        silence(silenced, path, channels)
        dropped = silenced.fork()
        editor = Editor(dropped)
        editor.drop_channels(path, channels)
        editor.commit()
        assert_consistent(dropped)
        assert difference(silenced, dropped, [images(network)]) <= ZERO_THEN_DROP
        assert difference(network, dropped, [images(network)]) > 1e-3
    masked = network.leaf("3")
    assert isinstance(masked, MaskedConv)
    assert tuple(masked.mask.shape) == (5, 6, 3, 3), "the original is untouched"


def test_custom_leaves_that_do_not_follow_are_refused() -> None:
    network = with_leaves(nn.Conv2d(3, 4, 1), Fixed(), nn.Conv2d(4, 2, 1), shape=(3, 4, 4))
    with pytest.raises(Refusal, match="Fixed cannot lose inputs"):
        Editor(network).drop_channels("0", [0])
    with pytest.raises(Refusal, match="Fixed cannot lose outputs"):
        Editor(network).drop_channels("1", [0])
    network = with_leaves(nn.Conv2d(3, 4, 1), nn.Flatten(), Rows(64, 3), shape=(3, 4, 4))
    with pytest.raises(Refusal, match="Rows cannot have its inputs duplicated"):
        Editor(network).duplicate_channels("0", [0])
