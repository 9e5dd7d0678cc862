"""The small commands, each with its plain and its JSON output."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from cli_running import Run
from sample_run import sample_run

from compressor.api.folders import free_folder
from compressor.cli.train import data_spec
from compressor.graph.pt2 import read_pt2
from compressor.models import zoo
from compressor.testing import Finding

MAIN = [sys.executable, "-m", "compressor.cli.main"]


def test_models(run: Run) -> None:
    listed = run("models", "--json").json
    assert [entry["name"] for entry in listed] == [entry.name for entry in zoo()]
    lenet = next(entry for entry in listed if entry["name"] == "lenet")
    assert (lenet["params"], lenet["trainable"], lenet["input"]) == (107_786, 107_786, [1, 28, 28])
    assert "107,786" in run("models").out


def test_plugins(run: Run) -> None:
    listed = {entry["name"]: entry for entry in run("plugins", "--json").json}
    assert listed["binarize"]["working"]
    assert listed["binarize"]["promise"] == "trained"
    assert listed["binarize"]["distribution"] == "compressor"
    assert "layer-removal" in run("plugins").out


def test_checking_a_plugin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("compressor.testing.check_apart", lambda name: [])
    assert run("plugins", "check", "binarize").out == "binarize: keeps its contract\n"
    finding = Finding("gradients-flow", "net", "fc1", "no gradient arrives")
    monkeypatch.setattr("compressor.testing.check_apart", lambda name: [finding])
    ran = run("plugins", "check", "binarize")
    assert ran.code == 1
    assert "[gradients-flow] net fc1: no gradient arrives" in ran.out
    told = run("plugins", "check", "binarize", "--json")
    assert told.code == 1
    assert told.json["findings"][0]["site"] == "fc1"


HOSTILE = """
from dataclasses import dataclass
import ctypes, os, sys, time
from compressor.plugin import Plugin, Site
{at_import}
@dataclass(frozen=True)
class Odd(Plugin):
    "Does harm."
    def sites(self, network):
        {in_sites}
        yield Site("conv1")
    def rewrite(self, editor, site, choice):
        editor.edit_weights(site.path)
"""


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        ("raise RuntimeError('lost')", "RuntimeError: lost (FILE, line 10)"),
        ("sys.exit(0)", "SystemExit: 0 (FILE, line 10)"),
        ("os._exit(0)", "its process ended with status 0"),
        ("ctypes.string_at(0)", "its process was ended by SIGSEGV"),
        ("yield 5", "sites() yields a int, not a Site or Refused"),
    ],
)
def test_a_hostile_plugin_is_named_and_the_others_go_on(run: Run, install: Any, harm: str, reason: str) -> None:
    install("odd-package", {"odd": "odd:Odd"}, HOSTILE.format(at_import="", in_sites=harm), "odd")
    told = run("inspect", "digits-cnn", "--json")
    assert told.code == 0
    assert list(told.json["broken"]) == ["odd"]
    said = re.sub(r"\(\S+odd.py", "(FILE", told.json["broken"]["odd"])
    assert said.startswith("plugin 'odd' of odd-package 1.0")
    assert said.endswith(reason)
    assert told.json["sites"]["layer-removal"]


@pytest.mark.parametrize("harm", ["raise RuntimeError('lost')", "os._exit(0)", "ctypes.string_at(0)"])
def test_a_plugin_that_cannot_be_imported_is_listed_with_its_reason(run: Run, install: Any, harm: str) -> None:
    install("odd-package", {"odd": "odd:Odd"}, HOSTILE.format(at_import=harm, in_sites=""), "odd")
    listed = {entry["name"]: entry for entry in run("plugins", "--json").json}
    assert not listed["odd"]["working"]
    assert "importing odd:Odd failed" in listed["odd"]["reason"]
    assert listed["self-grow"]["working"]
    checked = run("plugins", "check", "odd")
    assert checked.code in (1, 2)
    assert "internal" not in checked.err


def test_recipes(run: Run) -> None:
    assert "one-bit weights where" in run("recipe", "list").out
    assert all(len(entry["about"]) > 20 for entry in run("recipe", "list", "--json").json)
    assert run("recipe", "show", "quickstart", "--set", "search.trials=3", "--json").json["search"]["trials"] == 3
    assert "[data]" in run("recipe", "show", "quickstart").out
    assert run("recipe", "schema").json["title"] == "compressor recipe"


def test_inspect_a_file(run: Run, model: Path) -> None:
    found = run("inspect", model, "--json").json
    assert found["params"] == 38_330
    assert sum(layer["macs"] for layer in found["layers"]) == found["macs"]
    assert sum(layer["share"] for layer in found["layers"]) + found["other_share"] == pytest.approx(1)
    assert {"path", "knobs"} <= found["sites"]["binarize"][0].keys()
    assert all(entry["reason"] for entry in found["refused"]["layer-removal"])
    plain = run("inspect", model)
    assert plain.code == 0
    for part in ("38,330 parameters", "conv1", "binarize: 4 sites", "layer-removal", "refused fc2"):
        assert part in plain.out, part


def test_inspect_a_name_and_an_onnx_file(run: Run, onnx_file: Path) -> None:
    assert run("inspect", "digits-cnn", "--json").json["input"] == [1, 8, 8]
    assert run("inspect", onnx_file, "--json").json["macs"] == 337_536


TWO = """
from torch import nn


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.table, self.head = nn.Conv2d(3, 8, 3), nn.Embedding(5, 8), nn.Linear(8, 4)

    def forward(self, image, kind):
        maps = self.conv(image).relu()
        return {"mask": maps, "scores": self.head(maps.mean((2, 3)) + self.table(kind))}
