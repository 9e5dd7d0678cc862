"""Channels that are not free to change in number are refused, with the reason."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from traced import chain, traced

from compressor.errors import Refusal
from compressor.graph.editor import Editor


class Block(nn.Module):
    """A convolution, something done to its channels, a head."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, channels, 1), nn.Conv2d(channels, 2, 1)
        self.constant = nn.Parameter(torch.ones(1, channels, 1, 1))

    def between(self, x: Tensor, image: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.conv(x), x))


class Shuffle(Block):
    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return x.reshape(-1, 2, 2, 5, 5).transpose(1, 2).reshape(-1, 4, 5, 5)


class Softmax(Block):
    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return torch.softmax(x, 1)


class Constant(Block):
    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return x * self.constant


class Input(Block):
    def __init__(self) -> None:
        super().__init__(3)

    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return x + image


class Slice(Block):
    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return torch.cat([x[:, :2], x[:, 2:]], 1)


class Normalised(Block):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)

    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return self.norm(x)


class Neighbours(Block):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LocalResponseNorm(3)

    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return self.norm(x)


class Spread(Block):
    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return x * image.mean(1, keepdim=True)


class Volume(Block):
    """Depth joined with the channels, as behind a Conv3d that stands for a Conv2d."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv3d(3, 4, 1), nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.flatten(self.conv(torch.stack([x, x], 2)), 1, 2))


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (Volume, "flattens some dimensions only"),
        (Shuffle, "reshape.*number written into it"),
        (Softmax, "weighs channels"),
        (Constant, "constant"),
        (Input, "network's input"),
        (Slice, "getitem"),
        (Normalised, "GroupNorm mixes channels"),
        (Neighbours, "LocalResponseNorm mixes channels"),
        (Spread, "spreads a single channel"),
    ],
)
def test_channels_that_are_not_free_are_refused(block: type[Block], reason: str) -> None:
    network = traced(block(), (3, 5, 5))
    for operation in ("drop_channels", "duplicate_channels"):
        editor = Editor(network)
        with pytest.raises(Refusal, match=reason):
            getattr(editor, operation)("conv", [0])
        assert not editor.changes


def test_tied_weights_are_refused() -> None:
    network = chain(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1), shape=(3, 4, 4))
    first, second = network.leaf("1"), network.leaf("2")
    assert isinstance(first, nn.Conv2d)
    assert isinstance(second, nn.Conv2d)
    second.weight = first.weight
    with pytest.raises(Refusal, match="1 and 2 share a weight"):
        Editor(network).drop_channels("1", [0])


def test_a_layer_applied_along_another_dimension_is_refused() -> None:
    network = chain(nn.Conv2d(3, 4, 1), nn.Linear(5, 5), nn.Conv2d(4, 2, 1), shape=(3, 5, 5))
    with pytest.raises(Refusal, match="another dimension"):
        Editor(network).drop_channels("0", [0])
