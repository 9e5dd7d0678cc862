"""Layers and blocks cut out, the gap bridged by a fitted linear map."""

from compressor_plugins.layer_removal.plugin import LayerRemoval

__all__ = ["LayerRemoval"]
