"""Where a run goes when nobody says."""

from __future__ import annotations

import re
from pathlib import Path


def free_folder(model: str, recipe: str, under: Path = Path("runs")) -> Path:
    """``runs/model-recipe``, with the first number behind it that makes it a new folder."""
    parts = [re.sub(r"[^\w.-]+", "-", Path(part).stem).strip("-.") for part in (model, recipe)]
    name = "-".join(part for part in parts if part) or "run"
    candidates = (under / (name if number == 1 else f"{name}-{number}") for number in range(1, 1_000_000))
    return next(folder for folder in candidates if not folder.exists())
