"""Channels in coupled groups, or single weights with the lottery's rounds."""

from compressor_plugins.magnitude_prune.plugin import MagnitudePrune

__all__ = ["MagnitudePrune"]
