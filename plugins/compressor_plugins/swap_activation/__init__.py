"""Smooth activations replaced by rectifiers, which integers compute for nothing."""

from compressor_plugins.swap_activation.plugin import SwapActivation

__all__ = ["SwapActivation"]
