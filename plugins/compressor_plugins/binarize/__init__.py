"""One bit per weight, with a scale per output channel; activations too where wanted."""

from compressor_plugins.binarize.plugin import Binarize

__all__ = ["Binarize"]
