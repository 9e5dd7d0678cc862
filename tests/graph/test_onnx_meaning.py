"""What an ONNX operator means depends on its operator set, on the shape of the batch, and on rules for borders."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_support import IMAGE, agrees, floats, ints, model_of, node, one, read, scalar, weights
from torch import nn

from compressor.errors import ModelFileError
from compressor.export.emit import to_onnx
from compressor.graph.onnx_in import check
from compressor.graph.onnx_in.file import stored_bytes
from compressor.graph.onnx_in.rules import RULES
from compressor.graph.onnx_node.node import Node
from compressor.graph.onnx_reader import read_onnx
from compressor.measure.parity import numeric_parity


def at_opset(opset: int, operator: str, *constants: Any, **attributes: Any) -> onnx.ModelProto:
    model, _ = one(operator, *constants, opset=opset, **attributes)
    return model


# --- operator sets -------------------------------------------------------------------------------------------------

OLD: dict[str, Callable[[], onnx.ModelProto]] = {
    **{
        f"{name} of {opset} along {axis}": (
            lambda name=name, opset=opset, axis=axis: at_opset(
                opset, name, **({} if axis is None else {"axis": axis})
            )
        )
        for name in ("Softmax", "LogSoftmax")
        for opset in (11, 13)
        for axis in (None, 1, 2, -1)
    },
    "Upsample of 7": lambda: at_opset(7, "Upsample", scales=[1.0, 1.0, 2.0, 3.0]),
    "Upsample of 9, linear": lambda: at_opset(9, "Upsample", floats(1, 1, 2, 1.5), mode="linear"),
    "Resize of 10": lambda: at_opset(10, "Resize", floats(1, 1, 2, 2)),
    "Resize of 10, linear": lambda: at_opset(10, "Resize", floats(1, 1, 1.7, 2), mode="linear"),
    "Resize of 10, smaller": lambda: at_opset(10, "Resize", floats(1, 1, 0.6, 0.5)),
    "GroupNormalization of 18": lambda: at_opset(18, "GroupNormalization", weights(2), weights(2), num_groups=2),
    "ReduceSum of 11": lambda: at_opset(11, "ReduceSum", axes=[2]),
    "Squeeze and Unsqueeze of 11": lambda: model_of(
        [node("Unsqueeze", "x", to="a", axes=[2]), node("Squeeze", "a", axes=[2])], {}, IMAGE, opset=11),
    "Slice of 9": lambda: at_opset(9, "Slice", axes=[2, 3], starts=[1, 0], ends=[5, -1]),
    "Clip of 6": lambda: at_opset(6, "Clip", min=-0.2),
    "Pad of 2": lambda: at_opset(2, "Pad", pads=[0, 0, 1, 0, 0, 0, 0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_an_operator_means_what_its_operator_set_says(name: str, tmp_path: Path) -> None:
    model = OLD[name]()
    assert agrees(read(model, tmp_path), model, IMAGE)


@pytest.mark.parametrize(
    ("operator", "opset", "attributes", "factor"),
    [
        ("Mul", 6, {"broadcast": 1, "axis": 1}, lambda x, c: x * c),
        ("PRelu", 6, {}, lambda x, c: np.where(x < 0, x * c, x)),
    ],
)  # fmt: skip
def test_operands_of_old_sets_align_at_an_axis(
    operator: str, opset: int, attributes: dict[str, Any], factor: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """ONNX Runtime does not run these; the standard's text is the reference."""
    monkeypatch.setattr("compressor.graph.onnx_reader.check_reading", lambda *given: None)
    slopes = weights(4)
    network = read(at_opset(opset, operator, slopes, **attributes), tmp_path)
    x = torch.randn(2, *IMAGE)
    expected = factor(x.numpy(), slopes.reshape(4, 1, 1))
    assert np.allclose(network(x).detach().numpy(), expected, atol=1e-6)


def test_operator_sets_of_the_future_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="operator set 99 is newer than"):
        read(at_opset(99, "Relu"), tmp_path)


# --- resizing ------------------------------------------------------------------------------------------------------

