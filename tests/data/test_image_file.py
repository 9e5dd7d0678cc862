"""An image is what a viewer shows of it, or its file is named."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from compressor.data.image_file import LARGEST, Format, is_image, read_image, white_of
from compressor.errors import DataError

GREY, COLOUR = Format(0, 1), Format(0, 3)
RAMP = np.linspace(0, 1, 64).reshape(8, 8)


def saved(path: Path, pixels: NDArray[np.generic] | Image.Image, **options: object) -> Path:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


@pytest.mark.parametrize(
    ("name", "values", "white"),
    [
        ("a.png", (RAMP * 65535).astype(np.uint16), 65535),
        ("a.tif", (RAMP * 65535).astype(np.uint16), 65535),
        ("a.png", (RAMP * 4095).astype(np.uint16), 4095),
        ("a.tif", (RAMP * 60000).astype(np.int32), 60000),
        ("a.tif", RAMP.astype(np.float32), 1.0),
        ("a.tif", (RAMP * 255).astype(np.float32), 255.0),
    ],
)
def test_more_than_8_bits_are_scaled_by_what_white_is(
    tmp_path: Path, name: str, values: NDArray[np.generic], white: float
) -> None:
    path = saved(tmp_path / name, values)
    expected = np.rint(RAMP * 255)
    assert np.abs(read_image(path, Format(0, 1, white=white))[..., 0] - expected).max() <= 1
    assert np.abs(read_image(path, Format(0, 3, white=white))[..., 2] - expected).max() <= 1
    with pytest.raises(DataError, match=r"a\.(png|tif) .*data\.white"):
        read_image(path, GREY)
    with pytest.raises(DataError, match=r"they must lie between 0 and data\.white"):
        read_image(path, Format(0, 1, white=white / 2))


@pytest.mark.parametrize(
    ("largest", "floating", "white"),
    [(60000, False, 65535), (65535, False, 65535), (1.0, True, 1), (0.8, True, 1)],
)
def test_white_is_found_where_it_is_plain(largest: float, floating: bool, white: float) -> None:
    assert white_of(largest, floating, Path("a.tif")) == white


@pytest.mark.parametrize(
    ("largest", "floating", "advice"),
    [(3999, False, "4095 or 65535"), (900, False, "1023 or 65535"), (70000, False, "131071"), (0.1, True, "= 1"),
     (254.0, True, "255")],
)  # fmt: skip
def test_white_is_asked_for_where_it_is_not(largest: float, floating: bool, advice: str) -> None:
    with pytest.raises(DataError, match=rf"data\.white = .*{advice}|data\.white {advice}"):
        white_of(largest, floating, Path("a.tif"))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
def test_exif_turns_an_image_as_viewers_do(tmp_path: Path, orientation: int, kind: str) -> None:
    """The stored image of each orientation, turned back, is one and the same: dark but for its upper left."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255
    undone: dict[int, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
        8: lambda a: np.rot90(a, -1),
    }
    stored = undone.get(orientation, lambda a: a)(upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / f"a.{kind}", np.ascontiguousarray(stored), exif=exif)
    found = read_image(path, COLOUR).astype(int)
    assert found.shape == (16, 32, 3)
    assert np.abs(found - upright).mean() < 12


def test_damaged_exif_leaves_the_image_as_stored(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", np.full((8, 8, 3), 9, np.uint8), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_image(path, COLOUR).shape == (8, 8, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
def test_transparent_pixels_need_a_background(tmp_path: Path, mode: str) -> None:
    rgba = Image.new("RGBA", (8, 8), (90, 90, 90, 255))
    rgba.paste((90, 90, 90, 0), (0, 0, 8, 4))
    if mode in ("RGBA", "LA", "PA"):
        path = saved(tmp_path / ("a.tif" if mode == "PA" else "a.png"), rgba.convert("LA" if mode == "LA" else "RGBA"))
    else:  # one colour of a palette, or one value, stands for "nothing"
        plain = Image.new(mode, (8, 8), 1 if mode == "P" else 90 if mode == "L" else (90, 90, 90))
        if mode == "P":
            plain.putpalette([0, 0, 0, 90, 90, 90])
        path = saved(tmp_path / "a.png", plain, transparency=1 if mode == "P" else 90 if mode == "L" else (90, 90, 90))
    with pytest.raises(DataError, match=r"transparent pixels; .* data\.background"):
        read_image(path, COLOUR)
    tops = [
        int(read_image(path, Format(0, 3, background=background))[0, 0, 0])
        for background in ("white", "black", "ignore")
    ]
    assert tops == [255, 0, 90]


def test_an_opaque_alpha_channel_changes_nothing(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.new("RGBA", (4, 4), (1, 2, 3, 255)))
    assert read_image(path, COLOUR)[0, 0].tolist() == [1, 2, 3]


def test_palettes_and_cmyk_are_looked_up(tmp_path: Path) -> None:
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 200, 100, 50])
    assert read_image(saved(tmp_path / "a.png", palette), COLOUR)[0, 0].tolist() == [200, 100, 50]
    assert read_image(saved(tmp_path / "a.gif", palette), COLOUR)[0, 0].tolist() == [200, 100, 50]
    red = read_image(saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0))), COLOUR)[0, 0].tolist()
    assert red[0] > 200
    assert max(red[1:]) < 60


def test_frames_are_refused_and_the_file_named(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (0, 90, 180)]
    for name in ("a.gif", "a.png", "a.webp", "a.tif"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(DataError, match=rf"{name} holds 3 images"):
            read_image(tmp_path / name, COLOUR)


def png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "no readable image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", "not PNG, JPEG"),
        (png(8, 8, np.random.default_rng(0).bytes(72))[:60], "no readable image"),
        (png(100_000, 100_000, bytes(72)), f"at most {LARGEST:,} pixels are read"),
        (png(8, 8, b"\0" * 10), "no readable image"),
    ],
    ids=["empty", "postscript", "cut", "bomb", "too little"],
)
def test_what_is_no_image_is_named_in_one_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint) as caught:
        read_image(path, COLOUR)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_images_are_known_by_what_they_hold(tmp_path: Path) -> None:
    assert is_image(saved(tmp_path / "a.jfif", np.zeros((4, 4), np.uint8), format="JPEG"))
    assert not is_image(Path(__file__))
