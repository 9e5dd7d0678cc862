"""Kernels that slide over channels in place of dense convolutions."""

from compressor_plugins.conv3d.plugin import Conv3d

__all__ = ["Conv3d"]
