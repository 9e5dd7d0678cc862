"""Taking torch.export archives apart and putting them together again with something wrong in them."""

from __future__ import annotations

import functools
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

MODEL = "archive/models/model.json"
WEIGHTS = "archive/data/weights/model_weights_config.json"


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.fc = nn.Linear(4 * 64, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.conv(x).relu().flatten(1))


@functools.cache
def entries() -> dict[str, bytes]:
    """The entries of a sound archive of ``Small``."""
    import io

    torch.manual_seed(0)
    exported = torch.export.export(
        Small().eval(), (torch.randn(2, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    exported.example_inputs = None
    buffer = io.BytesIO()
    torch.export.save(exported, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def changed(path: Path, change: Callable[[dict[str, Any]], None], entry: str = MODEL) -> Path:
    """An archive with one of its JSON entries changed."""
    content = dict(entries())
    parsed = json.loads(content[entry])
    change(parsed)
    return write(path, content | {entry: json.dumps(parsed).encode()})
