"""Loading models: what a name or a file is, and how it becomes a network."""

from compressor.load.model import load_model

__all__ = ["load_model"]
