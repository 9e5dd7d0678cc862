"""A pilot study: are there pixels in these images that a network does as well without?"""

from compressor_plugins.redundancy.study import Redundancy

__all__ = ["Redundancy"]
