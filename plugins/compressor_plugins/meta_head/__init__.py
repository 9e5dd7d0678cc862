"""Layers split into groups that a small Meta layer mixes."""

from compressor_plugins.meta_head.plugin import MetaHead

__all__ = ["MetaHead"]
