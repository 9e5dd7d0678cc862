"""What people hand in by mistake: each mistake is one line that says what is wrong, and nothing is taken for right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import compressor
from compressor.data.fit import check_fit
from compressor.errors import CompressorError, InputError
from compressor.graph.capture import capture
from compressor.task import Task, TaskSpec, make_task
from compressor.task.detection import Detection

COUNT, SIDE = 24, 8
LABELS = torch.arange(COUNT) % 4
NUMBERS = torch.arange(2.0 * COUNT).view(COUNT, 2)
MASKS = torch.arange(COUNT * SIDE * SIDE).view(COUNT, SIDE, SIDE) % 3
BOXES, KINDS = torch.tensor([[1.0, 1, 5, 6], [4, 4, 7, 7]]), torch.tensor([1, 2])
NAN = float("nan")


class Samples(Dataset[Any]):
    def __init__(self, images: Tensor, target: Callable[[int], Any]) -> None:
        self.images, self.target = images, target

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], self.target(index)


def images(split: int) -> Tensor:
    return torch.rand(COUNT, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(split))


def network(outputs: int, maps: bool = False) -> nn.Module:
    end = [nn.Conv2d(4, outputs, 1)] if maps else [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, outputs)]
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), *end)


def boxes(outputs: Tensor) -> list[dict[str, Tensor]]:
    """A decoder that finds the same in every image."""
    return [{"boxes": BOXES, "scores": torch.ones(2), "labels": KINDS} for _ in outputs]


def too_few(outputs: Tensor) -> list[dict[str, Tensor]]:
    return boxes(outputs)[1:]


def criterion(outputs: Tensor, target: Any) -> Tensor:
    return outputs.square().mean()


DETECTION = TaskSpec("detection", {"decoder": f"{__name__}:boxes", "criterion": f"{__name__}:criterion"})


def taken(task: Task, module: nn.Module, make: Callable[[Tensor], Any]) -> None:
    """Everything that looks at data before a run."""
    data = compressor.from_loaders(*(make(images(split)) for split in range(3)), task=task)
    check_fit(capture(module, data.input_shape), data)


def tensors(target: Tensor) -> Callable[[Tensor], Any]:
    return lambda found: TensorDataset(found, target)


def live(target: Callable[[int], Any]) -> Callable[[Tensor], Any]:
    return lambda found: Samples(found, target)


def listed(target: Callable[[int], Any]) -> Callable[[Tensor], Any]:
    def together(samples: list[Any]) -> Any:
        return torch.stack([image for image, _ in samples]), [said for _, said in samples]

    return lambda found: DataLoader(Samples(found, target), batch_size=8, collate_fn=together)


@pytest.mark.parametrize(
    ("name", "outputs", "make", "said"),
    [
        ("classification", 4, live(lambda i: "abcd"[i % 4]), "the targets are list, one str per sample"),
        ("classification", 4, live(lambda i: float(i % 4)), r"the targets are \(24,\) of float32"),
        ("classification", 4, tensors(nn.functional.one_hot(LABELS).float()), r"\(24, 4\) of float32"),
        ("classification", 4, tensors(LABELS - 1), "label -1 is no class"),
        ("classification", 3, tensors(LABELS), "4 classes, but the model has only 3 outputs"),
        ("binary", 1, tensors(2 * (LABELS % 2) - 1), "-1"),
        ("multi-label", 2, tensors(NUMBERS / 99), "targets of 0 and 1, one here is"),
        ("multi-label", 4, tensors(LABELS), r"a target the shape \(\)"),
        ("regression", 2, tensors(torch.where(NUMBERS == 9, NAN, NUMBERS)), "a regression target is no finite number"),
        ("regression", 2, tensors(NUMBERS[:, 0]), r"one sample's outputs are \(2,\), its targets \(\)"),
    ],
)  # fmt: skip
def test_targets(name: str, outputs: int, make: Callable[[Tensor], Any], said: str) -> None:
    with pytest.raises(CompressorError, match=said):
        taken(make_task(TaskSpec(name)), network(outputs), make)


@pytest.mark.parametrize(
    ("outputs", "masks", "said"),
    [
        (2, MASKS, "class 2 occurs in the masks, but the model has 2 outputs"),
        (3, MASKS - 1, "ignore_index = -1"),
        (2, 255 * (MASKS > 0), "besides 255, which counts nowhere .* class 0 alone"),
        (3, torch.full_like(MASKS, 255), "no class occurs in the masks"),
        (3, MASKS[:, None], "a mask .height, width. per image"),
    ],
)
def test_masks(outputs: int, masks: Tensor, said: str) -> None:
    with pytest.raises(CompressorError, match=said):
        taken(make_task(TaskSpec("segmentation")), network(outputs, maps=True), tensors(masks))


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            {"boxes": torch.tensor([[6.0, 6, 3, 3]]), "labels": KINDS[:1]},
            "corners x1, y1, x2, y2 are wanted, not widths",
        ),
        ({"boxes": BOXES, "labels": KINDS[:1]}, r'"labels" is \(1,\) of int64 for 2 boxes'),
        ({"boxes": torch.ones(2, 5), "labels": KINDS}, r"must be \(boxes, 4\)"),
        ({"boxes": BOXES * NAN, "labels": KINDS}, "a corner is no finite number"),
        ({"boxes": BOXES}, '"boxes", "labels"} per image'),
    ],
)
def test_boxes(target: dict[str, Tensor], said: str) -> None:
    with pytest.raises(CompressorError, match=said):
        taken(make_task(DETECTION), network(13, maps=True), listed(lambda i: target))


def test_images_without_boxes_are_images() -> None:
    none = {"boxes": torch.tensor([]), "labels": torch.tensor([], dtype=torch.int64)}
    some = {"boxes": BOXES, "labels": KINDS}
    taken(make_task(DETECTION), network(13, maps=True), listed(lambda i: none if i % 2 else some))


def test_a_decoder_that_forgets_an_image_shifts_no_boxes() -> None:
    task = Detection(decoder=f"{__name__}:too_few", criterion=f"{__name__}:criterion")
    with pytest.raises(InputError, match="gave boxes for 2 images of 3"):
        task.found(torch.zeros(3, 13, 2, 2))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: torch.where(torch.arange(COUNT)[:, None, None, None] == 7, NAN, found), "sample 7 has an input"),
        (lambda found: (255 * found).long(), "is int64, the model takes float32; give floats, or bytes"),
        (lambda found: found[:0], "the training split has no samples"),
    ],
)
def test_inputs(change: Callable[[Tensor], Tensor], said: str) -> None:
    with pytest.raises(CompressorError, match=said):
        taken(
            make_task(TaskSpec()), network(4), lambda found: TensorDataset(change(found), LABELS[: len(change(found))])
        )


def test_channels_that_stand_last_are_named() -> None:
    def last(found: Tensor) -> Any:
        return TensorDataset((255 * found).byte().movedim(1, -1), LABELS)

    with pytest.raises(CompressorError, match="8×8×3: channels that stand last are to stand first"):
        compressor.optimize(network(4), *(last(images(split)) for split in range(3)), trials=1)


@pytest.mark.parametrize("targets", [live(lambda i: i % 4), live(lambda i: LABELS[i].numpy()), tensors(LABELS)])
def test_what_is_right_is_taken(targets: Callable[[Tensor], Any]) -> None:
    taken(make_task(TaskSpec()), network(4), targets)
    taken(make_task(TaskSpec("regression")), network(1), targets)


def test_arrays_are_taken_as_a_network_takes_them() -> None:
    """Three sizes are a batch of grey images, unless the network is known to take something else."""
    rows = nn.Sequential(nn.Linear(5, 3), nn.Flatten())
    splits = [torch.rand(COUNT, 4, 5, generator=torch.Generator().manual_seed(split)) for split in range(3)]
    captured = capture(rows, (4, 5))
    with pytest.raises(CompressorError, match="wrap them in a TensorDataset"):
        check_fit(captured, compressor.from_loaders(*splits, task=make_task(TaskSpec("agreement"))))
    with pytest.raises(CompressorError, match="no plugin has anything to suggest"):  # the data have passed
        compressor.optimize(captured, *splits, task="agreement")
