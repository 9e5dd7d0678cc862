"""A dense layer replaced by several small ones side by side, and a learned sum of what they give."""

from compressor_plugins.meta_head.plugin import MetaHead

__all__ = ["MetaHead"]
