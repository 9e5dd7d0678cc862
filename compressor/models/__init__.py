"""Networks by name."""

from compressor.models.entry import ModelEntry
from compressor.models.zoo import build, find, zoo

__all__ = ["ModelEntry", "build", "find", "zoo"]
