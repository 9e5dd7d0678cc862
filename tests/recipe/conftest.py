"""Recipes find the same sites whatever processor the tests run on."""

from __future__ import annotations

import compressor_plugins.quantize.plugin as quantize_plugin
import pytest


@pytest.fixture(autouse=True)
def _sums_of_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with VNNI; where sums have 16 bits, 8-bit weights are refused, and ``quantize`` has no site."""
    monkeypatch.setattr(quantize_plugin, "saturates", lambda: False)
