"""Identities of channels: numbers for what makes them, united where channels must come and go together.

An *atom* is one output channel of one layer (or one entry of a constant, or something that cannot be chosen at all).
Atoms that meet in a sum are united into a *class*: the least that can be dropped. Atom 0 stands for plain numbers,
which have no channels and unite nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.graph.flow.values import NOTHING, core

Numbers = NDArray[np.int64]


class Atoms:
    """Union-find over atoms, all at once: every atom knows its class, named by its smallest member."""

    def __init__(self) -> None:
        self._classes: Numbers = np.zeros(1024, np.int64)
        self._count = 1
        self.unions = 0
        """How many classes were lost in others so far."""
        self._pins: list[tuple[Numbers, str]] = []
        self._ties: list[tuple[Numbers, str]] = []

    def new(self, count: int) -> Tensor:
        """``count`` fresh atoms, each its own class."""
        start, self._count = self._count, self._count + count
        while self._count > len(self._classes):
            self._classes = np.concatenate([self._classes, np.zeros_like(self._classes)])
        self._classes[start : self._count] = np.arange(start, self._count)
        return torch.arange(start, self._count)

    @property
    def classes(self) -> Numbers:
        """Atom → its class."""
        return self._classes[: self._count]

    def canonical(self, atoms: Tensor) -> Tensor:
        """Every atom replaced by its class."""
        return torch.from_numpy(self.classes)[atoms]

    def unite(self, left: Tensor, right: Tensor, reason: str = "") -> None:
        """Unite position by position. ``reason``: why, where it is for more than meeting in a sum."""
        one, other = (self.classes[atoms.reshape(-1).numpy()] for atoms in (left, right))
        new = (one != other) & (one != NOTHING) & (other != NOTHING)
        if not new.any():
            return
        one, other = one[new], other[new]
        if reason:
            self._ties.append((np.unique(np.concatenate([one, other])), reason))
        least = np.arange(self._count)
        while ((here := least[one]) != (there := least[other])).any():
            np.minimum.at(least, np.maximum(here, there), np.minimum(here, there))
            while ((below := least[least]) != least).any():
                least = below
        self.unions += int((least != np.arange(self._count)).sum())
        self._classes[: self._count] = least[self.classes]

    def pin(self, atoms: Tensor, reason: str) -> None:
        """These can never be chosen."""
        named = np.unique(core(atoms).reshape(-1).numpy())
        self._pins.append((named[named != NOTHING], reason))

    def pinned(self) -> dict[int, str]:
        """Class → why it cannot be chosen; the reason met first."""
        return self._by_class(self._pins)

    def tied(self) -> dict[int, str]:
        """Class → why channels of one layer go together in it."""
        return self._by_class(self._ties)

    def _by_class(self, entries: list[tuple[Numbers, str]]) -> dict[int, str]:
        found: dict[int, str] = {}
        for atoms, reason in entries:
            for name in np.unique(self.classes[atoms]).tolist():
                found.setdefault(name, reason)
        return found
