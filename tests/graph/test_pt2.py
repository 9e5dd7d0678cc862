"""torch.export archives: the round trip, and every way in which a file can be wrong or hostile."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import pickle
import random
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from archives import MODEL, WEIGHTS, Small, changed, entries, write
from networks import NETWORKS, calibrated
from onnx_support import model_of, weights
from onnx_support import node as operation
from torch import Tensor, nn

from compressor.errors import ModelFileError
from compressor.graph.capture import capture
from compressor.graph.onnx_reader import read_onnx
from compressor.graph.pt2 import read_pt2, write_pt2


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip(name: str, tmp_path: Path) -> None:
    network = capture(calibrated(name), NETWORKS[name][1])
    path = tmp_path / "model.pt"
    write_pt2(network, path)
    read = read_pt2(path)
    assert [(p, str(leaf)) for p, leaf in read.leaves()] == [(p, str(leaf)) for p, leaf in network.leaves()]
    assert [node.op for node in read.graph.nodes] == [node.op for node in network.graph.nodes]
    theirs, ours = network.module.state_dict(), read.module.state_dict()
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in theirs)
    x = torch.randn(3, *NETWORKS[name][1])
    assert torch.equal(read(x), network(x))
    with torch.no_grad():  # negative control: one weight is enough to tell them apart
        next(read.module.parameters()).view(-1)[0] += 0.1
    assert not torch.equal(read(x), network(x))


ODD = ["élan", "名", "$w", "__w", "w__", "_modules", "self", "class", "graph", "9 lives", "a:0", "x" * 300]
"""Names that modules and ONNX tensors bear, and Python, fx or modules would read otherwise."""


@pytest.mark.parametrize("name", ODD, ids=lambda name: str(name)[:8])
def test_odd_names_are_written_and_read_again(name: str, tmp_path: Path) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
            self.conv._parameters[f"{name}2"] = nn.Parameter(torch.randn(4))
            self._parameters[name] = nn.Parameter(torch.randn(4))

        def forward(self, x: Tensor) -> Tensor:
            rows = self.conv(x).mean((2, 3)) * self._parameters[name]
            return self.head(rows + self.conv._parameters[f"{name}2"])

    module, x = Odd().eval(), torch.randn(2, 3, 8, 8)
    exported = torch.export.export(module, (x,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=False)
    torch.export.save(exported, tmp_path / "theirs.pt2")
    for network in (capture(module, (3, 8, 8)), read_pt2(tmp_path / "theirs.pt2")):
        write_pt2(network, tmp_path / "ours.pt2")
        again = read_pt2(tmp_path / "ours.pt2")
        assert torch.equal(again(x), module(x))
        assert again.module.state_dict().keys() == network.module.state_dict().keys()

    graph = [
        *(operation("Conv", "x", name, to="c"), operation("Mul", "c", f"{name}2", to="m")),
        *(
            operation("GlobalAveragePool", "m", to="p"),
            operation("Flatten", "p", to="f"),
            operation("MatMul", "f", f"{name}.w"),
        ),
    ]
    constants = {name: weights(4, 3, 3, 3), f"{name}2": weights(4, 1, 1), f"{name}.w": weights(4, 3)}
    for operator in graph:
        operator.name = f"{name}/{operator.op_type}"
    onnx.save(model_of(graph, constants, (3, 8, 8)), tmp_path / "model.onnx")
    network = read_onnx(tmp_path / "model.onnx")
    write_pt2(network, tmp_path / "ours.pt2")
    assert torch.equal(read_pt2(tmp_path / "ours.pt2")(x), network(x))


def test_torch_reads_what_is_written(tmp_path: Path) -> None:
    network = capture(calibrated("densenet"), (3, 24, 24))
    write_pt2(network, tmp_path / "model.pt2")
    x = torch.randn(4, 3, 24, 24)
    assert torch.equal(torch.export.load(tmp_path / "model.pt2").module()(x), network(x))


def test_the_file_tells_nothing_of_the_machine(tmp_path: Path) -> None:
    network = capture(calibrated("vgg"), (3, 32, 32))
    write_pt2(network, tmp_path / "model.pt2")
    content = (tmp_path / "model.pt2").read_bytes()
    assert os.getcwd().encode() not in content
    assert b"networks.py" not in content


def test_training_goes_on_after_reading(tmp_path: Path) -> None:
    network = capture(calibrated("resnet"), (3, 32, 32))
    write_pt2(network, tmp_path / "model.pt2")
    read = read_pt2(tmp_path / "model.pt2").train()
    network.train()
    x = torch.randn(4, 3, 32, 32)
    for each in (read, network):
        each(x).square().sum().backward()
    gradients = [{k: p.grad for k, p in each.module.named_parameters()} for each in (read, network)]
    assert all(torch.equal(gradients[0][key], gradients[1][key]) for key in gradients[1])


@pytest.mark.parametrize("training", [False, True])
def test_a_trace_of_one_batch_size_is_read_for_all(training: bool, tmp_path: Path) -> None:
    for name in ("vgg", "squeezenet"):
        model, shape = calibrated(name), NETWORKS[name][1]
        expected = capture(model, shape)
        exported = torch.export.export(copy.deepcopy(model).train(training), (torch.randn(2, *shape),))
        torch.export.save(exported, tmp_path / "model.pt2")
        read = read_pt2(tmp_path / "model.pt2")
        x = torch.randn(5, *shape)
        assert torch.equal(read(x), expected(x))
        assert [str(leaf) for _, leaf in read.leaves()] == [str(leaf) for _, leaf in expected.leaves()]


def test_a_trace_of_all_image_sizes_is_read_for_the_traced_one(tmp_path: Path) -> None:
    model, dims = calibrated("squeezenet"), dict.fromkeys((0, 2, 3), torch.export.Dim.AUTO)
    exported = torch.export.export(model, (torch.randn(2, 3, 32, 32),), dynamic_shapes=(dims,))
    torch.export.save(exported, tmp_path / "model.pt2")
    read = read_pt2(tmp_path / "model.pt2")
    assert read.signature.input.shape == (3, 32, 32)
    x = torch.randn(3, 3, 32, 32)
    assert torch.equal(read(x), model(x))


def test_dropout_that_is_always_on_stays_so(tmp_path: Path) -> None:
    class Noisy(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(x, 0.5, True)

    write_pt2(capture(Noisy(), (64,)), tmp_path / "model.pt2")
    assert (read_pt2(tmp_path / "model.pt2")(torch.ones(2, 64)) == 0).any()


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    model[2].weight = model[0].weight
    write_pt2(capture(model, (4,)), tmp_path / "model.pt2")
    read = read_pt2(tmp_path / "model.pt2")
    assert read.leaf("0").weight is read.leaf("2").weight


def test_several_results_and_batch_sizes(tmp_path: Path) -> None:
    class Split(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            a, b = x.view(x.size(0) * 2, 2, 8, 8).chunk(2, 1)
            return (a * b.max(3, keepdim=True).values).view(x.size(0), 2, 8, 8)

    network = capture(Split(), (4, 8, 8))
    write_pt2(network, tmp_path / "model.pt2")
    x = torch.randn(3, 4, 8, 8)
    assert torch.equal(read_pt2(tmp_path / "model.pt2")(x), network(x))


# --- wrong and hostile files -------------------------------------------------------------------------------------


class Hostile:
    """Unpickling this makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (str(self.trace),)


