"""Does the file compute every step of a network of integers as the network does?

Where a network makes much of one value that is rounded the other way, its answers and those of its file may be far
apart though both are right, and comparing them at the end says nothing. So each value that is held to steps is computed
here from those before it as the file has them: nothing adds up, whatever the network makes of it. It may be one step
off, and that no more often than values lie between two steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, fx

from compressor.export.emit import value_names
from compressor.graph.leaf import Leaf
from compressor.graph.nested import Inputs
from compressor.graph.network import Network
from compressor.measure.session import OnnxModel

DRAWS = 4
"""How often values are moved, to see how many lie between two steps."""
MARGIN = 2.0
"""How much more often than that the file may be off."""
ALLOWANCE = 0.02
"""Share of the numbers of a value that may be off besides."""


@dataclass(frozen=True)
class Step:
    """One value that is held to steps: by how many of them the file is off at most, and how often."""

    path: str
    most: float
    allowed: float
    """One step, and what a bias was rounded by on the way."""
    share: float
    """Share of its numbers that are off."""
    between: float
    """Share that another step would hold where all were moved a little before."""

    @property
    def ok(self) -> bool:
        return self.most <= self.allowed and self.share <= MARGIN * self.between + ALLOWANCE


@dataclass(frozen=True)
class Stepwise:
    """Every such value, in execution order, and how far the answers are off that are made of the last ones."""

    steps: tuple[Step, ...]
    errors: tuple[float, ...]
    """Of every output, absolute."""
    allowed: tuple[float, ...]
    """By how much they may be off for a bias that was rounded."""
    scales: tuple[float, ...]
    """Largest value of every output."""

    def ok(self, tolerance: float) -> bool:
        """Whether all is as it should be; ``tolerance``: relative, of what floats are off by."""
        ends = zip(self.errors, self.allowed, self.scales, strict=True)
        return all(step.ok for step in self.steps) and all(
            error <= allowed + tolerance * scale for error, allowed, scale in ends
        )


def held_step(network: Network, node: fx.Node) -> float:
    """Size of the steps that a value is held to; 0 where it is none."""
    leaf = network.leaf(str(node.target)) if node.op == "call_module" else None
    return leaf.held_step if isinstance(leaf, Leaf) else 0.0


def stepwise(network: Network, model: bytes, batch: tuple[Inputs, Inputs], jitter: float) -> Stepwise | None:
    """The network, in eval mode, follows its file on one batch: what torch takes, and what the file takes.

    ``jitter``: by how much values are moved, in steps, to see how many lie between two. None where the file does not
    have the values that the network has.
    """
    names = value_names(network)
    held = {node: names[node] for node in network.graph.nodes if node in names and held_step(network, node)}
    proto = onnx.load_from_string(model)
    made = {name for node in proto.graph.node for name in node.output}
    if not held or not made.issuperset(held.values()):
        return None
    own = {value.name for value in proto.graph.output}
    shown = [name for name in dict.fromkeys(held.values()) if name not in own]
    proto.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in shown)
    runner = OnnxModel(proto.SerializeToString())
    mine, theirs = batch
    found = dict(zip(runner.outputs, runner.run(theirs), strict=True))
    given = {node: torch.from_numpy(found[name]).to(network.device) for node, name in held.items()}
    follower = _Following(network, given, jitter)
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        answers = network.signature.flatten(follower.run(*network.signature.tensors(mine)))
    pairs = [
        (answer.double().cpu(), torch.from_numpy(found[spec.name]).double())
        for answer, spec in zip(answers, network.signature.outputs, strict=True)
    ]
    return Stepwise(
        tuple(follower.steps),
        tuple(float((own - other).abs().nan_to_num(torch.inf).max()) for own, other in pairs),
        tuple(follower.allowed[node] for node in network.output_nodes),
        tuple(float(own.abs().max()) for own, _ in pairs),
    )


class _Following(fx.Interpreter):
    """Goes on with the file's value wherever one is given."""

    def __init__(self, network: Network, given: Mapping[fx.Node, Tensor], jitter: float) -> None:
        super().__init__(network.module)
        self.network, self.given, self.jitter = network, given, jitter
        self.steps: list[Step] = []
        self.allowed: dict[fx.Node, float] = {}
        """By how much each value may be off, for all that was rounded since the last one that was given."""

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        allowed = self.allowed[n] = self._allowed(n)
        if n not in self.given:
            return value
        other, step = self.given[n], held_step(self.network, n)
        off, moved = (value - other).abs().nan_to_num(torch.inf) / step, self._moved(n, value)
        share = float((off > 0.5).float().mean())
        self.steps.append(Step(str(n.target), float(off.max()), 1.01 + allowed / step, share, moved))
        self.allowed[n] = 0.0
        return other

    def _allowed(self, n: fx.Node) -> float:
        before = max((self.allowed[source] for source in n.all_input_nodes), default=0.0)
        leaf = self.network.leaf(str(n.target)) if n.op == "call_module" else None
        step = max((held_step(self.network, source) for source in n.all_input_nodes), default=0.0)
        return before + leaf.file_error(step) if isinstance(leaf, Leaf) else before

    def _moved(self, n: fx.Node, value: Tensor) -> float:
        """Which share of the values lies so close to the border between two steps that it may hold either."""
        leaf, step = self.network.leaf(str(n.target)), held_step(self.network, n)
        assert isinstance(leaf, Leaf)
        try:
            leaf.jitter = self.jitter
            draws = [super(_Following, self).run_node(n) for _ in range(DRAWS)]
        finally:
            leaf.jitter = 0.0
        return max(float(((draw - value).abs() > step / 2).float().mean()) for draw in draws)
