"""Loading models: every kind of file and name, and what is said of those that cannot be loaded."""

from __future__ import annotations

import functools
import io
import os
import pickle
import re
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import safetensors.torch
import torch
from networks import NETWORKS, calibrated
from torch import nn
from torch.nn.utils import prune

from compressor.errors import InputError, ModelFileError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.pt2 import write_pt2
from compressor.imported import import_function
from compressor.load import load_model
from compressor.load.weights import put_weights
from compressor.models import zoo

SHAPE = NETWORKS["squeezenet"][1]


class Hostile:
    """Unpickling this makes a folder."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> tuple[Callable[..., None], tuple[str]]:
        return os.mkdir, (self.trace,)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return calibrated("squeezenet")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module ``mine`` of the user's."""
    (tmp_path / "mine.py").write_text(
        textwrap.dedent("""
            from networks import SqueezeNet
            from torch import nn

            def known(): return SqueezeNet()
            known.input_shape = (3, 32, 32)
            class Known(SqueezeNet): input_shape = (3, 32, 32)
            def unknown(): return SqueezeNet()
            def failing(): raise RuntimeError("no luck\\ntoday")
            def wrong(): return 3
            class Branching(nn.Module):
                input_shape = (3, 4, 4)
                def forward(self, x): return x if x.sum() > 0 else -x
        """)
    )
    (tmp_path / "broken.py").write_text("def (:\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("mine", "broken"):
        sys.modules.pop(name, None)


def same(network: Callable[[torch.Tensor], torch.Tensor], model: nn.Module) -> bool:
    x = torch.randn(3, *SHAPE)
    return torch.allclose(network(x), model(x), atol=1e-5)


def refused(model: str, **options: object) -> str:
    """The one line that is said."""
    with pytest.raises(InputError) as caught:
        load_model(model, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what is loaded ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.pt2", "model.pt", "model"])
def test_an_archive_is_known_by_its_content(name: str, model: nn.Module, tmp_path: Path) -> None:
    write_pt2(capture(model, SHAPE), tmp_path / name)
    network = load_model(str(tmp_path / name))
    assert same(network, model)
    assert network.source == str(tmp_path / name)


@pytest.mark.parametrize("name", ["model.onnx", "model"])
def test_an_onnx_file_is_known_by_its_content(name: str, model: nn.Module, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(to_onnx(capture(model, SHAPE)))
    assert same(load_model(str(tmp_path / name)), model)


@pytest.mark.parametrize("name", [entry.name for entry in zoo()][:1])
def test_a_name_of_the_zoo(name: str) -> None:
    network = load_model(name)
    assert network.signature.input.shape == next(entry.input_shape for entry in zoo() if entry.name == name)


@pytest.mark.parametrize("name", ["known", "Known"])
def test_a_function_with_weights(name: str, model: nn.Module, here: Path) -> None:
    torch.save(model.state_dict(), here / "w.pt")
    assert same(load_model(f"mine:{name}", weights=here / "w.pt"), model)
    assert not same(load_model(f"mine:{name}"), model)


def test_the_shape_can_be_given(here: Path) -> None:
    assert load_model("mine:unknown", input_shape=(3, 40, 40)).signature.input.shape == (3, 40, 40)


SAVED: dict[str, Callable[[dict[str, torch.Tensor], Path], None]] = {
    "a checkpoint": lambda state, path: torch.save({"epoch": 3, "model_state_dict": state}, path),
    "a parallel model's": lambda state, path: torch.save({f"module.{k}": v for k, v in state.items()}, path),
    "a compiled, parallel model's": lambda state, path: torch.save(
        {f"_orig_mod.module.{k}": v for k, v in state.items()}, path
    ),
    "Lightning's": lambda state, path: torch.save(
        {"state_dict": {"loss.weight": torch.ones(3), **{f"model.{k}": v for k, v in state.items()}}, "epoch": 3}, path
    ),
    "averaged ones": lambda state, path: torch.save(
        {"n_averaged": torch.tensor(5), **{f"module.{k}": v for k, v in state.items()}}, path
    ),
    "averaged ones of a checkpoint": lambda state, path: torch.save({"checkpoint": {"state_dict_ema": state}}, path),
    "the legacy format": functools.partial(torch.save, _use_new_zipfile_serialization=False),
    "safetensors": lambda state, path: safetensors.torch.save_file(state, path),
}


@pytest.mark.parametrize("kind", SAVED)
def test_weights_of_every_kind(kind: str, model: nn.Module, here: Path) -> None:
    SAVED[kind](model.state_dict(), here / "w")
    assert same(load_model("mine:known", weights=here / "w"), model)


# --- what is trusted ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickled_module_needs_trust(legacy: bool, model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    message = refused(str(path))
    assert "pickled module" in message
    assert "--trust" in message
    assert "torch.export.save" in message
    assert "networks." in message  # the classes it needs
    assert same(load_model(str(path), trust=True, input_shape=SHAPE), model)
    assert "--input" in refused(str(path), trust=True)


@pytest.mark.parametrize("scripted", [False, True])
def test_torchscript_needs_trust(scripted: bool, model: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = torch.jit.script(model) if scripted else torch.jit.trace(model, torch.randn(1, *SHAPE))
        script.save(str(path))
    message = refused(str(path))
    assert "TorchScript" in message
    assert "--trust" in message
    network = load_model(str(path), trust=True, input_shape=SHAPE)
    assert same(network, model)
    assert network.parameter_count == sum(p.numel() for p in model.parameters())
    assert "--input" in refused(str(path), trust=True)


def test_a_pickled_module_is_found_beside_the_working_directory(here: Path) -> None:
    torch.save(import_function("mine:Known", "model")(), here / "model.pt")
    sys.modules.pop("mine")
    assert load_model(str(here / "model.pt"), trust=True).signature.input.shape == (3, 32, 32)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ["a pipe", "an endless device"])
def test_what_is_no_file_is_told_soon(what: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    os.mkfifo(path) if what == "a pipe" else path.symlink_to("/dev/zero")
    assert "a pipe or a device and no file" in refused(str(path))


def test_the_shape_is_asked_for_only_where_nothing_says_it(here: Path) -> None:
    asked: list[int] = []

    def otherwise() -> tuple[int, ...]:
        asked.append(1)
        return SHAPE

    load_model("mine:known", otherwise=otherwise)
    load_model("mine:unknown", input_shape=SHAPE, otherwise=otherwise)
    assert asked == []
    assert load_model("mine:unknown", otherwise=otherwise).signature.input.shape == SHAPE
    assert asked == [1]


def test_nothing_is_run_without_trust(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    torch.save({"model": Hostile(trace)}, tmp_path / "zip.pt")
    torch.save({"model": Hostile(trace)}, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "raw.pkl").write_bytes(pickle.dumps(Hostile(trace)))
    for path in tmp_path.iterdir():
        assert "--trust" in refused(str(path))
    assert not trace.exists()
    refused(str(tmp_path / "raw.pkl"), trust=True)  # negative control: it does bite
    assert trace.exists()


def test_weights_are_never_unpickled(here: Path) -> None:
    torch.save({"state_dict": Hostile(here / "trace")}, here / "w.pt")
    assert "run code" in refused("mine:known", weights=here / "w.pt", trust=True)
    assert not (here / "trace").exists()


# --- what is said ------------------------------------------------------------------------------------------------


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


STATE = {"conv.weight": torch.ones(2, 2), "conv.bias": torch.ones(2)}

FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a state_dict": (lambda: saved(STATE), r"a state_dict \(2 tensors: conv.weight, …\).*--weights"),
    "a checkpoint": (lambda: saved({"epoch": 1, "state_dict": STATE}), "a checkpoint with a state_dict.*--weights"),
    "a list": (lambda: saved([1, 2]), "a torch.save file with a list"),
    "half a state_dict": (lambda: saved(STATE)[:300], "damaged or truncated"),
    "safetensors": (lambda: safetensors.torch.save(STATE), "weights without their network"),
    "half a legacy file": (lambda: b"\x80\x02\x8a\x0a" + bytes(20), "damaged or truncated"),
    "a pickle": (lambda: pickle.dumps([1]), "a raw pickle"),
    "nothing": (lambda: b"", "an empty file"),
    "text": (lambda: b"epochs: 3\nlr: 0.1\n", "a text file"),
    "noise": (lambda: b"\x9a\xff\x00\x13" * 100, "no model file this tool knows"),
    "an archive of something else": (lambda: _zip({"a/b.txt": b"hello"}), "no model file this tool knows"),
    "an old export": (lambda: _zip({"x/serialized_exported_program.json": b"{}"}), "older torch"),
    "half an archive": (lambda: _zip({"a/b.txt": b"hello" * 99})[:200], "damaged or truncated"),
}


def _zip(entries: dict[str, bytes]) -> bytes:
    import zipfile

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_no_model_is_named_for_what_it_is(kind: str, tmp_path: Path) -> None:
    content, message = FILES[kind]
    path = tmp_path / "model.pt"
    path.write_bytes(content())
    with pytest.raises(ModelFileError, match=message) as caught:
        load_model(str(path))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    assert "a folder" in refused(str(tmp_path))
    assert "no such file" in refused(str(tmp_path / "model.pt"))
    assert "no such file" in refused("model.pt2")


def test_names_that_are_nearly_right() -> None:
    message = refused("lenett")
    assert "did you mean 'lenet'" in message
    assert "package.module:function" in message


def test_functions_that_do_not_work(here: Path) -> None:
    assert "input_shape = (3, 32, 32)" in refused("mine:unknown")
    assert "mine:failing failed: RuntimeError: no luck today (" in refused("mine:failing")
    assert "must return a torch.nn.Module" in refused("mine:wrong")
    assert "has no 'missing'" in refused("mine:missing")
    assert "cannot be imported" in refused("absent.module:function")
    assert refused("mine:knwon").endswith("mine has no 'knwon'; did you mean 'known'?")
    assert refused("mnie:known").endswith("; did you mean 'mine'?")
    assert "SyntaxError" in refused("broken:function")
    assert "mine:Branching: " in refused("mine:Branching")


def test_weights_of_another_network(here: Path) -> None:
    state = NETWORKS["squeezenet"][0]().state_dict()
    state.pop("features.0.weight")
    state["extra"] = torch.ones(1)
    state["features.0.bias"] = torch.ones(99)
    torch.save(state, here / "w.pt")
    message = refused("mine:known", weights=here / "w.pt")
    for part in ("lacks features.0.weight", "has besides extra", "features.0.bias (99,) instead of (16,)"):
        assert part in message
    both = {
        f"{prefix}.{k}": v for prefix in ("net", "ema") for k, v in NETWORKS["squeezenet"][0]().state_dict().items()
    }
    torch.save(both, here / "w.pt")
    assert "two sets of weights fit, those under 'net.' and 'ema.'" in refused("mine:known", weights=here / "w.pt")
    assert "no such file of weights" in refused("mine:known", weights=here / "none.pt")
    torch.save({f"layer{k}": torch.ones(1) for k in range(1000)}, here / "w.pt")
    assert len(refused("mine:known", weights=here / "w.pt")) < 500


def _pruned(layer: nn.Module) -> nn.Module:
    return prune.l1_unstructured(layer, "weight", 0.5)


PARTS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "pruned": _pruned,
    "weight norm": torch.nn.utils.parametrizations.weight_norm,
    "weight norm of other dimensions": lambda layer: torch.nn.utils.parametrizations.weight_norm(layer, dim=1),
    "weight norm of all": lambda layer: torch.nn.utils.parametrizations.weight_norm(layer, dim=None),
    "weight norm as it was saved once": torch.nn.utils.weight_norm,
    "pruned and wrapped": lambda layer: nn.Sequential(_pruned(layer)),
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("name", PARTS)
def test_weights_saved_in_parts_are_put_together(name: str, tmp_path: Path) -> None:
    layer = nn.Conv2d(3, 4, 3)
    module = PARTS[name](layer)
    state = {key.removeprefix("0."): value for key, value in module.state_dict().items()}
    with torch.no_grad():
        for part in state.values():
            part.mul_(torch.rand_like(part) + 0.5)  # trained on, so that nothing is what it was
    images = torch.randn(2, 3, 8, 8)
    expected, plain = module(images), nn.Sequential(nn.Conv2d(3, 4, 3))
    put_weights(plain, {f"module.0.{key}": value for key, value in state.items()}, tmp_path)
    assert torch.allclose(plain(images), expected, atol=1e-6)


def test_parts_that_only_their_module_can_put_together_are_told(tmp_path: Path) -> None:
    state = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(3, 4)).state_dict()
    with pytest.raises(ModelFileError, match=r"lacks weight; has besides .*; .* save it after remove_parametrizations"):
        put_weights(nn.Linear(3, 4), state, tmp_path)


BROKEN: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str, str]] = {
    "no numbers": (lambda t: torch.full_like(t, float("nan")), "weight", "are NaN or infinite, as after a training"),
    "an infinite variance": (lambda t: t / 0, "running_var", "values of .*running_var are NaN or infinite"),
    "a variance below zero": (lambda t: -t - 1, "running_var", "variances below zero"),
    "whole numbers": (lambda t: (t * 100).to(torch.int8), "weight", "int8 instead of float32"),
    "complex numbers": (lambda t: t.to(torch.complex64), "weight", "complex64 instead of float32"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_weights_that_nothing_can_be_computed_with(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change, which, said = BROKEN[kind]
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "normed.py").write_text(
        "from torch import nn\ndef net(): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))\n"
        "net.input_shape = (3, 8, 8)\n"
    )
    weights = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    name = next(name for name in weights if name.endswith(which))
    torch.save({**weights, name: change(weights[name])}, tmp_path / "w.pt")
    assert re.search(said, refused("normed:net", weights=tmp_path / "w.pt"))
    torch.save({**weights, name: weights[name].to_sparse()}, tmp_path / "w.pt")
    assert torch.equal(load_model("normed:net", weights=tmp_path / "w.pt").module.state_dict()[name], weights[name])


def test_weights_for_a_file_that_has_its_own(model: nn.Module, tmp_path: Path) -> None:
    write_pt2(capture(model, SHAPE), tmp_path / "model.pt2")
    torch.save(STATE, tmp_path / "w.pt")
    assert "leave out --weights" in refused(str(tmp_path / "model.pt2"), weights=tmp_path / "w.pt")


def test_an_onnx_file_with_an_unknown_operator(tmp_path: Path) -> None:
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", 3]) for name in ("x", "y")]
    node = onnx.helper.make_node("Hardmax", ["x"], ["y"], name="choose")
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:])), tmp_path / "m.onnx")
    assert "operator Hardmax (node 'choose')" in refused(str(tmp_path / "m.onnx"))


