"""Depth and width added without changing the function, to alternate with removal."""

from compressor_plugins.self_grow.plugin import SelfGrow

__all__ = ["SelfGrow"]
