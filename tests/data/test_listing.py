"""What lies about in folders is no class and no sample; what might be one is never left out in silence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from samples import write_classes, write_image

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.errors import DataError

CLASSES = ("cat", "dog")


def loaded(root: Path, **fields: object) -> Data:
    return load_data(DataSpec(folder=str(root), **fields))  # type: ignore[arg-type]


def size(data: Data) -> int:
    return len(data.train) + len(data.validation) + len(data.open_test())


def refused(root: Path, **fields: object) -> str:
    with pytest.raises(DataError) as caught:
        loaded(root, **fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_classes(tmp_path / "set", CLASSES, 10)
    return tmp_path / "set"


LITTER: dict[str, Callable[[Path], object]] = {
    "notebook": lambda root: write_image(root / "cat" / ".ipynb_checkpoints" / "000-checkpoint.png", (20, 0, 0)),
    "notebook in the root": lambda root: write_image(root / ".ipynb_checkpoints" / "x.png", 3),
    "zip of a mac": lambda root: (root / "__MACOSX" / "cat").mkdir(parents=True),
    "mac": lambda root: (root / "cat" / "._000.png").write_bytes(b"x"),
    "finder": lambda root: (root / "dog" / ".DS_Store").write_bytes(b"x"),
    "explorer": lambda root: [(root / "cat" / "Thumbs.db").write_bytes(b"x"), (root / "desktop.ini").write_text("x")],
    "station": lambda root: write_image(root / "cat" / "@eaDir" / "000.png", 3),
    "bin": lambda root: write_image(root / "$RECYCLE.BIN" / "000.png", 3),
    "texts": lambda root: [(root / "README.md").write_text("x"), (root / "cat" / "labels.csv").write_text("x")],
    "loop": lambda root: (root / "cat" / "loop").symlink_to(root),
}  # fmt: skip


@pytest.mark.parametrize("what", LITTER)
def test_litter_is_no_class_and_no_sample(root: Path, what: str) -> None:
    LITTER[what](root)
    data = loaded(root)
    assert data.classes == CLASSES
    assert size(data) == 20
    assert data.notes == ()


@pytest.mark.parametrize("suffix", ["", ".jfif", ".jpe", ".PNG", ".img", ".png_large"])
def test_an_image_is_one_whatever_it_is_called(root: Path, suffix: str) -> None:
    for path in (root / "dog").iterdir():
        path.rename(path.with_suffix(suffix))
    assert size(loaded(root)) == 20


def test_images_below_class_folders_and_behind_links_are_read(root: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "more", ("far",), 3)
    (root / "cat" / "linked").symlink_to(tmp_path / "more" / "far")
    write_classes(root / "dog", ("deep",), 2)
    assert size(loaded(root)) == 25


def test_files_that_are_no_samples_are_mentioned(root: Path) -> None:
    write_image(root / "cover.png", 3)
    (root / "cat" / "model.bin").write_bytes(b"x" * 20)
    assert loaded(root).notes == (f"2 files that are no samples left out, {root}/cover.png first",)


MIGHT_BE: dict[str, tuple[Callable[[Path], object], str]] = {
    "another format": (lambda root: (root / "cat" / "a.heic").write_bytes(b"x"), "a.heic: .heic is not read"),
    "a pipe": (lambda root: os.mkfifo(root / "cat" / "a.png"), "no regular file"),
    "a pipe by any name": (lambda root: os.mkfifo(root / "cat" / "a"), "no regular file"),
    "an endless device": (lambda root: (root / "cat" / "a.png").symlink_to("/dev/zero"), "no regular file"),
    "a link to nothing": (lambda root: (root / "cat" / "a.png").symlink_to("nowhere"), "cannot be read"),
    "a link upwards": (lambda root: (root / "cat" / "up").symlink_to(root.parent), "a folder around the images"),
    "no content": (lambda root: (root / "cat" / "a.png").write_bytes(b""), "a.png is no readable image"),
    "an empty class": (lambda root: (root / "bird").mkdir(), "bird holds no images"),
}


@pytest.mark.parametrize("what", MIGHT_BE)
def test_what_might_be_a_sample_or_a_class_is_named(root: Path, what: str) -> None:
    make, complaint = MIGHT_BE[what]
    make(root)
    assert complaint in refused(root)


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Train", "Valid", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "VAL", "TEST"),
    ],
)
def test_splits_by_their_usual_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    for count, name in zip((6, 3, 2), names, strict=True):
        write_classes(tmp_path / name, CLASSES, count)
    data = loaded(tmp_path)
    assert (len(data.train), len(data.validation), len(data.open_test())) == (12, 6, 4)
    assert data.classes == CLASSES


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_classes(tmp_path, ("car", "test", "train"), 10)
    assert loaded(tmp_path).classes == ("car", "test", "train")


@pytest.mark.parametrize(
    ("folders", "complaint"),
    [
        (("train/cat", "train/dog", "valid/cat", "Validation/cat"), "are both validation images"),
        (("val/cat", "test/dog"), "no train/"),
        (("train/cat", "train/dog", "test"), "sort its images into class folders"),
        (("train/cat", "train/dog", "bird"), "bird holds images beside train/: it is neither"),
        (("train/cat", "train/dog", "test/bird"), "class 'bird' is not among"),
        (("train/\u00e9", "train/e\u0301"), "names that look the same"),
    ],
)
def test_folders_that_might_mean_two_things_are_refused(
    tmp_path: Path, folders: tuple[str, ...], complaint: str
) -> None:
    for folder in folders:
        for index in range(3):
            write_image(tmp_path / folder / f"{index}.png", index)
    assert complaint in refused(tmp_path)


def test_the_same_letters_may_be_stored_in_two_ways(tmp_path: Path) -> None:
    for name in ("train/\u00e9", "train/x", "test/e\u0301"):
        for index in range(4):
            write_image(tmp_path / name / f"{index}.png", index)
    assert loaded(tmp_path).open_test().targets().tolist() == [1, 1, 1, 1]


def test_the_order_of_the_classes_can_be_given(root: Path) -> None:
    data = loaded(root, classes=("dog", "cat"))
    assert data.classes == ("dog", "cat")
    assert data.train.images[data.train.targets() == 0][:, 0].unique().tolist() == [40]
    assert "no folder 'wolf'" in refused(root, classes=("dog", "wolf"))
    assert "missing: cat" in refused(root, classes=("dog",))


def test_colour_among_the_test_images_of_a_grey_set_is_no_grey(tmp_path: Path) -> None:
    for split, colour in (("train", 7), ("test", (200, 10, 10))):
        for name in CLASSES:
            for index in range(4):
                write_image(tmp_path / split / name / f"{index}.png", colour)
    assert "in colour and the training images are grey; set data.channels" in refused(tmp_path)
    assert loaded(tmp_path, channels=3).input_shape == (3, 8, 8)


def test_one_white_for_all_splits(tmp_path: Path) -> None:
    """Test images are scaled by the white of the training images, though none of them is bright."""
    import numpy as np
    from PIL import Image

    for split, most in (("train", 60000), ("test", 20000)):
        for name in CLASSES:
            (tmp_path / split / name).mkdir(parents=True)
            for index in range(4):
                Image.fromarray(np.full((4, 4), most - index, np.uint16)).save(tmp_path / split / name / f"{index}.png")
    for _ in range(2):  # decoded, and from the cache
        data = loaded(tmp_path)
        assert int(data.train.images.max()) == round(60000 / 257)
        assert int(data.open_test().images.max()) == round(20000 / 257)


def test_only_what_is_used_is_decoded(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from compressor.data import decoded as reader

    decoded: list[Path] = []
    original = reader.read_sized
    monkeypatch.setattr(reader, "read_sized", lambda path, form: decoded.append(path) or original(path, form))
    data = loaded(root, limit=4, validation=2, test=2)
    assert size(data) == 8
    assert len(decoded) == 8
    again = loaded(root, limit=4, validation=2, test=2)
    assert len(decoded) == 8
    assert torch.equal(again.train.images, data.train.images)
