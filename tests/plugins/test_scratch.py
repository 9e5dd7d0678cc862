"""The control arm from scratch draws every layer anew, the plugins' own included."""

from __future__ import annotations

import pytest
import torch
from integers import options_of
from rewriting import evidence
from test_pairs import NAMES, small  # noqa: F401
from torch import Tensor, fx, nn

from compressor.engine.apply import apply_edit
from compressor.engine.control import reinitialise
from compressor.engine.plan import Edit
from compressor.errors import Refusal, TrialError
from compressor.graph.network import Network
from compressor.graph.signature import Signature
from compressor.plugin import sites_of
from compressor.registry import make


def rewritten(network: Network, name: str) -> Network:
    """The plugin at its first three sites that take it."""
    fork, done = network.fork(), 0
    for site in sites_of(make(name, options_of(name)), network):
        try:
            apply_edit(fork, Edit(name, site.path, options=options_of(name)), evidence(fork))
            done += 1
        except Refusal:
            continue
        if done == 3:
            break
    assert done
    return fork


@pytest.mark.parametrize("name", NAMES)
def test_no_layer_keeps_what_it_was_trained_to_be(name: str, small: Network) -> None:  # noqa: F811
    network = rewritten(small, name)
    before = {path: value.detach().clone() for path, value in network.module.named_parameters()}
    reinitialise(network, 1)
    for path, leaf in network.leaves():
        own = [key for key, _ in leaf.named_parameters()]
        if isinstance(leaf, nn.BatchNorm1d | nn.BatchNorm2d):
            continue  # a new one is all ones and zeros, which a fresh layer may have been before
        kept = [torch.equal(leaf.get_parameter(key), before[f"{path}.{key}"]) for key in own]
        assert not own or not all(kept), f"{path} of {name}"
        assert all(torch.isfinite(value).all() for value in leaf.parameters())


class Gain(nn.Module):
    """A leaf with a weight and no way to draw it anew."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


def test_a_layer_that_cannot_be_drawn_anew_is_named() -> None:
    class Leafy(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, qualified_name: str) -> bool:
            return True

    model = nn.Sequential(nn.Linear(4, 4), Gain())
    network = Network(fx.GraphModule(model, Leafy().trace(model)), Signature.of("x", (4,)))
    with pytest.raises(TrialError, match="1: a Gain has no reset_parameters"):
        reinitialise(network, 0)
