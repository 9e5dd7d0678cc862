"""Images with masks: read as they are meant, refused in one line where they are not."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from samples import numbers_of, write_image, write_numbered

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.masks import IGNORED
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def loaded(root: Path, **fields: Any) -> Data:
    return load_data(DataSpec(folder=str(root), **fields))


def mask(path: Path, pixels: Any, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    if palette:
        image.putpalette([value for index in range(256) for value in (255 - index, 3, index)])
    image.save(path)


def masked(root: Path, count: int = 10, split: str = "", first: int = 0) -> None:
    """The mask of image n: class n % 3 on the left, 255 on the right."""
    write_numbered(root / split / "images", count, first)
    for index in range(first, first + count):
        pixels = np.full((8, 8), index % 3)
        pixels[:, 4:] = 255
        mask(root / split / "masks" / f"{index:03d}.png", pixels, palette=index % 2 == 0)


@pytest.mark.parametrize("memory", ["cache", "stream"])
def test_a_mask_holds_classes_and_what_nobody_knows(
    tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if memory == "stream":
        monkeypatch.setattr("compressor.data.gather._cached", lambda *given: None)
        monkeypatch.setattr("compressor.data.gather._in_memory", None)
        monkeypatch.setattr("compressor.data.load.budget", lambda memory: 0)
    masked(tmp_path, 20)
    assert IGNORED == 255
    data = loaded(tmp_path, validation=4, test=5, classes=("a", "b", "c"), workers=0)
    for split in (data.train, data.validation, data.open_test()):
        for images, target in split.batches(3):
            assert target.shape == (len(images), 8, 8)
            assert target.dtype == torch.int64
            assert torch.equal(target[:, 0, 0], images[:, 1, 0, 0].long() % 3)
            assert bool((target[:, :, 4:] == IGNORED).all())
    assert sorted([*chain.from_iterable(numbers_of(data))]) == list(range(20))
    assert data.train.held == (memory == "cache")


def test_black_and_white_masks_are_two_classes(tmp_path: Path) -> None:
    for index in range(12):
        write_image(tmp_path / "images" / f"{index}.png", 9, (8, 6))
        mask(tmp_path / "masks" / f"{index}_mask.png", np.repeat([[0, 255]], 4, 1).repeat(6, 0))
    for _ in range(2):  # the second time from the cache
        data = loaded(tmp_path)
        assert data.train.targets()[0, 0].tolist() == [0] * 4 + [1] * 4
        assert data.open_test().targets().max() == 1


@pytest.mark.parametrize("layout", ["{split}/{kind}", "{kind}/{split}"])
def test_masks_in_folders_of_splits(tmp_path: Path, layout: str) -> None:
    for number, split in enumerate(("train", "val", "test")):
        for index in range(10 * number, 10 * number + 4):
            write_image(tmp_path / layout.format(split=split, kind="images") / f"{index}.png", (1, index, 1))
            mask(tmp_path / layout.format(split=split, kind="masks") / f"{index}.png", np.full((8, 8), index % 2))
    data = loaded(tmp_path)
    assert numbers_of(data) == [list(range(start, start + 4)) for start in (0, 10, 20)]
    assert data.validation.targets()[:, 0, 0].tolist() == [0, 1, 0, 1]


def test_images_and_masks_are_resized_and_cropped_together(tmp_path: Path) -> None:
    pixels = np.zeros((20, 40), np.uint8)
    pixels[:, 20:] = 2
    for index in range(8):
        write_image(tmp_path / "images" / f"{index}.png", 7, (40, 20))
        Image.fromarray(pixels * 100).save(tmp_path / "images" / f"{index}.png")
        mask(tmp_path / "masks" / f"{index}.png", pixels)
    data = loaded(tmp_path, resize=10, crop=8)
    image, target = data.train.fetch(torch.tensor([0]))
    assert image.shape[2:] == target.shape[1:] == (8, 8)
    assert target.unique().tolist() == [0, 2]
    assert torch.equal(target[0, 4] == 2, torch.arange(8) >= 4)
    assert bool(((image[0, 0, 4] > 100) == (target[0, 4] == 2)).all())


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda root: (root / "masks" / "003.png").unlink(), r"003\.png has no mask"),
        (lambda root: (root / "images" / "003.png").unlink(), r"003\.png is the mask of no image"),
        (
            lambda root: mask(root / "masks" / "003.png", np.zeros((8, 9))),
            r"003\.png is 9×8 pixels but its image is 8×8",
        ),
        (lambda root: write_image(root / "masks" / "003.png", (1, 2, 3)), "in colour; a mask is grey"),
        (lambda root: (root / "masks" / "003.png").write_bytes(b"no"), r"003\.png is no readable image"),
    ],
)
def test_masks_that_are_wrong_are_named(tmp_path: Path, spoil: Any, complaint: str) -> None:
    masked(tmp_path)
    spoil(tmp_path)
    with pytest.raises(DataError, match=complaint) as caught:
        loaded(tmp_path)
    assert "\n" not in str(caught.value)
