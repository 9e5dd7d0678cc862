"""What a plugin author may import, and from where: moving any of it is a breaking change."""

from __future__ import annotations

import importlib

import pytest

import compressor

SURFACE = {
    "compressor": ["__version__", *compressor.__all__],
    "compressor.errors": ["CompressorError", "InputError", "Refusal", "did_you_mean"],
    "compressor.evidence": ["Evidence"],
    "compressor.graph.editor": ["Change", "Editor"],
    "compressor.graph.leaf": ["Cost", "Leaf", "OnnxBuilder", "OnnxValue", "Shape"],
    "compressor.graph.network": ["Network"],
    "compressor.graph.capture": ["capture"],
    "compressor.graph.signature": ["Signature", "TensorSpec"],
    "compressor.knobs": ["Choice", "FloatRange", "IntRange"],
    "compressor.load": ["load_model"],
    "compressor.plugin": ["Plugin", "Promise", "Refused", "Site"],
    "compressor.testing": ["Finding", "PluginContract", "check_apart", "check_plugin"],
}


@pytest.mark.parametrize("module", SURFACE)
def test_public_names_stay(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in SURFACE[module] if not hasattr(found, name)] == []
