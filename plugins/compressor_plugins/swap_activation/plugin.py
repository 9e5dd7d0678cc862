"""Activation swap: a smooth activation becomes a rectifier, and training makes up for it.

    SiLU(x) = x σ(x),  hard-swish(x) = x clip(x + 3, 0, 6) / 6,  GELU(x) = x Φ(x),  …  →  ReLU(x)

In integers a smooth activation takes a table and a multiplication, each a pass over the values (or conversions to
float, where it has no integer form); a rectifier takes nothing, since the steps of the value behind the layer clip
where it would. In floats ONNX Runtime fuses a rectifier into the convolution before it.

No function of the family is another's approximation: SiLU falls below ReLU by up to 0.28, which BatchNorm behind it,
re-estimated, takes up in part. So the promise is ``TRAINED``: distillation from the network as it was brings the rest.

Sources: Howard et al., hard-swish for the same reason (arXiv:1905.02244); Ramachandran et al., SiLU (arXiv:1710.05941).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import nn

from compressor.errors import Refusal
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.knobs import Choice, Choices, Knob
from compressor.plugin import Plugin, Promise, Site

KNOB = "to"
TARGETS: Mapping[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hard-swish": nn.Hardswish}
"""By name, the cheapest first."""
SMOOTH = (nn.SiLU, nn.Hardswish, nn.GELU, nn.Mish, nn.ELU, nn.CELU, nn.SELU, nn.Softplus)
"""What is swapped: near zero below 0, near the identity above. Gates (sigmoids) are not of the kind."""


@dataclass(frozen=True)
class SwapActivation(Plugin):
    """Replace smooth activations (SiLU, hard-swish, GELU, …) by rectifiers, which cost nothing in integers."""

    promise: ClassVar[Promise] = Promise.TRAINED

    to: Literal["relu", "relu6", "hard-swish", "choose"] = "relu"
    """What takes their place; ``choose`` makes it a knob of each site."""

    def sites(self, network: Network) -> Iterator[Site]:
        for path, leaf in network.leaves():
            if type(leaf) in SMOOTH and (targets := self._targets(leaf)):
                knobs: dict[str, Knob] = {KNOB: Choice(targets)} if len(targets) > 1 else {}
                nodes = tuple(node.name for node in network.calls_of(path))
                yield Site(path, knobs, nodes, f"{type(leaf).__name__} as {' or '.join(targets)}")

    def rewrite(self, editor: Editor, site: Site, choice: Choices) -> None:
        targets = self._targets(editor.network.leaf(site.path))
        if not targets:
            raise Refusal("is nothing that could be swapped", path=site.path)
        editor.replace(site.path, TARGETS[str(choice.get(KNOB, targets[0]))]())

    def _targets(self, leaf: nn.Module) -> tuple[str, ...]:
        wanted = TARGETS if self.to == "choose" else (self.to,)
        return tuple(name for name in wanted if type(leaf) in SMOOTH and type(leaf) is not TARGETS[name])
