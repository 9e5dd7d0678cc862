"""Networks by name."""

from compressor.models.entry import Entry
from compressor.models.zoo import build, find, zoo

__all__ = ["Entry", "build", "find", "zoo"]
