"""Modules as networks, networks in ONNX Runtime: for the tests of export and parity."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from compressor.export.emit import to_onnx
from compressor.graph.leaf import Leaf, Shape
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature
from compressor.measure.session import OnnxModel


class Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, Leaf | nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)


def network_of(module: nn.Module, shape: Shape, name: str = "x") -> Network:
    """A network in eval mode around ``module``; a single layer becomes the leaf "0"."""
    root = module if type(module).forward is not nn.Module.forward and not _is_layer(module) else nn.Sequential(module)
    network = Network(fx.GraphModule(root, Tracer().trace(root)), Signature.of(name, shape)).eval()
    propagate(network)
    return network


def _is_layer(module: nn.Module) -> bool:
    return isinstance(module, Leaf) or (
        type(module).__module__.startswith("torch.nn") and not isinstance(module, nn.Sequential)
    )


def randomise(module: nn.Module) -> nn.Module:
    """Parameters and statistics that are nothing like their neutral initial values."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, 0.1, 0.5)
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.running_mean is not None:
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.3, 2.0)
    return module


def outputs(network: Network, x: Tensor) -> NDArray[np.float32]:
    with torch.no_grad():
        return network(x).numpy()


def worst(network: Network, *, opset: int = 20, batches: tuple[int, ...] = (1, 7), model: bytes | None = None) -> float:
    """Largest difference between torch and ONNX Runtime, relative to the largest output; shapes must agree."""
    runner = OnnxModel(to_onnx(network, opset=opset) if model is None else model)
    errors = []
    for batch in batches:
        x = torch.randn(batch, *network.signature.input.shape)
        expected, (found,) = outputs(network, x), runner.run(x)
        assert expected.shape == found.shape
        assert np.abs(expected).max() > 0
        errors.append(np.abs(expected - found).max() / np.abs(expected).max())
    return float(max(errors))
