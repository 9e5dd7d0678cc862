"""Detection: boxes with classes in every image; mean average precision (COCO's, IoU 0.50 to 0.95).

Networks say boxes in ways of their own, so the user names two functions: the ``decoder``, which turns the outputs of a
batch into one ``{"boxes": (n, 4), "scores": (n,), "labels": (n,)}`` per image (corners x1, y1, x2, y2 in pixels), and
the ``criterion``, the loss on raw outputs. The target is a list with one ``{"boxes", "labels"}`` per image.
faster-coco-eval counts, by COCO's rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from compressor.errors import DataError, InputError
from compressor.graph.nested import samples, value_in_words
from compressor.graph.network import Network
from compressor.imported import call_function, import_function
from compressor.task.average_precision import AveragePrecision
from compressor.task.grouped import Grouped
from compressor.task.metric import Metric
from compressor.task.task import MANY, Guess, Meter, Problem, Samples, Task

_FOUND = 0.5
"""IoU from which a box counts as found, in ``scores`` and ``agreement``."""
_LOOKED_AT = 64
"""Training images whose boxes are looked at: reading targets may read images."""


@dataclass(frozen=True)
class Detection(Task):
    """Boxes with classes; mAP."""

    metric = Metric("mAP")
    metered_in_training: ClassVar[bool] = False
    decoder: str = ""
    """``package.module:function``: outputs of a batch → one ``{"boxes", "scores", "labels"}`` per image."""
    criterion: str = ""
    """``package.module:function``: ``(outputs, target) -> scalar``."""

    def __post_init__(self) -> None:
        for name in ("decoder", "criterion"):
            if not getattr(self, name):
                raise InputError(
                    f"task.options.{name}: detection needs a function of yours, package.module:function; networks say "
                    "boxes in ways of their own"
                )

    @cached_property
    def _decode(self) -> Any:
        return import_function(self.decoder, "task.options.decoder")

    @cached_property
    def _criterion(self) -> Any:
        return import_function(self.criterion, "task.options.criterion")

    def found(self, outputs: Any) -> list[dict[str, Tensor]]:
        """The boxes of every image."""
        boxes = call_function(self._decode, self.decoder, "task.options.decoder", outputs)
        good = isinstance(boxes, list) and all(
            isinstance(image, dict) and {"boxes", "scores", "labels"} <= set(image) for image in boxes
        )
        if not good:
            raise InputError(
                f"task.options.decoder: {self.decoder} must return a list with one "
                '{"boxes", "scores", "labels"} per image'
            )
        if len(boxes) != samples(outputs):
            raise InputError(
                f"task.options.decoder: {self.decoder} gave boxes for {len(boxes)} images of {samples(outputs)}"
            )
        for image in boxes:
            if wrong := _wrong(image, ("scores", "labels")):
                raise InputError(f"task.options.decoder: {self.decoder}: {wrong}")
        result: list[dict[str, Tensor]] = boxes
        return result

    def loss(self, outputs: Any, target: Any) -> Tensor:
        loss: Tensor = call_function(self._criterion, self.criterion, "task.options.criterion", outputs, target)
        return loss

    def scores(self, outputs: Any, target: list[dict[str, Tensor]]) -> Tensor:
        """F1 of each image's boxes at an IoU of one half."""
        return _all_f1(self.found(outputs), target)

    def meter(self) -> Meter:
        return Grouped(lambda _: AveragePrecision(), lambda outputs, target: (self.found(outputs), target))

    def agreement(self, outputs: Any, reference: Any) -> Tensor:
        """F1 of the boxes, those of the reference taken for true."""
        return _all_f1(self.found(outputs), self.found(reference))

    def check(self, network: Network, data: Problem) -> None:
        for split, count in ((data.validation, MANY), (data.train, _LOOKED_AT)):
            part = split.first(count).targets()
            good = isinstance(part, list) and all(isinstance(image, dict) for image in part)
            if not good or not all({"boxes", "labels"} <= set(image) for image in part):
                raise DataError(f'{data.name}: task = detection is for a {{"boxes", "labels"}} per image')
            for number, image in enumerate(part):
                if wrong := _wrong(image, ("labels",)) or _misplaced(image["boxes"]):
                    raise DataError(f"{data.name}: the boxes of image {number}: {wrong}")
            if split is data.validation and not any(len(image["labels"]) for image in part):
                raise DataError(f"{data.name}: there is no box in {len(part)} validation images: mAP cannot be told")

    def guess(self, data: Problem, samples: Samples) -> Guess | None:
        return Guess(0.0, "finding nothing")


def _wrong(image: dict[str, Tensor], beside: tuple[str, ...]) -> str:
    """What is not as it must be about the boxes of one image; empty where nothing is."""
    boxes = image["boxes"]
    if not isinstance(boxes, Tensor) or (boxes.numel() and (boxes.ndim != 2 or boxes.shape[1] != 4)):
        return f'"boxes" is {value_in_words(boxes)}, and must be (boxes, 4)'
    count = len(boxes) if boxes.numel() else 0
    for key in beside:
        if not isinstance(image[key], Tensor) or image[key].shape != (count,):
            return f'"{key}" is {value_in_words(image[key])} for {count} boxes'
    return ""


def _misplaced(boxes: Tensor) -> str:
    """Corners that are none, such as those of boxes given by a corner, width and height."""
    if not boxes.numel():
        return ""
    if not bool(boxes.double().isfinite().all()):
        return "a corner is no finite number"
    turned = (boxes[:, 2:] < boxes[:, :2]).any(1)
    if bool(turned.any()):
        one = [round(float(value), 3) for value in boxes[turned][0]]
        return f"{one} ends before it begins; corners x1, y1, x2, y2 are wanted, not widths and heights"
    return ""


def _all_f1(found: list[dict[str, Tensor]], there: list[dict[str, Tensor]]) -> Tensor:
    return torch.tensor([_f1(ours, theirs) for ours, theirs in zip(found, there, strict=True)])


def _f1(found: dict[str, Tensor], there: dict[str, Tensor]) -> float:
    """2·hits / (found + there), each true box hit by at most one found box of its class; 1 where there is neither."""
    total = len(found["boxes"]) + len(there["boxes"])
    if not total:
        return 1.0
    if not len(found["boxes"]) or not len(there["boxes"]):
        return 0.0
    overlap = iou(found["boxes"].float(), there["boxes"].float())
    overlap[found["labels"][:, None] != there["labels"][None, :]] = 0.0
    hits = 0
    while overlap.numel() and float(overlap.max()) >= _FOUND:
        row, column = divmod(int(overlap.argmax()), overlap.shape[1])
        overlap[row], overlap[:, column] = 0.0, 0.0
        hits += 1
    return 2 * hits / total


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes ``(n, 4)`` and ``(m, 4)``, corners x1, y1, x2, y2: ``(n, m)``."""
    low, high = torch.maximum(one[:, None, :2], other[None, :, :2]), torch.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp_min(0).prod(1) for boxes in (one, other)]
    return shared / (areas[0][:, None] + areas[1][None, :] - shared).clamp_min(1e-12)
