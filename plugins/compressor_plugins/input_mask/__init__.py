"""Stems that read a part of the pixels, folded to smaller kernels."""

from compressor_plugins.input_mask.plugin import InputMask

__all__ = ["InputMask"]
