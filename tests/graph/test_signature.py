"""Names, types and nesting of inputs and outputs: from a module through ``.pt2`` and ONNX files and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressor.errors import CaptureError, InputError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.given import Given, given_inputs, parse_input
from compressor.graph.nested import tensors
from compressor.graph.nesting import from_data, to_data
from compressor.graph.network import Network
from compressor.graph.onnx_reader import read_onnx
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.graph.signature import TensorSpec
from compressor.measure.crosscheck import cross_check
from compressor.measure.parity import numeric_parity

IMAGE = (3, 6, 6)


class Pair(NamedTuple):
    boxes: Tensor
    scores: Tensor


@dataclasses.dataclass
class Answer:
    mask: Tensor
    loss: Any = None


class Model(nn.Module):
    """Whatever ``forward`` of its own does with a convolution, a linear layer and what it takes."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.conv, self.fc, self.table = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Embedding(9, 4)
        self.function = function

    def forward(self, image: Tensor, extra: Tensor | None = None, *, flag: Tensor | None = None) -> Any:
        return self.function(self, image, extra, flag)


def model(function: Callable[..., Any]) -> Model:
    torch.manual_seed(0)
    return Model(function).eval()


CASES: dict[str, tuple[Callable[..., Any], Any, list[str], list[str]]] = {
    "a tensor": (lambda m, x, e, f: m.conv(x), IMAGE, ["image"], ["output"]),
    "a tuple": (lambda m, x, e, f: (m.conv(x), x + 1), IMAGE, ["image"], ["output", "output_1"]),
    "a list of one": (lambda m, x, e, f: [m.conv(x)], IMAGE, ["image"], ["output"]),
    "a dict": (lambda m, x, e, f: {"b": m.conv(x), "a": x + 1}, IMAGE, ["image"], ["b", "a"]),
    "keys that lead to it": (
        lambda m, x, e, f: {"head": {"mask": m.conv(x), 7: x + 1}}, IMAGE, ["image"], ["head.mask", "head.7"]),
    "a NamedTuple": (lambda m, x, e, f: Pair(m.conv(x), x + 1), IMAGE, ["image"], ["boxes", "scores"]),
    "a dataclass with constants": (
        lambda m, x, e, f: Answer(m.conv(x), [None, x.shape[2], {"n": x + 1}]), IMAGE, ["image"], ["mask", "loss.n"]),
    "one value twice, and the input": (
        lambda m, x, e, f: (lambda y: (y, {"again": y, "image": x}))(m.conv(x)),
        IMAGE, ["image"], ["output", "again", "image_1"]),
    "places": (lambda m, x, e, f: {"where": m.conv(x).argmax(1), "over": m.conv(x) > 0}, IMAGE,
        ["image"], ["where", "over"]),
    "two inputs": (lambda m, x, e, f: m.conv(x).mean((2, 3)) * m.fc(e), (IMAGE, (4,)), ["image", "extra"], ["output"]),
    "an input that is not used": (lambda m, x, e, f: m.conv(x), (IMAGE, (4,)), ["image", "extra"], ["output"]),
    "one number per sample, by keyword": (
        lambda m, x, e, f: m.conv(x) * f[:, None, None, None].float(),
        {"image": IMAGE, "flag": TensorSpec("flag", (), torch.bool)}, ["image", "flag"], ["output"]),
    "bytes": (lambda m, x, e, f: m.conv(x.float() / 255), TensorSpec("image", IMAGE, torch.uint8), ["image"],
        ["output"]),
    "places in a table": (
        lambda m, x, e, f: m.conv(x).mean((2, 3)) + m.table(e).mean(1), (IMAGE, torch.zeros(5, 3).long()),
        ["image", "extra"], ["output"]),
    "whole numbers": (lambda m, x, e, f: m.fc(m.conv(x).mean((2, 3)) + e[:, None]), (IMAGE, torch.zeros(5).long()),
        ["image", "extra"], ["output"]),
}  # fmt: skip


