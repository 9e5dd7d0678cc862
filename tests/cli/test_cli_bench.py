"""``compressor bench``: what is compared, what files are run on, and what is said about files that cannot be."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from cli_running import Run
from onnx import TensorProto, helper

from compressor.api.bench import FileFacts, Timed
from compressor.cli.bench.show import names_of, show
from compressor.cli.output import CommandOutput
from compressor.measure.latency import Comparison
from compressor.runtime import Setting


def test_it_compares_with_the_first_file(run: Run, onnx_file: Path) -> None:
    ran = run("bench", onnx_file, onnx_file, "--fail-if-slower", "0.5", "--json")
    assert ran.code == 0
    first, second = ran.json
    assert (first["speedup"], first["low"], first["high"], first["verdict"]) == (1.0, 1.0, 1.0, "first")
    assert second["low"] <= second["speedup"] <= second["high"]
    assert second["verdict"] in ("no difference shown", "too short to tell")
    assert first["us"] > 0
    assert first["size_bytes"] == onnx_file.stat().st_size
    assert 0 < first["memory_bytes"] < 1 << 27
    assert (first["clock"], first["threads"], first["provider"]) == ("thread", 1, "CPUExecutionProvider")
    assert first["warmup_calls"] > 0


@pytest.mark.parametrize("width", [80, 50])
def test_every_figure_is_there_at_any_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    facts = FileFacts(7_000, 5_000_000, (("image", "float", (8, 1, 8, 8)), ("ids", "int64", (8, 3))))
    timing = Comparison(1.31, 1.29, 1.34, 400.0, 300.0, 410.0, 305.0, 312.0, 270, 9, 0.5, ("an odd machine",))
    names = ("a_file_with_a_long_name.onnx", "another_of_that_length.onnx")
    show([Timed(Path(name), facts, timing) for name in names], Setting(), None, CommandOutput(as_json=False))
    shown = capsys.readouterr().out
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= width
    said = " ".join(shown.split())
    figures = (*names, "6.84 KiB", "4.77 MiB", "300 µs", "305 µs", "312 µs", "1.31×", "1.29–1.34", "faster")
    texts = ("8×1×8×8 float, ids 8×3 int64 (random: normal floats and whole numbers 0 and 1)", "Warm-up: 11 calls")
    for part in (*figures, *texts, "270 rounds in 9 pairs", "an odd machine"):
        assert part in said, part


@pytest.fixture
def long_and_short(tmp_path: Path) -> tuple[Path, Path]:
    """Files that multiply matrices of any height, the first twenty times as often."""
    x, y = (value(name, TensorProto.FLOAT, ["N", "rows", 32]) for name in ("x", "y"))
    weight = onnx.numpy_helper.from_array(np.eye(32, dtype=np.float32), "w")
    paths = []
    for times in (20, 1):
        names = ["x", *(f"h{n}" for n in range(1, times)), "y"]
        nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
        paths.append(written(tmp_path / f"{times}.onnx", nodes, [x], [y], [weight]))
    return paths[0], paths[1]


def test_a_slower_file_fails_where_that_is_asked_for(run: Run, long_and_short: tuple[Path, Path]) -> None:
    long, short = long_and_short
    ran = run("bench", short, long, short, "--shape", "rows=64", "--fail-if-slower", 0.9, "--json")
    assert (ran.code, [entry["too_slow"] for entry in ran.json]) == (1, [False, True, False])
    assert f"Too slow: {long} runs at 0." in ran.err
    assert f"the speed of {short}; the limit is 0.9×" in ran.err


def test_several_inputs_and_outputs_of_many_types_on_real_data(run: Run, tmp_path: Path) -> None:
    """A table looked up, outputs whose sizes depend on the data, small floats, text; two threads."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["found"]),
        helper.make_node("NonZero", ["found"], ["places"]),
        helper.make_node("Cast", ["found"], ["small"], to=TensorProto.BFLOAT16),
        helper.make_node("Not", ["mask"], ["unmask"]),
        helper.make_node("Cast", ["brain"], ["text"], to=TensorProto.STRING),
    ]
    inputs = [
        value("ids", TensorProto.INT64, ["N", "length"]),
        value("mask", TensorProto.BOOL, ["N", "length"]),
        value("brain", TensorProto.BFLOAT16, [2]),
    ]
    kinds = {"places": "INT64", "small": "BFLOAT16", "unmask": "BOOL", "text": "STRING"}
    outputs = [value(name, TensorProto.DataType.Value(kind), None) for name, kind in kinds.items()]
    table = onnx.numpy_helper.from_array(np.arange(40, dtype=np.float32).reshape(10, 4), "table")
    file = written(tmp_path / "many.onnx", nodes, inputs, outputs, [table])
    np.savez(tmp_path / "data.npz", ids=np.full((5, 7), 9), brain=np.ones(2))
    (found,) = run("bench", file, "--inputs", tmp_path / "data.npz", "--batch", 3, "--threads", 2, "--json").json
    assert {entry["name"]: entry["shape"] for entry in found["inputs"]} == {"ids": [3, 7], "mask": [3, 7], "brain": [2]}
    assert (found["clock"], found["threads"]) == ("wall", 2)
    np.savez(tmp_path / "far.npz", ids=np.full((5, 7), 10))
    assert "ONNX Runtime cannot run it" in run("bench", file, "--inputs", tmp_path / "far.npz").err


