"""What other tools make of a trained network: half its width by Torch-Pruning, 8 bits by ONNX Runtime."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader
from torch import Tensor

from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network

DENSE = ["MatMul", "Gemm"]
"""Quantized dynamically, convolutions run as ConvInteger, several times slower."""


def half(network: Network) -> Network:
    """Every hidden width halved by Torch-Pruning's magnitude pruner; the classes stay. Not yet fine-tuned."""
    import torch_pruning as tp

    return pruned(network, 0.5, tp.importance.MagnitudeImportance(p=2))


def pruned(network: Network, ratio: float, importance: Callable[..., object], *, everywhere: bool = False) -> Network:
    """Hidden widths narrowed by Torch-Pruning, each by ``ratio`` or ``everywhere`` by one ranking; the classes stay."""
    import torch_pruning as tp

    module = copy.deepcopy(network.module)
    last = [leaf for _, leaf in network.leaves() if isinstance(leaf, torch.nn.Linear)][-1]
    layers = dict(zip(network.module.modules(), module.modules(), strict=True))
    pruner = tp.pruner.MagnitudePruner(
        module,
        torch.zeros(1, *network.signature.input.shape),
        importance=importance,
        global_pruning=everywhere,
        pruning_ratio=ratio,
        ignored_layers=[layers[last]],
    )
    pruner.step()
    return capture(module, network.signature.input.shape, "torch-pruning")


def dynamic_int8(network: Network) -> bytes:
    """The ONNX file with its dense layers quantized by ONNX Runtime: 8-bit weights, activations scaled at run time."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    return _rewritten(
        to_onnx(network),
        lambda before, after: quantize_dynamic(before, after, weight_type=QuantType.QInt8, op_types_to_quantize=DENSE),
    )


def static_int8(network: Network, images: Iterable[Tensor]) -> bytes:
    """The ONNX file with every layer in 8 bits; ONNX Runtime takes the scales from normalised ``images``."""
    from onnxruntime.quantization import QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    file = _rewritten(to_onnx(network), quant_pre_process)
    return _rewritten(
        file,
        lambda before, after: quantize_static(
            before, after, _Images(file, images), quant_format=QuantFormat.QDQ, per_channel=True
        ),
    )


def _rewritten(file: bytes, rewrite: Callable[[Path, Path], object]) -> bytes:
    """What a tool that reads one file and writes another makes of these bytes."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        before.write_bytes(file)
        rewrite(before, after)
        return after.read_bytes()


class _Images(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
    """Batches of images, one after the other, as ONNX Runtime asks for them."""

    def __init__(self, file: bytes, images: Iterable[Tensor]) -> None:
        self._input = onnx.load_model_from_string(file).graph.input[0].name
        self._batches: Iterator[Tensor] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self._batches, None)
        return None if batch is None else {self._input: batch.numpy()}