def kind_of(value: Any) -> Any:
    """The structure of nested values, with tensors as their shapes."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.dtype
    if isinstance(value, dict):
        return {key: kind_of(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value) is list, [kind_of(part) for part in value]
    return value


def called(module: nn.Module, network: Network, inputs: Any) -> Any:
    """The module on the inputs of its network, by their names."""
    names = [spec.name for spec in network.signature.inputs]
    with torch.no_grad():
        return module(**dict(zip(names, network.signature.tensors(inputs), strict=True)))


@pytest.mark.parametrize("name", CASES)
def test_names_types_and_nesting_survive(name: str, tmp_path: Path) -> None:
    function, inputs, taken, given_back = CASES[name]
    module = model(function)
    network = capture(module, inputs)
    signature = network.signature
    assert [spec.name for spec in signature.inputs] == taken
    assert [spec.name for spec in signature.outputs] == given_back
    x = signature.random(3)
    theirs, ours = called(module, network, x), network(x)
    if not dataclasses.is_dataclass(theirs):
        assert kind_of(ours) == kind_of(theirs)
        assert all(map(torch.equal, tensors(ours), tensors(theirs)))
    data = to_onnx(network)
    assert numeric_parity(network, data, [x]).ok
    assert cross_check(network, data, [x]).status == "agrees"
    write_pt2(network, tmp_path / "model.pt2")
    again = read_pt2(tmp_path / "model.pt2")
    assert again.signature == signature
    assert kind_of(again(x)) == kind_of(ours)
    (tmp_path / "model.onnx").write_bytes(data)
    if name != "places":  # the reader has no rule for ArgMax
        read = read_onnx(tmp_path / "model.onnx").signature
        assert (read.inputs, read.outputs) == (signature.inputs, signature.outputs)


def test_a_record_reads_as_its_owner_wrote_it() -> None:
    network = capture(model(lambda m, x, e, f: Answer(m.conv(x), [None, x.shape[2]])), IMAGE)
    answer = network(torch.zeros(2, *IMAGE))
    assert answer.mask.shape == (2, 4, 4, 4)
    assert answer.loss == [None, 6]


def test_an_archive_of_torch_itself_keeps_keys_and_nesting(tmp_path: Path) -> None:
    module = model(lambda m, x, e, f: {"a": (m.conv(x), [e + 1]), "b": None})
    batch = torch.export.Dim("batch")
    example = torch.zeros(2, *IMAGE), torch.zeros(2, 4)
    exported = torch.export.export(module, example, dynamic_shapes=({0: batch}, {0: batch}))
    torch.export.save(exported, tmp_path / "model.pt2")
    read = read_pt2(tmp_path / "model.pt2")
    assert [spec.name for spec in read.signature.inputs] == ["image", "extra"]
    assert [spec.name for spec in read.signature.outputs] == ["a", "a_1"]
    inputs = read.signature.random(3)
    assert kind_of(read(inputs)) == kind_of(called(module, read, inputs))


def test_a_signature_that_does_not_suit_its_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="makes no sense"):
        from_data({"kind": "record", "parts": [{"kind": "tensor"}], "keys": ["import"]})
    with pytest.raises(CaptureError, match="makes no sense"):
        from_data({"kind": "dict", "parts": [{"kind": "tensor"}] * 2, "keys": ["a", "a"]})


def test_answers_are_what_they_are() -> None:
    """No flattening, no squeezing."""
    shapes: list[tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = [
        (lambda y: y.mean((1, 2, 3)), ()),
        (lambda y: y.mean((1, 2, 3))[:, None], (1,)),
        (lambda y: y.mean((2, 3), keepdim=True), (4, 1, 1)),
        (lambda y: y, (4, 4, 4)),
    ]
    for answer, shape in shapes:
        network = capture(model(lambda m, x, e, f, answer=answer: answer(m.conv(x))), IMAGE)
        session = onnxruntime.InferenceSession(to_onnx(network))
        assert network.signature.output.shape == shape
        assert session.run(None, {"image": np.zeros((5, *IMAGE), np.float32)})[0].shape == (5, *shape)


# --- random networks ---------------------------------------------------------------------------------------------

LEAVES = st.sampled_from(["conv", "row", "input", "none", "number"])
NESTINGS = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.lists(parts, min_size=1, max_size=3),
        st.lists(parts, min_size=1, max_size=3).map(tuple),
        st.dictionaries(st.sampled_from(["a", "b", "image", "x y", 3]), parts, min_size=1, max_size=3),
    ),
    max_leaves=6,
)
EXTRAS = st.lists(
    st.tuples(
        st.sampled_from([(), (4,), (2, 3), (1, 2, 2)]), st.sampled_from([torch.float32, torch.int64, torch.bool])
    ),
    max_size=3,
)


class Random(nn.Module):
    """Returns values of its inputs in a given nesting."""

    def __init__(self, nesting: Any) -> None:
        super().__init__()
        self.nesting, self.conv = nesting, nn.Conv2d(3, 2, 3)

    def forward(self, image: Tensor, *more: Tensor) -> Any:
        values = {"conv": self.conv(image), "input": image, "none": None, "number": 3}
        rows = [x.flatten(1).float().sum(1) if x.dim() > 1 else x.float() for x in (image, *more)]
        values["row"] = torch.stack(rows, 1)
        return _filled(self.nesting, values)


def _filled(nesting: Any, values: dict[str, Any]) -> Any:
    if isinstance(nesting, dict):
        return {key: _filled(part, values) for key, part in nesting.items()}
    if isinstance(nesting, list | tuple):
        return type(nesting)(_filled(part, values) for part in nesting)
    return values[nesting]


@given(NESTINGS, EXTRAS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_nesting_and_any_inputs_go_through_a_file(nesting: Any, extras: list[tuple[Any, torch.dtype]]) -> None:
    torch.manual_seed(0)
    module = Random(nesting).eval()
    given_specs = [Given("", IMAGE), *(Given("", shape, dtype) for shape, dtype in extras)]
    if not any(leaf in str(nesting) for leaf in ("conv", "row", "input")):
        with pytest.raises(CaptureError, match="no tensor"):
            capture(module, given_specs)
        return
    network = capture(module, given_specs)
    signature = network.signature
    inputs = signature.random(3)
    with torch.no_grad():
        wanted = module(*signature.tensors(inputs))
    assert kind_of(network(inputs)) == kind_of(wanted)
    assert from_data(to_data(signature.nesting)) == signature.nesting
    session = onnxruntime.InferenceSession(to_onnx(network))
    names = [[value.name for value in found()] for found in (session.get_inputs, session.get_outputs)]
    assert names == [[spec.name for spec in specs] for specs in (signature.inputs, signature.outputs)]
    fed = dict(zip(names[0], (x.numpy() for x in signature.tensors(inputs)), strict=True))
    found = signature.nested([torch.from_numpy(value) for value in session.run(None, fed)])
    assert kind_of(found) == kind_of(wanted)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(tensors(found), tensors(wanted), strict=True))


# --- what users say of inputs ------------------------------------------------------------------------------------


def test_inputs_as_text() -> None:
    assert parse_input("3x32x32") == Given("", (3, 32, 32))
    assert parse_input("image=3×8×8") == Given("image", (3, 8, 8))
    assert parse_input("extra=4:int64") == Given("extra", (4,), torch.int64)
    assert parse_input("scale=:float32") == Given("scale", (), torch.float32)
    assert parse_input("images:0=3x8x8") == Given("images:0", (3, 8, 8))
    for text in ("3x", "0x3", "=3x3", "image=", "x=3x3:word", "3x3:"):
        with pytest.raises(InputError, match="--input"):
            parse_input(text)


def test_inputs_as_values() -> None:
    assert given_inputs((3, 8, 8)) == (Given("", (3, 8, 8)),)
    assert given_inputs(((3, 8, 8), (4,))) == (Given("", (3, 8, 8)), Given("", (4,)))
    assert given_inputs(torch.zeros(7, 4).int()) == (Given("", (4,), torch.int32),)
    assert given_inputs({"a": (4,), "b": ()}) == (Given("a", (4,)), Given("b", ()))
    for wrong in (3, (3, 0), "3x3", (3, (4,)), torch.tensor(3)):
        with pytest.raises(InputError, match="expected"):
            given_inputs(wrong)