def test_text_is_timed_with_its_copies_and_that_is_said(run: Run, tmp_path: Path) -> None:
    words, kept = (value(name, TensorProto.STRING, ["N"]) for name in ("words", "kept"))
    file = written(tmp_path / "text.onnx", [helper.make_node("Identity", ["words"], ["kept"])], [words], [kept], [])
    np.savez(tmp_path / "words.npz", words=np.array(["a", "b"]))
    (found,) = run("bench", file, "--inputs", tmp_path / "words.npz", "--json").json
    assert "times include that" in found["notes"][-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--provider", "abacus"), r"no provider 'abacus': .*cpu"),
        (("--shape", "1x8x8"), "expected NAME=SIZES"),
        (("--shape", "x=1x-8"), r"--shape x=1x-8: expected sizes"),
        (("--shape", "y=1x8x8"), "no input and no open dimension 'y'; inputs: x N×rows×32 float"),
        (("--shape", "x=1x64x31"), "input 'x' takes N×rows×32, not 1×64×31"),
        ((), "dimension 1 of input 'x' is open (rows): say --shape x=1x…x32, or --shape rows=…"),
        (("--fail-if-slower", "0.98"), "name two"),
        (("--fail-if-slower", "nan"), "--fail-if-slower nan"),
        (("--inputs", "nowhere.npz"), "nowhere.npz"),
        (("--threads", "0"), "--threads"),
    ],
)
def test_options_that_make_no_sense_are_one_line(
    run: Run, long_and_short: tuple[Path, Path], options: tuple[str, ...], said: str
) -> None:
    ran = run("bench", long_and_short[0], *options)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert said.replace(".*", "") in ran.err or said.split(".*")[-1] in ran.err


def value(name: str, kind: int, shape: Sequence[int | str] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def written(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto],
) -> Path:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, weights)
    opsets = [helper.make_opsetid("", 20)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("memory", "ONNX Runtime cannot run it"),
        ("endless", "running it in ONNX Runtime took longer than 1 s"),
        ("error", "ONNX Runtime cannot run it"),
        ("empty", "has a dimension of size 0"),
        ("pipe", "is no file"),
        ("device", "is no file"),
    ],
)
def test_bench_says_in_one_line_what_is_wrong_with_a_hostile_file(
    run: Run, tmp_path: Path, harm: str, reason: str
) -> None:
    ran = run("bench", hostile(harm, tmp_path), "--seconds", 1, "--memory", 1)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert reason in ran.err


def hostile(harm: str, folder: Path) -> Path:
    """A small file that unfolds to 32 GiB, never ends, fails when it runs, has nothing to run on, or is none."""
    path = folder / "odd.onnx"
    whole = functools.partial(helper.make_tensor_value_info, elem_type=TensorProto.INT64, shape=[])
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [7 if harm == "error" else 1 << 33])
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    match harm:
        case "memory":
            nodes = [
                helper.make_node("ConstantOfShape", ["shape"], ["all"]),
                helper.make_node("ReduceSum", ["all"], ["sum"], keepdims=0),
                helper.make_node("Add", ["x", "sum"], ["y"]),
            ]
        case "endless":
            inner = [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["v"], ["w"])]
            on = functools.partial(helper.make_tensor_value_info, elem_type=TensorProto.BOOL, shape=[])
            value = functools.partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT, shape=None)
            body = helper.make_graph(inner, "body", [whole("i"), on("go"), value("v")], [on("on"), value("w")])
            times = helper.make_node("Constant", [], ["times"], value_int=1 << 60)
            nodes = [times, helper.make_node("Loop", ["times", "", "x"], ["y"], body=body)]
        case "error":
            nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
        case "pipe":
            os.mkfifo(path)
            return path
        case "device":
            path.symlink_to("/dev/zero")
            return path
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 0 if harm == "empty" else 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    return written(path, nodes, [x], [y], [shape])


def test_bench_names_files_by_what_tells_them_apart() -> None:
    assert names_of([Path("r/a/model.onnx"), Path("r/b/model.onnx")]) == ["a", "b"]
    assert names_of([Path("a.onnx"), Path("x/a.onnx")]) == ["a.onnx", "x/a.onnx"]
    assert names_of([Path("r/a.onnx")]) == ["a.onnx"]
    assert names_of([Path("r/a.onnx"), Path("r/b.onnx"), Path("r/a.onnx")]) == ["a.onnx", "b.onnx", "a.onnx"]
