"""What every way to grow has in common: what it adds for a given amount, and how it is done."""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from compressor.graph.cost import cost_of
from compressor.graph.editor import Editor
from compressor.graph.leaf import Cost, Shape
from compressor.graph.network import Network
from compressor.graph.shapes import shape_of

AMOUNTS = (0.5, 0.25, 1.0)
"""Channels added, as a share of those that are there; the first is the default."""


class Growth(ABC):
    """One way to grow at one place of a network, without changing what the network computes."""

    name: ClassVar[str]
    scaled: ClassVar[bool] = True
    """Whether the amount makes a difference."""

    @property
    @abstractmethod
    def amounts(self) -> tuple[float, ...]:
        """The amounts that fit and lead to different networks, in the order of ``AMOUNTS``; at least one."""

    @abstractmethod
    def added(self, network: Network, amount: float) -> Cost:
        """What it adds: parameters, and multiply-accumulates for one sample."""

    @abstractmethod
    def carry_out(self, editor: Editor, amount: float) -> None:
        """Do it. Raises ``Refusal`` before the first edit where evidence is needed and missing."""


def chain_cost(chain: Sequence[tuple[str, nn.Module]], shape: Shape) -> Cost:
    """Of leaves in a row, the first of which takes samples of ``shape``."""
    total = Cost()
    for _, leaf in chain:
        total, shape = total + cost_of(leaf, shape), shape_of(leaf, shape)
    return total


def distinct(widths: Sequence[int]) -> tuple[float, ...]:
    """The ``AMOUNTS`` that lead to different widths."""
    return tuple(amount for index, amount in enumerate(AMOUNTS) if widths[index] not in widths[:index])


def seeded(name: str) -> torch.Generator:
    """Random numbers of a place: the same whenever the same edit is made."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))