"""


def test_inspect_names_several_inputs_and_outputs(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two_inputs.py").write_text(TWO)
    monkeypatch.chdir(tmp_path)
    found = run("inspect", "two_inputs:Two", "--input", "image=3x16x16", "--input", "kind=:int64", "--json").json
    assert found["inputs"] == [
        {"name": "image", "shape": [3, 16, 16], "dtype": "float32"},
        {"name": "kind", "shape": [], "dtype": "int64"},
    ]
    assert [(out["name"], out["shape"]) for out in found["outputs"]] == [("mask", [8, 14, 14]), ("scores", [4])]
    for given, reason in (
        (("--input", "3x16x16"), "does not take one tensor"),
        (("--input", "image=3x16x16", "--input", "sort=:int64"), "no input 'sort'; its inputs are image, kind"),
        (("--input", "image=3x16x16", "--input", "kind=:word"), "'word' is no type"),
    ):
        told = run("inspect", "two_inputs:Two", *given)
        assert (told.code, told.out) == (2, "")
        assert reason in told.err


def test_inspect_takes_the_size_of_an_image_from_the_data(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sizeless.py").write_text("from torch import nn\ndef build(): return nn.Conv2d(1, 4, 3)\n")
    assert run("inspect", "sizeless:build").code == 2
    assert run("inspect", "sizeless:build", "--data", "digits", "--json").json["inputs"][0]["shape"] == [1, 8, 8]
    (tmp_path / "r.toml").write_text(
        '[data]\nname = "digits"\n[[phases]]\nname = "a"\n[[phases.plugins]]\nname = "binarize"\n'
    )
    assert run("inspect", "sizeless:build", "--recipe", "r.toml", "--json").json["inputs"][0]["shape"] == [1, 8, 8]


def test_inspect_with_a_recipe_shows_its_plugins_alone(run: Run, model: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        '[data]\nname = "digits"\n[[phases]]\nname = "a"\n[[phases.plugins]]\nname = "binarize"\nonly = ["fc*"]\n'
        '[[phases]]\nname = "b"\n[[phases.plugins]]\nname = "binarize"\n'
    )
    sites = run("inspect", model, "--recipe", recipe, "--json").json["sites"]
    assert {key: [site["path"] for site in value] for key, value in sites.items()} == {
        "a.binarize": ["fc1", "fc2"],
        "b.binarize": ["conv1", "conv2", "fc1", "fc2"],
    }


def test_train_writes_a_file_that_reads_back(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "new" / "model.pt"
    arguments = ("train", "digits-cnn", "--data", "digits", "--epochs", 2, "--limit", 200, "--out", file)
    told = run(*arguments, "--test", "--json").json
    assert told["model"] == str(file)
    assert len(told["epochs"]) == 2
    assert 0.1 < told["accuracy"]["test"] < 1
    assert read_pt2(file).parameter_count == told["params"] == 38_330
    assert run(*arguments).code == 2
    again = run(*arguments, "--force")
    assert again.code == 0
    assert "epoch 2/2" in again.err
    assert "validation" in again.out
    assert "test" not in again.out.partition(" on ")[0]
    assert not [path for path in file.parent.iterdir() if path != file]


def test_train_goes_on_where_it_was_interrupted(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "model.pt"
    words = ("train", "digits-cnn", "--data", "digits", "--limit", "300", "--epochs", "40", "--out", str(file))
    process = subprocess.Popen([*MAIN, *words], stderr=subprocess.PIPE, text=True)
    while not any(tmp_path.glob("*/*.pt")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)
    twice = run(*words)
    assert twice.code == 2
    assert f".checkpoints: in use by process {process.pid}; wait for it to end" in twice.err
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=240)
    (kept,) = tmp_path.glob("digits-cnn-*.checkpoints")
    assert process.returncode == 130
    assert f"the last epoch that was kept, in {kept}\ncompressor: interrupted\n" in err
    assert not file.exists()

    other = tmp_path / "other.checkpoints"
    other.mkdir()
    again = subprocess.run([*MAIN, *words, "--json"], capture_output=True, text=True, check=True)
    assert "goes on after epoch" in again.stderr
    epochs = json.loads(again.stdout)["epochs"]
    assert [report["epoch"] for report in epochs] == [*range(1, 41)]
    assert epochs[0]["before"]
    assert not epochs[-1]["before"]
    assert sorted(tmp_path.iterdir()) == [file, other]


def test_train_changes_its_images_where_asked(run: Run, tmp_path: Path) -> None:
    arguments = ("train", "digits-cnn", "--data", "digits", "--epochs", 1, "--limit", 100, "--batch", 32, "--json")
    ways = ((), ("--shift", 2), ("--rotate", 15), ("--flip",), ("--weight-decay", 0.5))
    losses = [
        run(*arguments, *words, "--out", tmp_path / f"{index}.pt").json["epochs"][0]["train_loss"]
        for index, words in enumerate(ways)
    ]
    assert len(set(losses)) == len(losses)


def test_data_may_be_a_name_a_folder_a_file_or_a_function(tmp_path: Path) -> None:
    assert data_spec("mnist", fallback=True).name == "mnist"
    assert data_spec(str(tmp_path)).folder == str(tmp_path)
    assert data_spec("x.npz").npz == "x.npz"
    assert data_spec("my.module:data").function == "my.module:data"


def test_report_is_written_anew(run: Run, tmp_path: Path) -> None:
    folder = sample_run(tmp_path / "run").path
    ran = run("report", folder)
    assert ran.code == 0
    result = json.loads((folder / "result.json").read_text())
    smaller = result["baseline"]["size_bytes"] / result["best"]["size_bytes"]
    for part in ("It helped", f"{smaller:.1f}× smaller", "best/model.onnx", "report.html", "front", "fc1"):
        assert part in ran.out, part
    assert (folder / "report.html").is_file()
    told = run("report", folder, "--json").json
    assert told["model"] == str(folder / "best" / "model.onnx")
    assert told["verdict"]["helped"] is True
    assert {"params", "size_bytes", "macs", "accuracy", "latency", "plan"} <= told["best"].keys()


def test_a_report_at_forty_columns_loses_no_figure(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = sample_run(tmp_path / "run").path
    monkeypatch.setenv("COLUMNS", "40")
    ran = run("report", folder)
    assert "…" not in ran.out
    assert f"{folder}/best/model.onnx" in ran.out


def test_run_folders_get_names_of_their_own(tmp_path: Path) -> None:
    first = free_folder("a/model.pt", "recipes/quick.toml", tmp_path)
    assert first == tmp_path / "model-quick"
    first.mkdir()
    assert free_folder("a/model.pt", "quick", tmp_path) == tmp_path / "model-quick-2"
    assert free_folder("pkg.mod:make(x)", "q", tmp_path).parent == tmp_path
