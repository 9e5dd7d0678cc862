"""Networks and data small enough to train in a test."""

from __future__ import annotations

import functools

import torch
from torch import Tensor, fx, nn

from compressor.data.dataset import Data, Split
from compressor.data.held import HeldSplit
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.graph.leaf import Cost, Leaf, Shape
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature


def network_of(module: nn.Module, shape: Shape) -> Network:
    """A network traced symbolically, shapes filled in, in eval mode."""
    network = Network(Tracer.trace_module(module.eval()), Signature.of("x", shape))
    propagate(network)
    return network


class Tracer(fx.Tracer):
    """Takes leaves of our own for leaves."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Leaf) or super().is_leaf_module(m, module_qualified_name)

    @staticmethod
    def trace_module(module: nn.Module) -> fx.GraphModule:
        return fx.GraphModule(module, Tracer().trace(module))


class CountingScale(Leaf):
    """Multiplies by a learnt factor, which it holds at or below 1 after every step, and counts the steps."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor

    def after_step(self) -> None:
        self.steps += 1
        with torch.no_grad():
            self.factor.clamp_(max=1.0)

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def cost(self, *inputs: Shape) -> Cost:
        return Cost()

    def emit(self, builder: object, inputs: object) -> object:  # type: ignore[override]
        raise NotImplementedError


def mlp(width: int = 24, *, seed: int = 0, drop: float = 0.0) -> Network:
    """A dense network for the digits, with BatchNorm; a step takes a fraction of a millisecond."""
    torch.manual_seed(seed)
    layers = [
        nn.Flatten(),
        nn.Linear(64, width),
        nn.BatchNorm1d(width),
        nn.ReLU(),
        nn.Dropout(drop),
        nn.Linear(width, 10),
    ]
    return network_of(nn.Sequential(*layers), (1, 8, 8))


@functools.cache
def digits(limit: int = 0) -> Data:
    return load_data(DataSpec(name="digits", limit=limit))


def data_of(train: int, *, classes: int = 3, shape: Shape = (1, 4, 4), validation: int = 6) -> Data:
    """Random images."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        return HeldSplit(torch.rand(count, *shape, generator=generator), torch.arange(count) % classes)

    names = tuple(str(index) for index in range(classes))
    zeros, ones = (0.0,) * shape[0], (1.0,) * shape[0]
    return Data("random", "memory", split(train), split(validation), names, zeros, ones, lambda: split(6))


def weights(network: Network) -> list[Tensor]:
    return [value.clone() for value in network.module.state_dict().values()]


def same(one: list[Tensor], two: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
