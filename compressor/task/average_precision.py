"""COCO's mean average precision over images, counted by faster-coco-eval (COCO's own rules, IoU 0.50 to 0.95)."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import torch
from torch import Tensor

from compressor.errors import InputError

Boxes = dict[str, Tensor]


class AveragePrecision:
    """A metric in the form of torchmetrics': ``update``, ``merge_state``, ``compute``. Holds the boxes of all images.

    torchmetrics' own wants torchvision beside it, which ties the version of torch.
    """

    def __init__(self) -> None:
        self._found: list[Boxes] = []
        self._there: list[Boxes] = []
        self.device = torch.device("cpu")

    def to(self, device: Any) -> AveragePrecision:
        return self

    def update(self, found: list[Boxes], there: list[Boxes]) -> None:
        self._found += [_on_cpu(image) for image in found]
        self._there += [_on_cpu(image) for image in there]

    def merge_state(self, other: AveragePrecision) -> None:
        self._found, self._there = self._found + other._found, self._there + other._there

    def compute(self) -> Tensor:
        """The mean over classes and IoUs; 0 where there is nothing to find, or nothing was found."""
        if not any(len(image["boxes"]) for image in self._there) or not any(len(i["boxes"]) for i in self._found):
            return torch.tensor(0.0)
        with contextlib.redirect_stdout(io.StringIO()):
            return torch.tensor(max(_evaluated(self._found, self._there), 0.0))


def _evaluated(found: list[Boxes], there: list[Boxes]) -> float:
    try:
        from faster_coco_eval import COCO
        from faster_coco_eval import COCOeval_faster as Evaluation
    except ImportError as error:
        raise InputError(f"task = detection: {error}; pip install 'compressor[detection]'") from None
    truth = COCO(_as_coco(there))
    run = Evaluation(truth, truth.loadRes(_as_annotations(found, scored=True)), iouType="bbox", print_function=_silent)
    run.evaluate()
    run.accumulate()
    run.summarize()
    return float(run.stats[0])


def _as_coco(there: list[Boxes]) -> dict[str, Any]:
    kinds = sorted({int(label) for image in there for label in image["labels"]})
    return {
        "images": [{"id": number} for number in range(len(there))],
        "categories": [{"id": kind, "name": str(kind)} for kind in kinds],
        "annotations": _as_annotations(there, scored=False),
        "info": {},
    }


def _as_annotations(images: list[Boxes], *, scored: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number, image in enumerate(images):
        for index, (x1, y1, x2, y2) in enumerate(image["boxes"].reshape(-1, 4).tolist()):
            row = {
                "id": len(rows) + 1, "image_id": number, "category_id": int(image["labels"][index]),
                "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": 0,
            }  # fmt: skip
            rows.append({**row, "score": float(image["scores"][index])} if scored else row)
    return rows


def _on_cpu(image: Boxes) -> Boxes:
    return {key: value.detach().cpu() for key, value in image.items() if isinstance(value, Tensor)}


def _silent(*_: Any) -> None:
    return None
