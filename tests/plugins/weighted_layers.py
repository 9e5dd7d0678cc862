"""What tests of layers with a latent weight share: putting one in place, its dense twin, what is in the file."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime
from compressor_plugins.common.weighted import WeightedLayer
from rewriting import chain
from torch import nn

from compressor.export.emit import to_onnx
from compressor.graph.editor import Editor
from compressor.graph.leaf import Shape
from compressor.graph.network import Network

CONVOLUTIONS = [
    {"kernel_size": 3, "padding": 1},
    {"kernel_size": 3, "padding": "same", "dilation": 2},
    {"kernel_size": (1, 5), "padding": (0, 2), "stride": (1, 2)},
    {"kernel_size": 3, "padding": "valid", "groups": 4},
    {"kernel_size": 2, "stride": 2, "bias": False},
]
"""Options of ``nn.Conv2d(8, 12)``."""


def with_leaf(network: Network, path: str, leaf: nn.Module) -> Network:
    """A fork with ``leaf`` at ``path``."""
    fork = network.fork()
    editor = Editor(fork)
    editor.replace(path, leaf)
    editor.commit()
    return fork


def dense(leaf: WeightedLayer) -> nn.Linear | nn.Conv2d:
    """The ordinary layer that holds the leaf's effective weight."""
    weight = leaf.effective_weight().detach()
    g = leaf.geometry
    twin: nn.Linear | nn.Conv2d
    if g is None:
        twin = nn.Linear(weight.shape[1], weight.shape[0], bias=leaf.bias is not None)
    else:
        inputs, size = weight.shape[1] * g.groups, (weight.shape[2], weight.shape[3])
        bias = leaf.bias is not None
        twin = nn.Conv2d(inputs, weight.shape[0], size, g.stride, g.padding, g.dilation, g.groups, bias)
    twin.load_state_dict({"weight": weight} if leaf.bias is None else {"weight": weight, "bias": leaf.bias})
    return twin


def alone(leaf: nn.Module, shape: Shape) -> Network:
    """A network of one leaf, at path "0"; it takes samples of ``shape``."""
    plain = dense(leaf) if isinstance(leaf, WeightedLayer) else leaf
    network = chain(plain, shape=shape, sensitive=False)
    return with_leaf(network, "0", leaf)


def layer_bytes(leaf: nn.Module, shape: Shape) -> int:
    """What a layer takes in a file: the file with it, less the file without."""
    network = alone(leaf, shape)
    return len(to_onnx(network)) - len(to_onnx(with_leaf(network, "0", nn.Identity())))


def optimised(model: bytes, folder: Path) -> list[str]:
    """Operators of the graph that ONNX Runtime really runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]