HARM = {
    "exits": ("import os; os._exit(0)", "while the network was made: its process ended with status 0"),
    "crashes": ("import ctypes; ctypes.string_at(0)", "its process was ended by SIGSEGV"),
    "never_ends": ("import time; time.sleep(600)", "took longer than 5 s; make it once yourself, and save it"),
    "closes_everything": ("import os; os.closerange(0, 100); os.abort()", "its process was ended by SIGABRT"),
}


@pytest.mark.parametrize("name", HARM)
def test_a_function_that_takes_its_process_along(name: str, here: Path) -> None:
    code, reason = HARM[name]
    (here / "harmful.py").write_text(f"def {name}():\n    {code}\n")
    assert reason in refused(f"harmful:{name}", seconds=5.0)


@pytest.mark.parametrize("kind", ["factory", "pickle"])
def test_what_runs_code_leaves_this_process_as_it_was(kind: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What it prints is no result, what it imports and changes stays where it ran; the network is the owner's."""
    (here / "changing.py").write_text(
        "import os, torch\nfrom torch import nn\nos.environ['CHANGED'] = 'yes'\nprint('hello')\n"
        "class Net(nn.Sequential):\n    input_shape = (3, 4, 4)\n"
        "    def __init__(s): super().__init__(nn.Conv2d(3, 2, 3), nn.GELU(), nn.Flatten())\n"
    )
    code = "import torch, changing; torch.manual_seed(0); torch.save(changing.Net(), 'net.pt')"
    subprocess.run([sys.executable, "-c", code], cwd=here, check=True, env={**os.environ, "PYTHONPATH": str(here)})
    capfd.readouterr()
    network = load_model("changing:Net" if kind == "factory" else "net.pt", trust=True)
    said = capfd.readouterr()
    assert (said.out, "hello" in said.err) == ("", True)
    assert "CHANGED" not in os.environ
    assert "changing" not in sys.modules
    assert network(torch.zeros(5, 3, 4, 4)).shape == (5, 8)
