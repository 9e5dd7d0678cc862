"""Networks for tests of the graph layer, traced symbolically: these tests need no exporter."""

from __future__ import annotations

import functools
import operator

import torch
from networks import NETWORKS, calibrated, make_sensitive
from torch import Tensor, fx, nn

from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature


def traced(model: nn.Module, shape: Shape) -> Network:
    """A network from a module that symbolic tracing can follow, shapes filled in, in eval mode."""
    module = fx.symbolic_trace(model.eval())
    for node in module.graph.nodes:  # a captured network has no in-place operations either
        if node.target is operator.iadd:
            node.target = operator.add
        node.kwargs = {key: value for key, value in node.kwargs.items() if key != "inplace"}
    module.recompile()
    network = Network(module, Signature.of("x", shape))
    propagate(network)
    return network


@functools.cache
def _zoo(name: str) -> Network:
    return traced(calibrated(name), NETWORKS[name][1])


def zoo(name: str) -> Network:
    """A fork of the calibrated test network ``name``."""
    return _zoo(name).fork()


def chain(*layers: nn.Module, shape: Shape) -> Network:
    """Layers in a row, named by their number, initialised so that the output follows the input."""
    return traced(make_sensitive(nn.Sequential(*layers), shape), shape)


def images(network: Network, count: int = 4, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((count, *network.signature.input.shape), generator=generator)


def assert_consistent(network: Network) -> None:
    """Lint, and every recorded shape is what running the graph gives, at two batch sizes."""
    network.graph.lint()
    for batch in (2, 3):
        _ShapeCheck(network.module).run(torch.zeros((batch, *network.signature.input.shape)))


class _ShapeCheck(fx.Interpreter):
    def run_node(self, n: fx.Node) -> object:
        value: object = super().run_node(n)
        if isinstance(value, Tensor) and n.op != "get_attr":
            assert n.meta["shape"] == tuple(value.shape[1:]), f"{n.name}: {n.meta['shape']} is not {value.shape}"
        else:
            assert n.meta["shape"] is None, f"{n.name} is no batch of samples"
        return value
