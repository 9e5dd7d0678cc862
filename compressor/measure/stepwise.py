"""Does the file compute every step of a network of integers as the network does?

Where a network makes much of one value that is rounded the other way, its answers and those of its file may be far
apart though both are right, and comparing them at the end says nothing. So each value that is held to steps is computed
here from those before it as the file has them: nothing adds up, whatever the network makes of it. It may be one step
off, and that no more often than values lie between two steps.

ONNX Runtime rounds a bias that it adds to whole numbers, and leaves it where it adds it to floats; which of them it
does is its own affair. Each value is computed both ways, and whatever lies from the one to the other is right.
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
from compressor.graph.layers.table import vanishes
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
FEW = 2
"""Numbers that may be: of few ones two between steps are more than any share."""
ONE_STEP = 1.01
"""A step, and what floats are off by."""


@dataclass(frozen=True)
class Step:
    """One value that is held to steps: by how many of them the file is off at most, and how often."""

    path: str
    most: float
    off: int
    """Of its numbers."""
    between: int
    """Those that another step would hold where all were moved a little before."""
    numbers: int

    @property
    def ok(self) -> bool:
        return self.most <= ONE_STEP and self.off <= MARGIN * self.between + ALLOWANCE * self.numbers + FEW


@dataclass(frozen=True)
class Stepwise:
    """Every such value, in execution order, and how far the answers are off that are made of the last ones."""

    steps: tuple[Step, ...]
    errors: tuple[float, ...]
    """Of every output, absolute."""
    scales: tuple[float, ...]
    """Largest value of every output."""

    def ok(self, tolerance: float) -> bool:
        """Whether all is as it should be; ``tolerance``: relative, of what floats are off by."""
        ends = zip(self.errors, self.scales, strict=True)
        return all(step.ok for step in self.steps) and all(error <= tolerance * scale for error, scale in ends)


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
    found = {
        name: torch.from_numpy(value).to(network.device)
        for name, value in zip(runner.outputs, runner.run(theirs), strict=True)
    }
    given = {node: found[name] for node, name in held.items()}
    plain, filed = _Following(network, given, jitter), _Following(network, given, as_filed=True)
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        answers, others = (follower.answers(mine) for follower in (plain, filed))
    ends = zip(answers, others, (found[spec.name] for spec in network.signature.outputs), strict=True)
    return Stepwise(
        tuple(
            _step(
                node, _outside(plain.made[node], filed.made[node], value), held_step(network, node), plain.between[node]
            )
            for node, value in given.items()
        ),
        tuple(float(_outside(*three).max()) for three in ends),
        tuple(float(answer.abs().max()) for answer in answers),
    )


def _outside(one: Tensor, other: Tensor, value: Tensor) -> Tensor:
    """How far each number of ``value`` is from what lies between the two; infinite where it is none."""
    low, high, value = torch.minimum(one, other).double(), torch.maximum(one, other).double(), value.double()
    return torch.maximum(low - value, value - high).clamp_min(0).nan_to_num(torch.inf)


def _step(node: fx.Node, errors: Tensor, size: float, between: int) -> Step:
    off = errors / size
    return Step(str(node.target), float(off.max()), int((off > 0.5).sum()), between, off.numel())


class _Following(fx.Interpreter):
    """The network, going on with the file's value wherever one is given."""

    def __init__(
        self, network: Network, given: Mapping[fx.Node, Tensor], jitter: float = 0.0, *, as_filed: bool = False
    ) -> None:
        super().__init__(network.module)
        self.network, self.given, self.jitter, self.as_filed = network, given, jitter, as_filed
        self.made: dict[fx.Node, Tensor] = {}
        """What it came to where a value was given."""
        self.between: dict[fx.Node, int] = {}
        """How many of its numbers lie so close to the border between two steps that they may hold either."""
        self._step = 0.0

    def answers(self, inputs: Inputs) -> list[Tensor]:
        return list(self.network.signature.flatten(self.run(*self.network.signature.tensors(inputs))))

    def run_node(self, n: fx.Node) -> Any:
        self._step = max((_step_handed_on(self.network, source) for source in n.all_input_nodes), default=0.0)
        value = super().run_node(n)
        if n not in self.given:
            return value
        self.made[n] = value
        if self.jitter:
            self.between[n] = self._between(n, value)
        return self.given[n]

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        leaf = self.network.leaf(str(target))
        if self.as_filed and isinstance(leaf, Leaf):
            return leaf.as_filed(self._step)(*args, **kwargs)
        return super().call_module(target, args, kwargs)

    def _between(self, n: fx.Node, value: Tensor) -> int:
        leaf, step = self.network.leaf(str(n.target)), held_step(self.network, n)
        assert isinstance(leaf, Leaf)
        try:
            leaf.jitter = self.jitter
            draws = [super(_Following, self).run_node(n) for _ in range(DRAWS)]
        finally:
            leaf.jitter = 0.0
        return max(int(((draw - value).abs() > step / 2).sum()) for draw in draws)


def _step_handed_on(network: Network, node: fx.Node) -> float:
    """Size of the steps of a value, which are those that it had before a layer that vanishes in a file."""
    while node.op == "call_module" and vanishes(network.leaf(str(node.target))):
        (node,) = node.all_input_nodes
    return held_step(network, node)
