"""The checks of a plugin's own leaves, on leaves that treat each channel alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import torch
from torch import Tensor, nn

from compressor.graph.editor import Editor
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Shape
from compressor.testing import leaf_checks
from compressor.testing.case import Case
from compressor.testing.networks import random_evidence, small_networks


class Scale(Leaf):
    """One factor per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.linspace(1, 2, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor[:, None, None]

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def cost(self, *inputs: Shape) -> Cost:
        return Cost({32: self.factor.numel()})

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        return builder.op("Mul", [inputs[0], builder.constant(self.factor.detach()[:, None, None])])

    def keep_outputs(self, channels: Tensor) -> None:
        self.factor = nn.Parameter(self.factor.detach()[channels])

    keep_inputs = keep_outputs


class WrongScale(Scale):
    """Keeps as many factors as asked for, and not those."""

    def keep_outputs(self, channels: Tensor) -> None:
        self.factor = nn.Parameter(self.factor.detach()[: len(channels)])

    keep_inputs = keep_outputs


def findings(leaf: Callable[[int], Leaf]) -> list[tuple[str, str]]:
    network = small_networks()["chain"]
    editor = Editor(network)
    editor.replace("features.1", leaf(12))
    editor.commit()
    done = SimpleNamespace(network=network, site=SimpleNamespace(path="here"))
    case = SimpleNamespace(rewritten=[done], evidence=random_evidence(network))
    return list(leaf_checks.channels_can_be_lost(cast(Case, case)))


def test_a_leaf_that_loses_inputs_with_its_outputs_is_sound() -> None:
    assert findings(Scale) == []


def test_one_that_keeps_other_channels_is_not() -> None:
    assert [path for path, _ in findings(WrongScale)] == ["here"]