COORDINATES = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric")
RESIZES = {
    **{f"{mode} {way}": {"mode": mode, "coordinate_transformation_mode": way}
       for mode in ("linear", "cubic") for way in COORDINATES},
    **{f"nearest {way} {rounding}": {"coordinate_transformation_mode": way, "nearest_mode": rounding}
       for way in ("half_pixel", "asymmetric", "align_corners")
       for rounding in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")},
    "cubic of another shape": {"mode": "cubic", "cubic_coeff_a": -0.5},
}  # fmt: skip


@pytest.mark.parametrize("name", RESIZES)
@pytest.mark.parametrize("size", [(14, 9), (4, 14)])
def test_every_way_of_resizing(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    model = at_opset(19, "Resize", None, None, ints(1, 4, *size), **RESIZES[name])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    network = read(model, tmp_path)
    assert agrees(network, model, IMAGE, batch=1)
    assert numeric_parity(network, to_onnx(network), [torch.randn(3, *IMAGE)]).ok


def test_torchs_own_function_is_taken_where_it_computes_the_same(tmp_path: Path) -> None:
    model = at_opset(19, "Resize", None, floats(1, 1, 2, 2), mode="linear")
    targets = [str(call.target) for call in read(model, tmp_path).graph.nodes]
    assert "aten.upsample_bilinear2d.vec" in targets


# --- the batch -----------------------------------------------------------------------------------------------------


def test_a_batch_that_moves_is_followed(tmp_path: Path) -> None:
    """Queries, keys and values of attention: split in front of the batch."""
    nodes = [
        node("MatMul", "x", "w", to="a"),
        node("Reshape", "a", "five", to="b"),
        node("Transpose", "b", to="c", perm=[2, 0, 3, 1, 4]),
        node("Mul", "c", "scale", to="d"),
        *(node("Gather", "d", f"i{i}", to=f"p{i}", axis=0) for i in range(3)),
        node("Transpose", "p1", to="k", perm=[0, 1, 3, 2]),
        node("MatMul", "p0", "k", to="s"),
        node("Softmax", "s", to="t", axis=-1),
        node("MatMul", "t", "p2", to="u"),
        node("Transpose", "u", to="v", perm=[0, 2, 1, 3]),
        node("Reshape", "v", "three"),
    ]
    constants = {f"i{i}": np.array(i) for i in range(3)} | {
        "w": weights(8, 24), "five": ints(0, 6, 3, 2, 4), "three": ints(0, 6, 8), "scale": weights(3, 1, 2, 1, 4),
    }  # fmt: skip
    model = model_of(nodes, constants, (6, 8))
    network = read(model, tmp_path)
    assert agrees(network, model, (6, 8))


PICKED = {
    "channels": ([1, 0, 2, 3], np.array([[3], [0], [-1]]), [1, 0, 2, 3]),
    "pixels": ([2, 3, 0, 1], np.array([[[0, 1], [6, -2]], [[3, 3], [-7, 0]]]), [2, 3, 0, 1]),
}


@pytest.mark.parametrize("name", PICKED)
def test_places_told_by_several_dimensions(name: str, tmp_path: Path) -> None:
    """As torch's exporter picks channels by a list: the dimensions are brought to the front, and the batch behind."""
    there, places, back = PICKED[name]
    nodes = [
        node("Transpose", "x", to="t", perm=there), node("GatherND", "t", "p", to="g"),
        node("Transpose", "g", perm=back),
    ]  # fmt: skip
    model = model_of(nodes, {"p": places.astype(np.int64)}, IMAGE)
    assert agrees(read(model, tmp_path), model, IMAGE)
    with pytest.raises(ModelFileError, match="picks samples"):
        read(model_of([node("GatherND", "x", "p")], {"p": places.astype(np.int64)}, IMAGE), tmp_path)


def test_products_of_values_as_equations_and_a_row_for_every_sample(tmp_path: Path) -> None:
    """``expand`` as torch's exporter writes it asks for the shape of sizes; samples are the first letter everywhere."""
    nodes = [
        node("Shape", "x", to="s"), node("Gather", "s", "i0", to="n"),
        node("Concat", "n", "one", "eight", to="sizes", axis=0),
        node("Shape", "sizes", to="rank"), node("ConstantOfShape", "rank", to="ones"),
        node("Mul", "ones", "minus", to="unknown"), node("Equal", "sizes", "unknown", to="open"),
        node("Where", "open", "ones", "sizes", to="wanted"), node("Expand", "row", "wanted", to="rows"),
        node("Concat", "rows", "x", to="y0", axis=1),
        node("Einsum", "x", "y0", to="z", equation="bkc,bnc->bkn"), node("Einsum", "z", "w", equation="bkn,nk->bn"),
    ]  # fmt: skip
    constants = {
        "i0": ints(0), "one": ints(1), "eight": ints(8), "minus": ints(-1), "row": weights(1, 1, 8), "w": weights(7, 6),
    }  # fmt: skip
    model = model_of(nodes, constants, (6, 8))
    ones = next(proto for proto in model.graph.node if proto.op_type == "ConstantOfShape")
    ones.attribute.append(helper.make_attribute("value", numpy_helper.from_array(ints(1))))
    assert agrees(read(model, tmp_path), model, (6, 8))


def test_an_equation_that_sums_over_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="samples are not the first letter"):
        read(model_of([node("Einsum", "x", "x", equation="bc,nc->bn")], {}, (6,)), tmp_path)


ROWS = {
    "of a batch": [node("Reshape", "x", "flat", to="a")],
    "that are flattened": [node("Flatten", "x", to="a", axis=2)],
    "of sequences, time first": [
        node("Transpose", "x", to="t", perm=[1, 0, 2]), node("Shape", "t", to="s"),
        node("Reshape", "t", "flat", to="a"),
    ],
    "of sequences, as many as there are": [
        node("Transpose", "x", to="t", perm=[1, 0, 2]), node("Shape", "t", to="s"),
        *(node("Gather", "s", f"i{i}", to=f"s{i}") for i in range(3)), node("Mul", "s0", "s1", to="n"),
        node("Concat", "n", "s2", to="sizes", axis=0), node("Reshape", "t", "sizes", to="a"),
    ],
}  # fmt: skip
"""Ways to join the batch with what lies beside it."""


@pytest.mark.parametrize("name", ROWS)
def test_rows_of_a_batch_and_its_steps_go_through_a_matrix(name: str, tmp_path: Path) -> None:
    """``(batch · steps, 8)`` → 5 columns → ``(batch, steps, 5)``, in the order that the file has."""
    timed = "time" in name or "many" in name
    back = [node("Slice", "s", "i0", "i2", to="front"), node("Concat", "front", "open", to="back", axis=0)]
    nodes = [
        *ROWS[name],
        node("Gemm", "a", "w", "b", to="c"),
        node("Softmax", "c", to="d", axis=1),
        node("Mul", "d", "b", to="e"),
        *(back if timed else []),
        node("Reshape", "e", "back" if timed else "sized", to="f"),
        node("Transpose", "f", perm=[1, 0, 2] if timed else [0, 1, 2]),
    ]
    constants = {f"i{i}": ints(i) for i in range(3)} | {
        "w": weights(8, 5), "b": weights(5), "flat": ints(-1, 8), "sized": ints(-1, 6, 5), "open": ints(-1),
    }  # fmt: skip
    model = model_of(nodes, constants, (6, 8))
    network = read(model, tmp_path)
    assert agrees(network, model, (6, 8))
    assert numeric_parity(network, to_onnx(network), [torch.randn(3, 6, 8)]).ok
    assert [type(leaf) for _, leaf in network.leaves()] == [nn.Linear, nn.Softmax]


BATCHES = {
    "summed with itself elsewhere": (
        [node("Transpose", "x", to="t", perm=[1, 0, 2, 3]), node("Add", "x", "t")], "is dimension 1 of what it takes"),
    "normalised over": (
        [node("Transpose", "x", to="t", perm=[1, 0, 2, 3]), node("Softmax", "t", axis=1)], "the batch"),
    "joined and pooled": (
        [node("Reshape", "x", "f", to="t"), node("ReduceMax", "t", "j")], "joined with other dimensions"),
    "picked from": ([node("Gather", "x", "i", axis=0)], "the batch"),
    "cut": ([node("Slice", "x", "i", "j", "i")], "the batch"),
}  # fmt: skip


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_is_not_kept_is_refused(name: str, tmp_path: Path) -> None:
    nodes, reason = BATCHES[name]
    with pytest.raises(ModelFileError, match=reason):
        read(model_of(nodes, {"i": ints(0), "j": ints(1), "f": ints(-1, 7)}, IMAGE), tmp_path)


@pytest.mark.parametrize("nodes", [
    [node("Transpose", "x", perm=[1, 0, 2, 3])], [node("Unsqueeze", "x", "i")],
], ids=["transposed", "behind another"])  # fmt: skip
def test_an_answer_with_the_batch_elsewhere_has_it_first_here(nodes: list[onnx.NodeProto], tmp_path: Path) -> None:
    """As recognisers of text answer: ``(time, batch, letters)``."""
    model = model_of(nodes, {"i": ints(0)}, IMAGE)
    network = read(model, tmp_path)
    x = torch.randn(3, *IMAGE)
    (theirs,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x.numpy()})
    assert np.array_equal(network(x).numpy(), np.moveaxis(theirs, 1, 0))
    assert "has the batch as dimension 1 in the file" in network.notes[-1]


