"""Integer arithmetic: weights and activations at 8 bits, in regions that stay integer from layer to layer."""

from compressor_plugins.quantize.plugin import Quantize

__all__ = ["Quantize"]