def node(model: dict[str, Any], place: int = 0) -> dict[str, Any]:
    return model["graph_module"]["graph"]["nodes"][place]


def rename_output(model: dict[str, Any], name: str) -> None:
    node(model, 0)["outputs"][0]["as_tensor"]["name"] = name
    node(model, 1)["inputs"][0]["arg"]["as_tensor"]["name"] = name


def rename_input(model: dict[str, Any], name: str) -> None:
    graph = model["graph_module"]["graph"]
    graph["tensor_values"][name] = graph["tensor_values"]["x"]
    model["graph_module"]["signature"]["input_specs"][-1]["user_input"]["arg"]["as_tensor"]["name"] = name
    node(model, 0)["inputs"][0]["arg"]["as_tensor"]["name"] = name


def path_of_weight(model: dict[str, Any], path: str) -> None:
    model["graph_module"]["signature"]["input_specs"][0]["parameter"]["parameter_name"] = path


def add_node(model: dict[str, Any], target: str, **arguments: Any) -> None:
    inputs = [{"name": name, "arg": argument, "kind": 1} for name, argument in arguments.items()]
    extra = {"target": target, "inputs": inputs, "outputs": [{"as_tensor": {"name": "extra"}}], "metadata": {}}
    model["graph_module"]["graph"]["nodes"].insert(0, extra)


