"""One-bit packing: bit-exact, folded away at load, and as small as it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from compressor.errors import ExportError
from compressor.export.packing import pack_bits, unpack_bits
from compressor.graph.onnx_out.builder import GraphBuilder, GraphOutput


def _conv_file(signs: NDArray[np.bool_], alpha: NDArray[np.float32], packed: bool) -> bytes:
    builder = GraphBuilder()
    x = builder.input("x", (signs.shape[1], 8, 8))
    with builder.scope("conv"):
        if packed:
            weight = unpack_bits(builder, pack_bits(signs), signs.shape, builder.constant(alpha))
        else:
            weight = builder.constant(np.where(signs, alpha, -alpha))
        y = builder.op("Conv", [x, weight], pads=[1, 1, 1, 1])
    return builder.model([x], [GraphOutput("output", y, (signs.shape[0], 8, 8))])


def _session(model: bytes, optimised: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if optimised is not None:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.optimized_model_filepath = str(optimised)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (5, 3, 3, 3), (1, 1, 1, 1)])
def test_packed_convolution_is_bit_equal_to_the_dense_one(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    signs = rng.random(shape) < 0.5
    alpha = rng.random((shape[0], 1, 1, 1), dtype=np.float32)
    x = rng.standard_normal((3, shape[1], 8, 8), dtype=np.float32)
    packed = _session(_conv_file(signs, alpha, True)).run(None, {"x": x})[0]
    dense = _session(_conv_file(signs, alpha, False)).run(None, {"x": x})[0]
    wrong = _session(_conv_file(~signs, alpha, True)).run(None, {"x": x})[0]
    assert np.array_equal(packed, dense)
    assert not np.array_equal(wrong, dense)


def test_no_unpacking_survives_loading(tmp_path: Path) -> None:
    signs = np.random.default_rng(1).random((24, 9, 3, 3)) < 0.5
    model = _conv_file(signs, np.ones((24, 1, 1, 1), np.float32), True)
    assert {"BitwiseAnd", "Where"} <= {node.op_type for node in onnx.load_from_string(model).graph.node}
    _session(model, tmp_path / "optimised.onnx")
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert kinds & {"Conv", "FusedConv"}
    assert not kinds & {"BitwiseAnd", "Cast", "Slice", "Reshape", "Where", "Neg"}


def test_file_takes_one_bit_per_weight() -> None:
    signs = np.random.default_rng(2).random((128, 128, 3, 3)) < 0.5
    alpha = np.ones((128, 1, 1, 1), np.float32)
    packed, dense = len(_conv_file(signs, alpha, True)), len(_conv_file(signs, alpha, False))
    assert packed < signs.size / 8 + 4 * 128 + 700
    assert dense / packed > 28


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_pack_and_unpack_are_inverse(shape: list[int], seed: int) -> None:
    signs = np.random.default_rng(seed).random(shape) < 0.5
    builder = GraphBuilder()
    x = builder.input("x", tuple(shape))
    one, two = builder.scalar(1.0), builder.scalar(2.0)
    spread = unpack_bits(builder, pack_bits(signs), shape, one, two)
    model = builder.model([x], [GraphOutput("output", builder.op("Add", [x, spread]), tuple(shape))])
    result = _session(model).run(None, {"x": np.zeros((1, *shape), np.float32)})[0][0]
    assert np.array_equal(result, np.where(signs, 1.0, 2.0))


def test_bytes_that_do_not_fit_are_refused() -> None:
    builder = GraphBuilder()
    with pytest.raises(ExportError, match="do not hold 9 weights"):
        unpack_bits(builder, pack_bits(np.ones(8, bool)), (3, 3), builder.scalar(1.0))
