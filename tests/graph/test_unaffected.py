"""Which leaves an edit reaches: those behind it, through sums, and wherever a leaf is called again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.graph.unaffected import unaffected


class Branches(nn.Module):
    """Two branches of convolution and normalisation, a sum, and a normalisation behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.left_norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.right, self.right_norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.shift, self.norm = nn.Parameter(torch.ones(4, 1, 1)), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.left_norm(self.left(x)) + self.right_norm(self.right(x)) + self.shift
        normed: Tensor = self.norm(added)
        return normed.mean((2, 3))


def network() -> Network:
    torch.manual_seed(0)
    return capture(Branches().eval(), (3, 5, 5))


def with_double(path: str) -> tuple[Network, Network]:
    """A network, and a fork of it with the parameter at ``path`` doubled."""
    before = network()
    after = before.fork()
    with torch.no_grad():
        after.module.get_parameter(path).mul_(2)
    return before, after


def test_nothing_changed_reaches_nothing() -> None:
    before = network()
    assert unaffected(before, before.fork()) == {path for path, _ in before.leaves()}


def test_a_changed_weight_reaches_what_lies_behind_it_and_no_other_branch() -> None:
    assert unaffected(*with_double("left.weight")) == {"left", "right", "right_norm"}


def test_a_changed_constant_reaches_what_lies_behind_it() -> None:
    before = network()
    (constant,) = (str(node.target) for node in before.graph.nodes if node.op == "get_attr")
    assert unaffected(*with_double(constant)) == {"left", "left_norm", "right", "right_norm"}


def test_a_leaf_of_another_kind_reaches_what_lies_behind_it() -> None:
    before = network()
    after = before.fork()
    after.module.set_submodule("right_norm", nn.Identity())
    assert "norm" not in unaffected(before, after)
    assert {"left_norm", "right_norm"} <= unaffected(before, after)  # what it takes is the same


def test_statistics_are_estimated_anew_behind_the_edit_alone() -> None:
    before, after = with_double("left.weight")
    images = torch.randn(16, 3, 5, 5)
    Evidence([(images, torch.zeros(16, dtype=torch.long))]).calibrate(after, since=before)
    anew = {path for path in ("left_norm", "right_norm", "norm") if float(after.leaf(path).running_mean.abs().sum())}
    assert anew == {"left_norm", "norm"}
