from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from samples import write_classes, write_idx_set, write_image

from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError


def identities(images: torch.Tensor) -> set[tuple[int, int]]:
    """Which images these are, from the colours ``write_classes`` gave them."""
    return {(int(red), int(green)) for red, green in images[:, :2, 0, 0]}


def test_folders_for_train_val_and_test(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", ("cat", "dog"), 6)
    write_classes(tmp_path / "val", ("cat", "dog"), 3)
    write_classes(tmp_path / "test", ("dog",), 2)
    data = load_data(DataSpec(folder=str(tmp_path)))
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.validation)) == (12, 6)
    assert data.input_shape == (3, 8, 8)
    assert data.train.images[data.train.targets() == 1][:, 0].unique().tolist() == [40]
    assert data.open_test().targets().tolist() == [1, 1]


def test_one_folder_is_divided_into_three_disjoint_parts(tmp_path: Path) -> None:
    write_classes(tmp_path, ("001.ak47", "002.american-flag", "003.backpack"), 20)
    data = load_data(DataSpec(folder=str(tmp_path), validation=0.2, test=12))
    test = data.open_test()
    parts = [identities(split.images) for split in (data.train, data.validation, test)]
    assert [len(part) for part in parts] == [38, 10, 12]
    assert len(set.union(*parts)) == 60
    assert torch.bincount(test.targets()).tolist() == [4, 4, 4]
    assert data.classes[0] == "001.ak47"


def test_the_test_split_is_the_same_for_every_seed(tmp_path: Path) -> None:
    write_classes(tmp_path, ("a", "b"), 20)
    one, two = (load_data(DataSpec(folder=str(tmp_path), validation=0.25, seed=seed)) for seed in (1, 2))
    assert identities(one.open_test().images) == identities(two.open_test().images)
    assert identities(one.validation.images) != identities(two.validation.images)


def test_a_damaged_test_image_is_told_before_a_search(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", ("a", "b"), 5)
    write_classes(tmp_path / "test", ("a", "b"), 5)
    load_data(DataSpec(folder=str(tmp_path)))
    (tmp_path / "test" / "a" / "000.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"000\.png is no readable image"):
        load_data(DataSpec(folder=str(tmp_path)))


def test_different_sizes_need_a_size(tmp_path: Path) -> None:
    write_classes(tmp_path, ("a", "b"), 5)
    write_image(tmp_path / "a" / "zzz.png", (1, 2, 3), (12, 9))
    with pytest.raises(DataError, match=r"zzz\.png is 12×9 pixels .* set data\.size"):
        load_data(DataSpec(folder=str(tmp_path), test=1, validation=1))
    assert load_data(DataSpec(folder=str(tmp_path), size=10)).input_shape == (3, 10, 10)


def test_grey_files_make_one_channel_and_may_be_made_colour(tmp_path: Path) -> None:
    for label in "ab":
        for index in range(6):
            write_image(tmp_path / label / f"{index}.png", 30 + index)
    assert load_data(DataSpec(folder=str(tmp_path))).input_shape == (1, 8, 8)
    assert load_data(DataSpec(folder=str(tmp_path), channels=3)).input_shape == (3, 8, 8)


def test_decoded_images_are_kept_until_a_file_changes(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(tmp_path, ("a", "b"), 6)
    spec = DataSpec(folder=str(tmp_path))
    first = load_data(spec)
    opened = []
    original = Image.Image.convert
    monkeypatch.setattr(Image.Image, "convert", lambda self, mode: opened.append(mode) or original(self, mode))
    second = load_data(spec)
    assert opened == []
    assert torch.equal(first.train.images, second.train.images)
    write_image(tmp_path / "a" / "000.png", (200, 0, 0), (8, 8))
    third = load_data(spec)
    assert opened
    everything = torch.cat([third.train.images, third.validation.images, third.open_test().images])
    assert 200 in everything


def test_a_folder_of_idx_files_is_read_too(tmp_path: Path) -> None:
    write_idx_set(tmp_path)
    data = load_data(DataSpec(folder=str(tmp_path)))
    assert (len(data.train) + len(data.validation), len(data.open_test())) == (40, 20)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda root: None, "no such folder"),
        (lambda root: root.mkdir(), "0 class folders"),
        (lambda root: (root / "only").mkdir(parents=True), "1 class folders"),
        (lambda root: [(root / name).mkdir(parents=True) for name in "ab"], "no images"),
        (
            lambda root: (write_classes(root / "train", ("a", "b"), 2), write_classes(root / "test", ("c",), 1)),
            "class 'c' is not among",
        ),
    ],
)
def test_a_wrong_folder_is_told_in_one_line(tmp_path: Path, make: object, complaint: str) -> None:
    root = tmp_path / "root"
    make(root)  # type: ignore[operator]
    with pytest.raises(DataError, match=complaint) as caught:
        load_data(DataSpec(folder=str(root)))
    assert "\n" not in str(caught.value)
