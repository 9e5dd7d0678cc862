"""Averages before 1×1 convolutions."""

from compressor_plugins.pool_first.plugin import PoolFirst

__all__ = ["PoolFirst"]
