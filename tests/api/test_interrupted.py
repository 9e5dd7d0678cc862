"""A run from Python that is interrupted: the program sees it, and resume goes on, with live data and a live task."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import compressor
from compressor.search.observer import Event, TrialEnded
from compressor.search.run_folder import RunFolder
from compressor.task.detection import Detection

SIDE = 8
SHORT = (
    "search.budget=0", "search.sampler=random", "training.epochs=1", "measure.finalists=1", "constraints.max_drop=0.9",
    "search.allow_untrained=true",
)  # fmt: skip


class Squares(Dataset[Any]):
    """One bright square in each image, somewhere in one of two halves: its box, and which half."""

    def __init__(self, split: int) -> None:
        generator = torch.Generator().manual_seed(split)
        self.places = torch.randint(0, SIDE - 3, (32, 2), generator=generator)
        self.noise = torch.rand(32, 1, SIDE, SIDE, generator=generator) / 4

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        top, left = map(int, self.places[index])
        image = self.noise[index].clone()
        image[:, top : top + 3, left : left + 3] = 1.0
        box = torch.tensor([[left, top, left + 3, top + 3]]).float()
        return image, {"boxes": box, "labels": torch.tensor([int(left > 2)])}


def together(samples: list[Any]) -> tuple[Tensor, list[dict[str, Tensor]]]:
    return torch.stack([image for image, _ in samples]), [boxes for _, boxes in samples]


def boxes(outputs: Tensor) -> list[dict[str, Tensor]]:
    corners = outputs[:, :2]
    return [
        {"boxes": torch.cat([at, at + 3])[None], "scores": torch.ones(1), "labels": (at[:1] > 2).long()}
        for at in corners
    ]


def criterion(outputs: Tensor, target: list[dict[str, Tensor]]) -> Tensor:
    return (outputs[:, :2] - torch.cat([image["boxes"][:, :2] for image in target])).square().mean()


class Interrupting:
    """Sends what Ctrl-C sends, when the first trial has ended."""

    def __init__(self) -> None:
        self.ended: list[int] = []

    def notify(self, event: Event) -> None:
        if isinstance(event, TrialEnded):
            self.ended.append(event.number)
            if len(self.ended) == 1:
                os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupted_run_with_live_boxes_goes_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * SIDE * SIDE, 2))
    task = Detection(decoder=f"{__name__}:boxes", criterion=f"{__name__}:criterion")
    splits = [DataLoader(Squares(split), batch_size=16, collate_fn=together) for split in range(3)]
    observer = Interrupting()
    with pytest.raises(KeyboardInterrupt, match=r"go on with compressor\.resume"):
        compressor.optimize(
            model, *splits, task=task, trials=4, jobs=1, out=tmp_path / "run", observer=observer, overrides=SHORT
        )
    assert 1 <= len(observer.ended) < 4
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("outcome.json")}
    result = compressor.resume(tmp_path / "run", *splits, task=task)
    assert result.found.final
    trials = result.found.trials
    assert sum((trials.complete, trials.screened, trials.stopped, trials.failed, trials.duplicate, trials.refused)) == 4
    assert trials.failed == 0
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    assert result.baseline.quality.metric == "mAP"
    assert RunFolder.open(tmp_path / "run").path == result.folder