def test_a_batch_of_one_that_is_fixed_in_the_file(tmp_path: Path) -> None:
    """Sizes are baked in, constants have one row: any batch is read, each sample as it is alone."""
    nodes = [
        node("Concat", "c", "x", to="a", axis=1), node("Slice", "a", "zero", "one", "zero", to="b"),
        node("Reshape", "b", "sizes"),
    ]  # fmt: skip
    constants = {"c": weights(1, 2, 7, 7), "zero": ints(0), "one": ints(1), "sizes": ints(1, 294)}
    model = model_of(nodes, constants, IMAGE)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    network = read(model, tmp_path)
    assert agrees(network, model, IMAGE, batch=1)
    x = torch.randn(3, *IMAGE)
    assert torch.equal(network(x)[1:2], network(x[1:2]))


# --- inputs --------------------------------------------------------------------------------------------------------


def open_sizes() -> onnx.ModelProto:
    model, _ = one("GlobalAveragePool")
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    return model


def test_open_sizes_are_those_that_are_given(tmp_path: Path) -> None:
    onnx.save(open_sizes(), tmp_path / "model.onnx")
    assert read_onnx(tmp_path / "model.onnx", (4, 5, 9)).signature.input.shape == (4, 5, 9)
    asked: list[str] = []
    for given, shape in (((4, 5, 9), (4, 5, 9)), (None, (4, 6, 6))):
        network = read_onnx(tmp_path / "model.onnx", given, lambda: asked.append("data") or (4, 6, 6))
        assert network.signature.input.shape == shape
    assert asked == ["data"], "the data are looked at only where nobody says"
    with pytest.raises(ModelFileError, match=r"\(batch, 4, side, side\), which --input 3x5x9 does not fit"):
        read_onnx(tmp_path / "model.onnx", (3, 5, 9))


