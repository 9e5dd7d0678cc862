"""What is probed, and for how long: the ``[probe]`` table of a recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compressor.errors import InputError
from compressor.probe.tilings import NAMES, REFERENCE, TilingName


@dataclass(frozen=True)
class ProbeSpec:
    """Before the search the model's architecture is trained on tiled images, once per tiling, set and repeat.

    A tiling whose loss and error are on average no worse than those of the whole images (``DN``), within the
    tolerances, shows that its pixels were not needed. Where none is, the search is not begun.
    """

    tilings: tuple[TilingName, ...] = NAMES
    """Must hold ``DN``, which all others are compared with, and one more."""
    phase: Literal[0, 1, 2, 3] = 0
    """The pixel of each 2×2 cell that every tiling keeps: 2·row + column."""
    sets: int = 3
    repeats: int = 1
    """Trainings per tiling and set, each from another seed; tilings share their seeds."""
    draw: Literal["samples", "classes"] = "samples"
    """What sets differ in: disjoint training samples of all classes, or disjoint classes."""
    epochs: int = 4
    limit: int = 3000
    """Training samples of a set; 0 means as many as there are."""
    start: Literal["scratch", "trained"] = "scratch"
    """New weights for every training, or the model's own."""
    error_tolerance: float = 0.01
    """How much a tiling's error (0…1) may lie above that of ``DN``, on average."""
    loss_tolerance: float = 0.05
    """The same for the cross entropy, nats per sample."""
    stand_in_for: str = ""
    """The data these stand in for; the report says so wherever it shows results."""

    def origin(self, data: str, stand_in: bool = False) -> str:
        """The data, and what they stand in for. ``stand_in``: they were loaded in place of the set asked for."""
        if self.stand_in_for:
            return f"{data}, a stand-in for {self.stand_in_for}: the figures say nothing about {self.stand_in_for}"
        return f"{data}, itself a stand-in" if stand_in else data

    def __post_init__(self) -> None:
        if REFERENCE not in self.tilings or len(set(self.tilings)) < 2:
            raise InputError(f"probe.tilings: give {REFERENCE!r} and at least one other, each once")
        if len(set(self.tilings)) < len(self.tilings):
            raise InputError("probe.tilings: each once")
        for key in ("sets", "repeats", "epochs"):
            if getattr(self, key) < 1:
                raise InputError(f"probe.{key}: expected at least 1; found {getattr(self, key)}")
        for key in ("limit", "error_tolerance", "loss_tolerance"):
            if not getattr(self, key) >= 0:
                raise InputError(f"probe.{key}: expected a number that is not negative; found {getattr(self, key):g}")
