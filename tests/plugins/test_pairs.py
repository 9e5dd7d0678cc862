"""All pairs of the toolkit's own plugins, in both orders, on one network: it works or it is refused, nothing else.

The plugins are those the registry lists, so one that is added is covered. Each acts with its defaults, the second first
of all where the first has been.
"""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F
from integers import options_of
from networks import make_sensitive
from rewriting import evidence, parity
from torch import Tensor, nn

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.errors import Refusal
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.measure.parity import numeric_parity
from compressor.plugin import refusals_of, sites_of
from compressor.registry import discover, make

NAMES = [found.name for found in discover() if found.distribution == "compressor"]
SHAPE = (3, 16, 16)
MOST_SITES = 3


class Small(nn.Module):
    """Something for every plugin: a stem, a residual block, two convolutions, a head of three linear ones."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16)
        self.conv1, self.bn1 = nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.conv2, self.bn2 = nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        self.last = nn.Conv2d(16, 32, 3, 1, 1)
        self.pool, self.mix, self.average = nn.MaxPool2d(2), nn.Conv2d(32, 32, 1), nn.AvgPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1, self.fc2, self.fc3 = nn.Linear(128, 64), nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem_bn(self.stem(x)))
        x = torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        x = self.pool(torch.relu(self.last(x)))
        x = self.flatten(self.average(self.mix(x)))
        x = F.silu(self.fc2(torch.relu(self.fc1(x))))
        return self.fc3(x)


@pytest.fixture(scope="module")
def small() -> Network:
    torch.manual_seed(0)
    return capture(make_sensitive(Small(), SHAPE), SHAPE)


def near(path: str, places: list[str]) -> bool:
    """Whether a site lies where one of ``places`` is: they name a leaf in common."""
    parts = path.partition("+")[0].split("..")
    return any(part == place for part in parts for place in places)


def act(name: str, network: Network, data: Evidence, first: list[str]) -> list[str]:
    """Rewrite a few sites, those near ``first`` before others; returns the paths that were not refused.

    Anything a plugin raises but ``Refusal`` fails the test; so does a refusal without a reason.
    """
    plugin = make(name, options_of(name))
    sites = sorted(sites_of(plugin, network), key=lambda site: not near(site.path, first))
    reasons = [refused.reason for refused in refusals_of(plugin, network)]
    assert sites or reasons, f"{name} has no site and does not say why"
    done: list[str] = []
    for site in sites[:MOST_SITES]:
        try:
            apply_edit(network, Edit(name, site.path, options=options_of(name)), data)
        except Refusal as refusal:
            reasons.append(refusal.reason)
            continue
        done.append(site.path)
    assert all(reason.strip() for reason in reasons)
    return done


def train_one_step(network: Network, data: Evidence) -> None:
    network.train()
    parameters = dict(network.module.named_parameters())
    optimizer = torch.optim.SGD(parameters.values(), lr=1e-3)
    images, labels = data.batches[0]
    loss = F.cross_entropy(network(images), labels)
    loss.backward()
    assert torch.isfinite(loss)
    assert not [name for name, p in parameters.items() if p.requires_grad and p.grad is None]
    optimizer.step()
    for _, leaf in network.leaves():
        if isinstance(leaf, Leaf):
            leaf.after_step()
    network.eval()


def test_there_are_pairs() -> None:
    assert {"binarize", "layer-removal", "self-grow"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_plugin_has_something_to_do_here(name: str, small: Network) -> None:
    network = small.fork()
    assert act(name, network, evidence(network, 32), [])


@pytest.mark.parametrize(("first", "second"), list(permutations(NAMES, 2)))
def test_both_orders_work_or_are_refused(first: str, second: str, small: Network) -> None:
    network = small.fork()
    data = evidence(network, 32)
    places = act(first, network, data, [])
    assert places
    act(second, network, data, [part.partition("+")[0] for path in places for part in path.split("..")])
    data.calibrate(network)
    assert parity(network, data).ok
    train_one_step(network, data)
    agreement = parity(network, data)
    assert agreement.ok, f"after a training step the file is off by {agreement.max_error:.2g} of the output's scale"


def test_a_pair_without_parity_would_be_noticed(small: Network) -> None:
    """The control: the file of another network does not pass."""
    network = small.fork()
    data = evidence(network, 32)
    file = to_onnx(network)
    assert act("binarize", network, data, [])
    assert not numeric_parity(network, file, [data.batches[0][0]]).ok
