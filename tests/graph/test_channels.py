"""Channels and all that is coupled to them.

Two oracles, on networks whose output follows their input: dropping channels that were set to zero changes nothing, and
duplicating channels changes nothing. Each has a negative control.
"""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import NETWORKS
from oracles import ZERO_THEN_DROP, check_oracles, producers, silence
from torch import Tensor, nn
from traced import assert_consistent, chain, images, traced, zoo

from compressor.errors import Refusal
from compressor.graph.coupling.groups import coupled_positions
from compressor.graph.editor import Editor
from compressor.graph.verify import difference


@pytest.mark.parametrize("name", NETWORKS)
def test_oracles_on_every_layer_of_every_network(name: str) -> None:
    network = zoo(name)
    paths = producers(network)
    effects = [check_oracles(network, path) for path in paths[:-1]]
    assert statistics.median(effects) > 0.05, "control: the channels dropped carried something"
    with pytest.raises(Refusal, match="network's output"):
        Editor(network).drop_channels(paths[-1], [0])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_oracles_on_any_channels(data: st.DataObject) -> None:
    network = zoo(data.draw(st.sampled_from(sorted(NETWORKS))))
    path = data.draw(st.sampled_from(producers(network)[:-1]))
    count = network.shape(network.calls_of(path)[0])[0]
    channels = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count - 1))
    check_oracles(network, path, channels)


PADS = (
    nn.ZeroPad2d(1), nn.ConstantPad2d(1, 0.0), nn.ReflectionPad2d(1), nn.ReplicationPad2d(1), nn.CircularPad2d(1)
)  # fmt: skip


@pytest.mark.parametrize("pad", PADS, ids=lambda pad: type(pad).__name__)
def test_layers_that_share_what_they_do_with_others_of_their_kind(pad: nn.Module) -> None:
    """Their ``forward`` is that of a common base class."""
    network = chain(nn.Conv2d(3, 6, 1), pad, nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 5), shape=(3, 4, 4))
    assert check_oracles(network, "0") > 0.05


def test_a_wrong_duplicate_is_noticed() -> None:
    """Control: without sharing out the weights the oracle fails."""
    network = zoo("vgg")
    wider = network.fork()
    editor = Editor(wider)
    editor.duplicate_channels("features.0", [2])
    editor.commit()
    taker = wider.leaf("features.3")
    assert isinstance(taker, nn.Conv2d)
    with torch.no_grad():
        taker.weight[:, 3] *= 2
    assert difference(network, wider, [images(network)]) > 1e-3


def test_copies_stand_behind_their_originals() -> None:
    network = chain(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), shape=(3, 2, 2))
    conv, linear = network.leaf("0"), network.leaf("3")
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(linear, nn.Linear)
    editor = Editor(network)
    editor.duplicate_channels("0", [1, 1, 3])
    editor.commit()
    wide, taker = network.leaf("0"), network.leaf("3")
    assert isinstance(wide, nn.Conv2d)
    assert isinstance(taker, nn.Linear)
    assert torch.equal(wide.weight, conv.weight[[0, 1, 1, 1, 2, 3, 3]])
    run = linear.weight[:, 4:8] / 3
    assert torch.allclose(taker.weight[:, 4:16], torch.cat([run, run, run], 1))


def test_keep_is_the_complement_of_drop_in_the_old_order() -> None:
    network = zoo("vgg")
    conv = network.leaf("features.0")
    assert isinstance(conv, nn.Conv2d)
    other = network.fork()
    for target, operation, channels in ((network, "keep", [5, 1, 2]), (other, "drop", [0, 3, 4, 6, 7])):
        editor = Editor(target)
        getattr(editor, f"{operation}_channels")("features.0", channels)
        (change,) = editor.commit()
        assert change.detail == "8 → 3; also features.1, features.3"
    kept = network.leaf("features.0")
    assert isinstance(kept, nn.Conv2d)
    assert torch.equal(kept.weight, conv.weight[[1, 2, 5]])
    assert difference(network, other, [images(network)]) == 0