X = {"as_tensor": {"name": "x"}}

MODEL_CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "code as a value's name": (
        lambda m: rename_output(m, "v); __import__('os').mkdir('{trace}'); (v"), "name of a value"),
    "code as the input's name": (lambda m: rename_input(m, "x=__import__('os').mkdir('{trace}')"), "name of a value"),
    "a keyword as a name": (lambda m: rename_output(m, "lambda"), "name of a value"),
    "code as a path": (
        lambda m: path_of_weight(m, "a\"]); __import__('os').mkdir('{trace}'); (b[\""), "path of a tensor"),
    "a private path": (lambda m: path_of_weight(m, "__class__.weight"), "path of a tensor"),
    "a path that is not there": (lambda m: path_of_weight(m, "other.weight"), "lacks the values"),
    "an operator that reads files": (
        lambda m: add_node(m, "torch.ops.aten.from_file.default", filename={"as_string": "/etc/passwd"}),
        "from_file",
    ),
    "an operator of Python": (lambda m: add_node(m, "os.system", command={"as_string": "mkdir {trace}"}), "os.system"),
    "a builtin": (lambda m: add_node(m, "builtins.eval", code={"as_string": "1"}), "builtins.eval"),
    "an operator in place": (lambda m: add_node(m, "torch.ops.aten.copy_.default", self=X, src=X), "in place"),
    "a graph as an argument": (
        lambda m: add_node(m, "torch.ops.higher_order.cond", pred=X, true={"as_graph": {"name": "g", "graph": {}}}),
        "control flow",
    ),
    "an object as an argument": (
        lambda m: add_node(m, "torch.ops.aten.add.Tensor", self=X, other={"as_custom_obj": {"name": "o"}}),
        "as_custom_obj",
    ),
    "lowered": (lambda m: m.update(verifiers=["ATEN"]), "run_decompositions"),
    "two inputs": (lambda m: m["graph_module"]["signature"]["input_specs"].append(
        {"user_input": {"arg": {"as_tensor": {"name": "y"}}}}), "not a valid"),
    "no graph": (lambda m: m.pop("graph_module"), "not a valid"),
    "a list for a graph": (lambda m: m.update(graph_module=[]), "not a valid"),
    "no groups": (
        lambda m: node(m)["inputs"].append({"name": "groups", "arg": {"as_int": 0}, "kind": 1}), "groups"),
    "a value before it is made": (lambda m: m["graph_module"]["graph"]["nodes"].reverse(), "before it is made"),
    "a huge image": (
        lambda m: m["graph_module"]["graph"]["tensor_values"]["x"]["sizes"].__setitem__(2, {"as_int": 2**40}),
        "shapes"),
}  # fmt: skip


