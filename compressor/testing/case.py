"""One plugin on one network: its sites, and its rewrites, each done once and looked at by many checks."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.graph.cost import network_cost
from compressor.graph.editor import Change, Editor
from compressor.graph.leaf import Leaf
from compressor.graph.nested import Inputs
from compressor.graph.network import Network
from compressor.graph.verify import differs
from compressor.knobs import Choice, FloatRange, IntRange, Knob, Value, defaults
from compressor.plugin import Plugin, Site, sites_of

SEED = 0


@dataclass(frozen=True, eq=False)
class Rewritten:
    """A fork after one rewrite with default knobs. Checks look at its networks, and change forks of them alone."""

    case: Case
    site: Site
    network: Network
    changes: tuple[Change, ...]

    @functools.cached_property
    def again(self) -> Network:
        """Another fork after the same rewrite."""
        return self.case.rewrite(self.site, defaults(self.site.knobs))[0]

    @functools.cached_property
    def trained(self) -> Network:
        """The network after calibration and a training step."""
        fork = self.network.fork()
        self.case.evidence.calibrate_leaves(fork)
        train_step(fork, self.case.evidence)
        return fork


@dataclass(frozen=True, eq=False)
class Case:
    """A plugin, a network, and data for it."""

    plugin: Plugin
    name: str
    network: Network
    evidence: Evidence
    most_sites: int = 6
    """Rewrites are tried at this many sites, spread over the network."""

    @functools.cached_property
    def sites(self) -> list[Site]:
        """The sites at which rewrites are tried."""
        sites = sites_of(self.plugin, self.network)
        if len(sites) <= self.most_sites:
            return sites
        step = (len(sites) - 1) / max(self.most_sites - 1, 1)
        return [sites[round(index * step)] for index in range(self.most_sites)]

    @functools.cached_property
    def rewritten(self) -> list[Rewritten]:
        """One fork for each tried site that is not refused."""
        done = []
        for site in self.sites:
            try:
                network, changes = self.rewrite(site, defaults(site.knobs))
            except Refusal:
                continue
            done.append(Rewritten(self, site, network, changes))
        return done

    def rewrite(self, site: Site, choice: Mapping[str, Value]) -> tuple[Network, tuple[Change, ...]]:
        """A fork rewritten at ``site``, seeded. Raises whatever the plugin raises."""
        fork = self.network.fork()
        with kit_seeded():
            editor = Editor(fork, self.evidence)
            self.plugin.rewrite(editor, site, choice)
            return fork, editor.commit()

    @property
    def images(self) -> Inputs:
        """One batch of what the network takes."""
        inputs: Inputs = self.evidence.batches[0][0]
        return inputs


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread inside: on networks this small, threads wait for each other longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def kit_seeded() -> Iterator[None]:
    """Random numbers start from the kit's seed inside; the global state is put back behind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        yield


def train_step(network: Network, evidence: Evidence) -> None:
    """One optimizer step with noise on every parameter, hooks included; the network ends in eval mode."""
    with kit_seeded():
        network.train()
        optimizer = torch.optim.SGD(network.module.parameters(), lr=0.01)
        inputs, target = evidence.batches[0]
        torch.autograd.backward(evidence.loss(network(inputs), target))
        optimizer.step()
        with torch.no_grad():
            for parameter in network.module.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
        for _, leaf in network.leaves():
            if isinstance(leaf, Leaf):
                leaf.after_step()
        network.eval()


def outputs(network: Network, inputs: Inputs) -> tuple[Tensor, ...]:
    """Eval-mode outputs in order; the mode is put back."""
    training = network.module.training
    network.eval()
    try:
        with torch.no_grad():
            return network.signature.flatten(network(inputs))
    finally:
        network.train(training)


def same(left: Network, right: Network, images: Inputs) -> bool:
    """Whether two networks are one: structure, weights, cost, and what they compute."""
    if differs(left, right) or network_cost(left) != network_cost(right):
        return False
    return equal(outputs(left, images), outputs(right, images))


def equal(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Whether all outputs are the same, bit for bit."""
    return all(torch.equal(*pair) for pair in zip(one, other, strict=True))


def values_to_try(knob: Knob) -> Sequence[Value]:
    """Values of a knob that ought to make a difference: all options, or both ends of a range."""
    match knob:
        case Choice(options):
            return options
        case IntRange():
            return sorted({knob.low, int(knob.nearest(knob.high))})
        case FloatRange(low, high):
            return sorted({low, high})