class Gate(nn.Module):
    """Squeeze and excitation: channels weigh themselves through two 1×1 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.conv(x)))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        return self.head((x * gate).mean((2, 3)))


class Joined(nn.Module):
    """A sum of a convolution with the concatenation of two others, so that coupling runs backwards through it."""

    def __init__(self) -> None:
        super().__init__()
        self.whole, self.left, self.right = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 3, 1), nn.Conv2d(3, 5, 1)
        self.head = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([torch.relu(self.left(x)), self.right(x)], 1)
        return self.head((self.whole(x) + joined).amax((2, 3)).relu())


class Shared(nn.Module):
    """One convolution called twice in a residual loop."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.step, self.head = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(2):
            x = x + torch.relu(self.step(x))
        return self.head(x.mean((2, 3)))


UNUSUAL = {
    "grouped": (
        chain(
            nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 12, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(48, 5),
            shape=(3, 4, 4),
        ), ["2"],
    ),
    "depthwise": (
        chain(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.PReLU(8), nn.Conv2d(8, 5, 1), nn.Flatten(),
              nn.Linear(20, 4), shape=(3, 4, 4)), ["0", "3"],
    ),
    "transposed": (
        chain(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.ConvTranspose2d(6, 8, 2, 2), nn.BatchNorm2d(8), nn.ReLU(),
              nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(16, 3), shape=(3, 4, 4)), ["0", "2", "5"],
    ),
    "one dimension": (
        chain(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.MaxPool1d(2), nn.Conv1d(8, 6, 1), nn.Flatten(),
              nn.BatchNorm1d(18), nn.Linear(18, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3), shape=(3, 8)),
        ["0", "4", "7"],
    ),
    "three dimensions": (
        chain(nn.Conv3d(2, 6, 3, padding=1), nn.BatchNorm3d(6), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
              nn.Linear(6, 3), shape=(2, 4, 4, 4)), ["0"],
    ),
    "gate": (traced(Gate(), (3, 6, 6)), ["conv", "squeeze", "excite"]),
    "joined": (traced(Joined(), (3, 6, 6)), ["whole", "left", "right"]),
    "shared": (traced(Shared(), (3, 6, 6)), ["stem"]),
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_oracles_on_unusual_layers(name: str) -> None:
    network, paths = UNUSUAL[name]
    assert max(check_oracles(network, path) for path in paths) > 0.05


def test_the_groups_of_a_convolution_lose_the_same_channel() -> None:
    network = UNUSUAL["grouped"][0].fork()
    with pytest.raises(Refusal, match="channel 0 goes only together with channel 4: 2 has 2 groups"):
        Editor(network).drop_channels("0", [0])
    silence(network, "0", [0, 4])
    before = network.fork()
    editor = Editor(network)
    editor.drop_channels("0", [0, 4])
    editor.commit()
    grouped = network.leaf("2")
    assert isinstance(grouped, nn.Conv2d)
    assert (grouped.in_channels, grouped.groups, tuple(grouped.weight.shape)) == (6, 2, (12, 3, 3, 3))
    assert difference(before, network, [images(network)]) <= ZERO_THEN_DROP
    assert_consistent(network)


def test_the_analysis_leaves_no_trace() -> None:
    network = zoo("resnet").train()
    network.leaf("conv1").requires_grad_(False)
    weights = {name: value.clone() for name, value in network.module.state_dict().items()}
    random_state = torch.get_rng_state()
    coupled_positions(network, "layer1.0.conv1", [0])
    for module in network.module.modules():
        assert module.training
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(torch.equal(value, weights[name]) for name, value in network.module.state_dict().items())
    assert [n for n, p in network.module.named_parameters() if not p.requires_grad] == ["conv1.weight"]
    assert all(p.grad is None for p in network.module.parameters())
    assert torch.equal(random_state, torch.get_rng_state())
    editor = Editor(network)
    editor.drop_channels("conv1", [0])
    editor.commit()
    assert [n for n, p in network.module.named_parameters() if not p.requires_grad] == ["conv1.weight"]


def test_channels_after_an_uncommitted_edit() -> None:
    network = zoo("vgg")
    editor = Editor(network)
    editor.replace_by_chain("features.2", [("a", nn.ReLU()), ("b", nn.Conv2d(8, 8, 1)), ("c", nn.BatchNorm2d(8))])
    editor.drop_channels("features.2_b", [0, 1])
    editor.commit()
    assert network.shape(network.calls_of("features.2_b")[0])[0] == 6
    assert_consistent(network)