def assert_refused(path: Path, reason: str, trace: Path) -> str:
    """One line, without a side effect."""
    with pytest.raises(ModelFileError, match=reason) as caught:
        read_pt2(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert not trace.exists()
    return str(caught.value)


def test_the_archive_that_is_changed_is_sound(tmp_path: Path) -> None:
    """Negative control: what follows is refused for what was changed."""
    network = read_pt2(changed(tmp_path / "model.pt2", lambda model: None))
    assert [path for path, _ in network.leaves()] == ["conv", "relu", "flatten", "fc"]


@pytest.mark.parametrize("name", MODEL_CHANGES)
def test_a_hostile_graph_is_refused(name: str, tmp_path: Path) -> None:
    change, reason = MODEL_CHANGES[name]
    trace = tmp_path / "trace"
    path = changed(tmp_path / "model.pt2", change)
    with zipfile.ZipFile(path) as archive:
        content = {entry: archive.read(entry) for entry in archive.namelist()}
    content[MODEL] = content[MODEL].replace(b"{trace}", str(trace).encode())
    assert_refused(write(path, content), reason, trace)


def places(content: Any) -> list[tuple[Any, Any]]:
    """Every container inside JSON with every key or index of it."""
    pairs = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [found for key, value in pairs for found in ((content, key), *places(value))]


WRONG = (0, -1, 2, 2**40, 10**30, -(10**9), None, True, "", "x", [], {}, 1.5, float("nan"), {"as_ints": [2**40] * 2})


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_changed_at_random_is_read_or_refused(seed: int, tmp_path: Path) -> None:
    draw = random.Random(seed)
    entry = draw.choice((MODEL, MODEL, WEIGHTS))

    def spoil(content: dict[str, Any]) -> None:
        for container, key in draw.sample(places(content), 3):
            container[key] = draw.choice(WRONG)

    path = changed(tmp_path / "model.pt2", spoil, entry)
    with contextlib.suppress(ModelFileError):
        read_pt2(path)


def meta(config: dict[str, Any], name: str = "fc.weight") -> dict[str, Any]:
    return config["config"][name]["tensor_meta"]


WEIGHT_CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a huge tensor": (lambda c: meta(c)["sizes"].__setitem__(0, {"as_int": 2**50}), "claims"),
    "a huge tensor of equal values": (lambda c: meta(c).update(
        sizes=[{"as_int": 2**20}, {"as_int": 2**10}], strides=[{"as_int": 0}, {"as_int": 0}]), "claims"),
    "a stride out of bounds": (lambda c: meta(c)["strides"].__setitem__(0, {"as_int": 10**6}), "beyond"),
    "a negative stride": (lambda c: meta(c)["strides"].__setitem__(0, {"as_int": -1}), "impossible"),
    "a negative size": (lambda c: meta(c)["sizes"].__setitem__(0, {"as_int": -5}), "impossible"),
    "an offset out of bounds": (lambda c: meta(c)["storage_offset"].update(as_int=10**9), "beyond"),
    "a negative offset": (lambda c: meta(c)["storage_offset"].update(as_int=-4), "impossible"),
    "a symbol as size": (lambda c: meta(c)["sizes"].__setitem__(0, {"as_expr": {"expr_str": "x"}}), "not a valid"),
    "an unknown type": (lambda c: meta(c).update(dtype=99), "unknown type"),
    "another precision": (lambda c: meta(c, "fc.bias").update(dtype=6), "precision"),
    "other sizes": (lambda c: meta(c).update(
        sizes=[{"as_int": 256}, {"as_int": 5}], strides=[{"as_int": 5}, {"as_int": 1}]), "suit"),
    "a path out of the archive": (lambda c: c["config"]["fc.weight"].update(path_name="../../etc/passwd"), "entry"),
    "an entry that is not there": (lambda c: c["config"]["fc.weight"].update(path_name="weight_99"), "lacks"),
    "nothing": (lambda c: c.clear(), "not a valid"),
}  # fmt: skip


@pytest.mark.parametrize("name", WEIGHT_CHANGES)
def test_hostile_weights_are_refused(name: str, tmp_path: Path) -> None:
    change, reason = WEIGHT_CHANGES[name]
    path = changed(tmp_path / "model.pt2", lambda config: change(config) and None, WEIGHTS)
    assert_refused(path, reason, tmp_path / "trace")


