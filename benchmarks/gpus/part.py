"""One part of the run on an accelerator: a question, and what answers it in plain figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Figures = dict[str, Any]
"""What a part found out, as JSON can hold it; ``ok`` tells whether what it claims is so, where it claims anything."""


@dataclass(frozen=True)
class Setting:
    """What a part runs with."""

    device: torch.device
    quick: bool
    """A rehearsal: as little work as shows that the part runs."""
    folder: Path
    """Where figures are kept that belong to other pages."""
    seed: int = 0


@dataclass(frozen=True)
class Part:
    """``run`` answers what ``about`` says. ``seconds``: what it may take on an accelerator, a guess."""

    about: str
    run: Callable[[Setting], Figures]
    seconds: float = 30.0
