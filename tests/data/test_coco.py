"""Boxes in COCO's format."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from samples import numbers_of, write_image

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def loaded(root: Path, **fields: Any) -> Data:
    return load_data(DataSpec(folder=str(root), **fields))


def boxed(path: Path, folder: Path, numbers: range, size: tuple[int, int] = (16, 8), **change: Any) -> None:
    """Image n has n % 3 boxes of category 7, and one crowd."""
    entries, annotations = [], []
    for index in numbers:
        write_image(folder / f"{index}.png", (1, index, 1), size)
        entries.append({"id": index, "file_name": f"{index}.png", "width": size[0], "height": size[1]})
        for box in range(index % 3):
            annotations.append({"image_id": index, "category_id": 7, "bbox": [2 + box, 1, 4, 6]})
        annotations.append({"image_id": index, "category_id": 3, "bbox": [0, 0, 9, 9], "iscrowd": 1})
    content = {
        "images": entries,
        "annotations": annotations,
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
        **change,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


LAYOUTS = {
    "coco": ("annotations/instances_{split}2017.json", "{split}2017"),
    "coco, below images": ("annotations/instances_{split}.json", "images/{split}"),
    "beside": ("{split}/_annotations.coco.json", "{split}"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_come_one_entry_per_sample(tmp_path: Path, layout: str) -> None:
    for number, split in enumerate(("train", "val", "test")):
        file, images = (part.format(split=split) for part in LAYOUTS[layout])
        boxed(tmp_path / file, tmp_path / images, range(10 * number, 10 * number + 4))
    data = loaded(tmp_path)
    assert numbers_of(data) == [list(range(start, start + 4)) for start in (0, 10, 20)]
    assert data.classes == ("cat", "dog")
    for images, target in data.train.batches(3):
        for image, entry in zip(images, target, strict=True):
            count = int(image[1, 0, 0]) % 3
            assert entry["labels"].tolist() == [1] * count
            assert entry["boxes"].tolist() == [[2.0 + box, 1.0, 6.0 + box, 7.0] for box in range(count)]
    assert "4 annotations" in data.notes[0]


def test_one_file_of_boxes_is_divided_and_boxes_follow_the_image(tmp_path: Path) -> None:
    boxed(tmp_path / "annotations.json", tmp_path / "images", range(20))
    data = loaded(tmp_path, validation=4, test=5, resize=4, crop=4, classes=("background", "dog", "cat"))
    assert sorted([*chain.from_iterable(numbers_of(data))]) == list(range(20))
    for split in (data.train, data.validation, data.open_test()):
        for images, target in split.batches(4):
            assert images.shape[2:] == (4, 4)
            for image, entry in zip(images, target, strict=True):
                count = int(image[1, 0, 0]) % 3
                assert entry["labels"].tolist() == [1] * count
                # halved, then two pixels cut off on the left
                assert entry["boxes"].tolist() == [[0.0, 0.5, 1.0 + box / 2, 3.5] for box in range(count)]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"images": [{"id": 1, "file_name": "1.png", "width": 9, "height": 9}], "annotations": []}, "for 9×9"),
        ({"annotations": [{"image_id": 99, "category_id": 7, "bbox": [1, 1, 2, 2]}]}, "image 99, which is not listed"),
        ({"annotations": [{"image_id": 1, "category_id": 8, "bbox": [1, 1, 2, 2]}]}, "category 8 is not among"),
        ({"annotations": [{"image_id": 1, "category_id": 7, "bbox": [1, 1, 2]}]}, "no file of COCO's annotations"),
        ({"annotations": [{"image_id": 1, "bbox": [1, 1, 2, 2]}]}, "no 'category_id'"),
        ({"images": []}, "no images"),
        ({"images": [{"id": 1, "file_name": "absent.png", "width": 9, "height": 9}]}, r"absent\.png is in none of"),
    ],
)
def test_annotations_that_are_wrong_are_told_in_one_line(
    tmp_path: Path, change: dict[str, Any], complaint: str
) -> None:
    boxed(tmp_path / "annotations.json", tmp_path / "images", range(8), **change)
    with pytest.raises(DataError, match=complaint) as caught:
        loaded(tmp_path, test=1, validation=1) if "9×9" not in complaint else loaded_alone(tmp_path)
    assert "\n" not in str(caught.value)


def loaded_alone(root: Path) -> Data:
    content = json.loads((root / "annotations.json").read_text())
    content["images"] = [{**content["images"][0], "id": index, "file_name": f"{index}.png"} for index in range(8)]
    (root / "annotations.json").write_text(json.dumps(content))
    return loaded(root)
