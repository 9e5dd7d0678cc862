"""A new plugin as a package of its own: what ``compressor plugins new`` writes."""

from compressor.scaffold.write import Names, names_of, write_plugin

__all__ = ["Names", "names_of", "write_plugin"]
