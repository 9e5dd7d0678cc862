"""Weights at 8 or 4 bits."""

from compressor_plugins.quantize_weights.plugin import QuantizeWeights

__all__ = ["QuantizeWeights"]
