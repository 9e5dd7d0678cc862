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

    def between(self, x: Tensor, image: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(self.conv(x), x))


class Shuffle(Block):
    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return x.reshape(-1, 2, 2, 5, 5).transpose(1, 2).reshape(-1, 4, 5, 5)


class Rows(Block):
    """Rows that are no multiple of a channel."""

    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return x.reshape(-1, 2, 50).softmax(2).reshape(-1, 4, 5, 5)


class Softmax(Block):
    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return torch.softmax(x, 1)


class Input(Block):
    def __init__(self) -> None:
        super().__init__(3)

    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return x + image


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
        return x + image.mean(1, keepdim=True)


class Fixed(Block):
    def between(self, x: Tensor, image: Tensor) -> Tensor:
        return x * torch.cat([image, image[:, :1]], 1)


@pytest.mark.parametrize(
    ("block", "reason"),
    [
        (Shuffle, "goes only together with channel 2: reshape lays channels out in rows"),
        (Rows, "goes only together with channels 1, 2, 3"),
        (Softmax, "weighs channels"),
        (Input, "network's input"),
        (Fixed, "network's input"),
        (Normalised, "goes only together with channel 1: norm normalises 2 channels together"),
        (Neighbours, "norm weighs neighbouring channels"),
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
