"""What changed per layer is read from the ONNX files themselves."""

from __future__ import annotations

import onnx
import pytest
import torch
from sample_run import network, plans

from compressor.engine.apply import apply_edits
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.editor import Editor
from compressor.report.layers import changes_table, layer_changes, onnx_layers


@pytest.fixture(scope="module")
def before() -> bytes:
    return to_onnx(network())


def test_every_initializer_is_counted_once(before: bytes) -> None:
    stored = sum(len(entry.raw_data) for entry in onnx.load_from_string(before).graph.initializer)
    layers = onnx_layers(before)
    assert sum(layer.bytes for layer in layers.values()) == stored
    assert list(layers)[:2] == ["conv1", "relu1"]


def test_the_same_file_shows_no_change(before: bytes) -> None:
    assert {change.kind for change in layer_changes(before, before)} == {"same"}


def test_binarized_layers_show_what_they_became(before: bytes) -> None:
    after = network()
    plan = plans()[2]
    apply_edits(after, plan.edits, Evidence([(torch.randn(4, 1, 8, 8), torch.arange(4))]))
    changes = {change.path: change for change in layer_changes(before, to_onnx(after))}
    assert {path for path, change in changes.items() if change.kind == "changed"} == {"conv1", "conv2", "fc1"}
    fc1 = changes["fc1"]
    assert fc1.before is not None
    assert fc1.after is not None
    assert fc1.before.describe() == "Gemm float32 64×512"
    assert fc1.after.describe() == "Gemm uint8 4096×1"
    assert fc1.before.bytes > 25 * fc1.after.bytes


def test_removed_and_new_layers_are_named(before: bytes) -> None:
    after = network()
    editor = Editor(after)
    editor.replace_by_chain("fc2", [("a", torch.nn.Linear(64, 4)), ("b", torch.nn.Linear(4, 10))])
    editor.commit()
    changes = layer_changes(before, to_onnx(after))
    kinds = {change.path: change.kind for change in changes}
    new = [path for path, kind in kinds.items() if kind == "new"]
    assert kinds["fc2"] == "removed"
    assert len(new) == 2
    rows = {row[0]: row for row in changes_table(changes).rows}
    assert rows["fc2"][2] == "–"
    assert rows["fc2"][5] == "removed"
    assert rows[new[0]][1] == "–"
    assert "relu1" not in rows
