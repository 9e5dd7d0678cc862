"""A method of one's own: ReLU becomes a leaky one, so that no unit is silent for ever.

    python examples/own_plugin.py

The conformance kit applies it to small networks of its own and looks whether it keeps every rule. Nothing is wrong with
this one; with ``promise = Promise.EXACT`` the kit would say that the promise is not kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.plugin import Plugin, Promise, Refused, Site
from compressor.testing import check_plugin


@dataclass(frozen=True)
class Leaky(Plugin):
    """Let a hundredth of what is below zero pass."""

    promise: ClassVar[Promise] = Promise.TRAINED

    def sites(self, network: Network) -> Iterable[Site | Refused]:
        for path, leaf in network.leaves():
            if type(leaf) is nn.ReLU:
                yield Site(path)

    def rewrite(self, editor: Editor, site: Site, choice: object) -> None:
        if type(editor.network.leaf(site.path)) is not nn.ReLU:
            raise Refusal("is no ReLU", path=site.path)
        editor.replace(site.path, nn.LeakyReLU(0.01))


if __name__ == "__main__":
    findings = check_plugin(Leaky())
    for finding in findings:
        print(finding)
    print(f"{len(findings)} findings")
