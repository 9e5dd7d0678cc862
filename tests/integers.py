"""``quantize`` as this processor can compute it: 8-bit weights, or 7 where sums of 8-bit products saturate."""

from __future__ import annotations

from typing import Any

from compressor_plugins.quantize import Quantize
from compressor_plugins.quantize.processor import saturates

QUANTIZE = Quantize(weight_bits=7 if saturates() else 8)


def options_of(plugin: str) -> dict[str, Any]:
    """With which a plugin has sites here."""
    return {"weight_bits": QUANTIZE.weight_bits} if plugin == "quantize" else {}
