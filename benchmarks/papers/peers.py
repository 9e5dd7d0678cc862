"""What other tools make of a trained LeNet: half its width by Torch-Pruning, 8-bit dense layers by ONNX Runtime."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network

DENSE = ["MatMul", "Gemm"]
"""With all layers in 8 bits, convolutions run as ConvInteger, several times slower."""


def half(network: Network) -> Network:
    """Every hidden width halved by Torch-Pruning's magnitude pruner; the classes stay. Not yet fine-tuned."""
    import torch_pruning as tp

    module = copy.deepcopy(network.module)
    last = [leaf for _, leaf in network.leaves() if isinstance(leaf, torch.nn.Linear)][-1]
    layers = dict(zip(network.module.modules(), module.modules(), strict=True))
    pruner = tp.pruner.MagnitudePruner(
        module,
        torch.zeros(1, *network.spec.shape),
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=0.5,
        ignored_layers=[layers[last]],
    )
    pruner.step()
    return capture(module, network.spec.shape, "torch-pruning")


def dynamic_int8(network: Network) -> bytes:
    """The ONNX file with its dense layers quantized by ONNX Runtime: 8-bit weights, activations scaled at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(to_onnx(network))
        quantize_dynamic(before, after, weight_type=QuantType.QInt8, op_types_to_quantize=DENSE)
        return after.read_bytes()