def test_pickled_weights_are_not_unpickled(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    bomb = pickle.dumps(Hostile(trace))
    path = changed(tmp_path / "model.pt2", lambda c: c["config"]["fc.weight"].update(use_pickle=True), WEIGHTS)
    with zipfile.ZipFile(path) as archive:
        content = {entry: archive.read(entry) for entry in archive.namelist()}
    content["archive/data/weights/weight_2"] = bomb
    content["archive/data/sample_inputs/model.pt"] = bomb
    assert_refused(write(path, content), "pickled", trace)


def test_pickled_examples_are_not_even_looked_at(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    content = entries() | {"archive/data/sample_inputs/model.pt": pickle.dumps(Hostile(trace))}
    read_pt2(write(tmp_path / "model.pt2", content))
    assert not trace.exists()


def test_compiled_code_is_refused(tmp_path: Path) -> None:
    content = entries() | {"archive/data/aotinductor/model/model.so": b"\x7fELF"}
    assert_refused(write(tmp_path / "model.pt2", content), "compiled code", tmp_path / "trace")


def test_a_zip_bomb_is_refused_without_unpacking(tmp_path: Path) -> None:
    content = entries() | {"archive/data/weights/weight_0": bytes(2**28)}
    path = write(tmp_path / "model.pt2", content, zipfile.ZIP_DEFLATED)
    del content
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert_refused(path, "compressed", tmp_path / "trace")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024


def test_overlapping_entries_are_refused(tmp_path: Path) -> None:
    """The directory at the end of the archive names one run of bytes twice."""
    path = write(tmp_path / "model.pt2", entries())
    with zipfile.ZipFile(path, "a") as archive:
        double = copy.copy(archive.getinfo("archive/data/weights/weight_0"))
        double.filename = double.orig_filename = "archive/data/weights/weight_9"
        archive.filelist.append(double)
        archive.NameToInfo[double.filename] = double
        archive._didModify = True
    assert_refused(path, "overlap", tmp_path / "trace")


def test_repeated_entries_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "model.pt2", entries())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr(MODEL, b"{}")
    assert_refused(path, "repeated", tmp_path / "trace")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b'{"a": ' + b"9" * 10_000 + b"}", b"\xff\xfe", b"[]", b"3"]
)
def test_nonsense_for_json_is_refused(text: bytes, tmp_path: Path) -> None:
    assert_refused(write(tmp_path / "model.pt2", entries() | {MODEL: text}), "JSON|not a valid", tmp_path / "trace")


def test_an_endless_description_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.graph.pt2_in.archive.MAX_JSON", 1000)
    assert_refused(write(tmp_path / "model.pt2", dict(entries())), "too long", tmp_path / "trace")


def test_an_oversized_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "model.pt2"
    with path.open("wb") as file:
        file.truncate(9 * 2**30)  # takes no space: a hole
    assert_refused(path, "GiB", tmp_path / "trace")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(share: float, tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.pt2", dict(entries())).read_bytes()
    path = tmp_path / "model.pt2"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert_refused(path, "damaged or truncated", tmp_path / "trace")


def test_flipped_bits_are_noticed(tmp_path: Path) -> None:
    """In the weights: the checksum tells."""
    path = write(tmp_path / "model.pt2", dict(entries()))
    content = bytearray(path.read_bytes())
    place = content.index(entries()["archive/data/weights/weight_0"])
    content[place + 10] ^= 0xFF
    path.write_bytes(content)
    assert_refused(path, "damaged", tmp_path / "trace")


def test_sizes_grow_without_memory(tmp_path: Path) -> None:
    """A chain of enlargements claims more numbers than there is memory for."""

    class Enlarging(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = nn.functional.interpolate(x, size=(8, 8))
            return nn.functional.interpolate(x, size=(8, 8))

    write_pt2(capture(Enlarging(), (3, 8, 8)), tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        content = {entry: archive.read(entry) for entry in archive.namelist()}
    model = json.loads(content[MODEL])
    for each in model["graph_module"]["graph"]["nodes"]:
        each["inputs"][1]["arg"] = {"as_ints": [400_000, 400_000]}
    path = write(tmp_path / "large.pt2", content | {MODEL: json.dumps(model).encode()})
    assert_refused(path, "would hold more than", tmp_path / "trace")


def test_unused_parts_are_left_out(tmp_path: Path) -> None:
    model = Small().eval()
    model.extra = nn.Linear(3, 3)
    write_pt2(capture(model, (3, 8, 8)), tmp_path / "model.pt2")
    assert "extra.weight" not in read_pt2(tmp_path / "model.pt2").module.state_dict()
