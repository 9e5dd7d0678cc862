"""A new plugin as a package of its own: what ``compressor plugins new`` writes."""

from compressor.scaffold.write import PluginNames, names_of, write_plugin

__all__ = ["PluginNames", "names_of", "write_plugin"]