def test_several_inputs_and_outputs_are_named(tmp_path: Path) -> None:
    model = model_of([node("Relu", "x"), node("Abs", "x", to="z")], {}, IMAGE)
    model.graph.output.add().CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    model.graph.input.add().CopyFrom(helper.make_tensor_value_info("w:0", TensorProto.FLOAT, ["batch", "k"]))
    onnx.save(model, tmp_path / "model.onnx")
    network = read_onnx(tmp_path / "model.onnx", {"w:0": (3,)})
    assert [spec.name for spec in network.signature.inputs] == ["x", "w:0"]
    assert [spec.name for spec in network.signature.outputs] == ["y", "z"]
    again = onnx.load_from_string(to_onnx(network)).graph
    assert [value.name for value in (*again.input, *again.output)] == ["x", "w:0", "y", "z"]
    for wrong, reason in (((3,), "say which one --input is for"), ({"v": (3,)}, "no input 'v'; its inputs are x, w:0")):
        with pytest.raises(ModelFileError, match=reason):
            read_onnx(tmp_path / "model.onnx", wrong)


def test_bytes_as_input(tmp_path: Path) -> None:
    model = model_of([node("Cast", "x", to="a", to_=1), node("Div", "a", "c")], {"c": scalar(255)}, IMAGE)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    x = torch.randint(0, 256, (2, *IMAGE)).float()
    assert torch.allclose(read(model, tmp_path)(x), x / 255)


# --- held against ONNX Runtime -------------------------------------------------------------------------------------


def test_a_wrong_reading_is_refused_and_its_operator_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Negative control: a rule that forgets an attribute."""
    monkeypatch.setitem(RULES, "LeakyRelu", lambda given: Node.leaf(given, nn.LeakyReLU(), given.tensor()))
    nodes = [node("Conv", "x", "w", to="a"), node("LeakyRelu", "a", to="b", alpha=0.3), node("Exp", "b")]
    with pytest.raises(ModelFileError, match=r"differs from the file .* first to differ is LeakyRelu"):
        read(model_of(nodes, {"w": weights(4, 4, 3, 3) * 0.1}, IMAGE), tmp_path)


def test_values_that_are_no_numbers_must_lie_in_the_same_places() -> None:
    wanted = np.array([[1.0, math.nan], [math.inf, 2.0]])
    assert check._gap(torch.tensor(wanted), wanted) == 0
    assert check._gap(torch.nan_to_num(torch.tensor(wanted)), wanted) == math.inf


# --- hostile files -------------------------------------------------------------------------------------------------


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="its input 'b' is made nowhere before it"):
        read(model_of([node("Add", "x", "b"), node("Relu", "y", to="b")], {}, IMAGE), tmp_path)


def test_a_value_that_is_made_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="'y' is made twice"):
        read(model_of([node("Relu", "x"), node("Abs", "x")], {}, IMAGE), tmp_path)


def external(count: int, folder: Path) -> Path:
    """Tensors of 40 bytes each that all lie in the first 40 bytes of a file of their own."""
    model = model_of([node("Add", "x", "w0")], {}, (10,))
    for index in range(count):
        tensor = numpy_helper.from_array(np.ones(10, np.float32), f"w{index}")
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "w.bin"
        model.graph.initializer.append(tensor)
    (folder / "w.bin").write_bytes(np.ones(12, np.float32).tobytes())
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def test_tensors_beside_a_file_count_and_are_not_shared_without_end(tmp_path: Path) -> None:
    path = external(1, tmp_path)
    assert stored_bytes(path) == path.stat().st_size + 48
    assert read_onnx(path).signature.input.shape == (10,)
    with pytest.raises(ModelFileError, match="4,000 bytes beside the file, where 48 lie"):
        read_onnx(external(100, tmp_path))
