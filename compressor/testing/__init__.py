"""Conformance kit for plugin authors.

    from compressor.testing import PluginContract

    class TestMyPlugin(PluginContract):
        plugin = MyPlugin()

runs every check as a test of its own; ``check_plugin(MyPlugin())`` gives the same findings as data, and so does
``compressor plugins check NAME``. Both bring small networks of their own; give others where a plugin needs them.
"""

from compressor.testing.contract import PluginContract, check_apart, check_plugin
from compressor.testing.findings import Finding
from compressor.testing.networks import small_networks

__all__ = ["Finding", "PluginContract", "check_apart", "check_plugin", "small_networks"]
