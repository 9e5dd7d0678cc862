"""One image file as pixels: what a viewer shows of it, or one line that says why not.

Turned as its EXIF orientation says; palettes looked up; CMYK as colour; more than 8 bits a channel scaled by what white
is, never clipped. Only the decoders of the promised formats are used, whatever a file is called.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from compressor.data.geometry import Geometry
from compressor.errors import DataError

FORMATS: Final = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
"""As Pillow calls them."""
LARGEST: Final = 89_478_485
"""Pixels of one image; more is taken for a bomb. A quarter of a GiB of colour, as in Pillow."""
_TOO_LARGE: Final = f"its image is too large; at most {LARGEST:,} pixels are read"
_DEEP: Final = ("I", "F")
"""First letters of the modes with more than 8 bits: I, I;16, I;16B, F."""
_GREY: Final = frozenset({"1", "L", "LA", "La"})
_WHITE_16: Final = 65535.0
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientations and what undoes them."""


_AS_IT_IS: Final = Geometry()


@dataclass(frozen=True)
class Format:
    """What every image becomes: 8 bits, ``channels`` 1 or 3, and a geometry.

    ``size`` is the short way to say ``Geometry(size)``.
    """

    size: int
    channels: int
    white: float = 0.0
    """The value of white where an image has more than 8 bits a channel; 0: not known."""
    background: str = ""
    """What lies under transparent pixels: white, black, or ignore for the colours that the file hides."""
    geometry: Geometry = _AS_IT_IS
    inferred: bool = False
    """``channels`` is what the training images are, and not what someone asked for."""


def is_image(path: Path) -> bool:
    """Whether a regular file, whatever its name, begins like an image of a promised format."""
    try:
        with _opened(path):
            return True
    except DataError:
        return False


def header(path: Path) -> tuple[bool, bool]:
    """``(grey, deep)``: without colour; with more than 8 bits a channel. Nothing is decoded."""
    with _opened(path) as image:
        return _is_grey(image), image.mode.startswith(_DEEP)


def largest_value(path: Path) -> tuple[float, bool]:
    """The largest value of an image of more than 8 bits a channel, and whether its values are floating point."""
    with _opened(path) as image:
        values = _values(path, image)
    return float(values.max()), values.dtype.kind == "f"


def white_of(largest: float, floating: bool, example: Path) -> float:
    """What white is in deep images whose largest value is ``largest``, where that leaves no doubt."""
    if floating and 0.5 < largest <= 1:
        return 1.0
    if not floating and _WHITE_16 / 2 < largest <= _WHITE_16:
        return _WHITE_16
    kind = "floating-point values" if floating else "more than 8 bits"
    nearest = 1.0 if floating and largest <= 1 else float(2 ** max(int(np.ceil(np.log2(max(largest, 1) + 1))), 8) - 1)
    raise DataError(
        f"{example} holds {kind}, {largest:g} at most in all training images, which leaves open what white is; "
        f"say it: data.white = {nearest:g}" + ("" if floating or nearest == _WHITE_16 else f" or {_WHITE_16:g}")
    )


def read_image(path: Path, form: Format) -> NDArray[np.uint8]:
    """Pixels ``(H, W, C)``. Raises ``DataError`` that names the file."""
    return read_sized(path, form)[0]


def read_values(path: Path) -> NDArray[Any]:
    """The values of a map ``(H, W)`` as they are stored, of a palette image its indices; ``(H, W, C)`` where it is in
    colour. Raises ``DataError`` that names the file.
    """
    with _opened(path) as image:
        _refuse_frames(path, image)
        values = _values(path, image)
    if values.ndim == 3 and (values[..., :1] == values[..., :3]).all() and values.shape[2] == 3:
        values = values[..., 0]
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def read_sized(path: Path, form: Format) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Pixels ``(H, W, C)``, and the width and height of the upright image in its file. Raises ``DataError`` that names
    the file.
    """
    try:
        with _opened(path) as image:
            _refuse_frames(path, image)
            stored = image.size
            if form.size:
                image.draft("L" if form.channels == 1 else "RGB", (2 * form.size, 2 * form.size))
            drafted = image.size
            plain = _plain(path, image, form)
        size = stored if plain.size == drafted else stored[::-1]
        plain = (form.geometry or Geometry(form.size)).of_image(plain)
    except DataError as error:
        raise error if str(path) in str(error) else DataError(f"{path}: {error}") from None
    except Exception as error:  # a decoder that meets a damaged file: anything may come out
        raise _unreadable(path, error) from None
    return np.array(plain, dtype=np.uint8).reshape(plain.height, plain.width, form.channels), size


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image of a file, its header read. Raises ``DataError`` where it is none, or too large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(path, formats=FORMATS)
        except UnidentifiedImageError:
            raise _unreadable(path, f"not {', '.join(FORMATS[:-1])} or {FORMATS[-1]}") from None
        except Image.DecompressionBombError:
            raise DataError(f"{path}: {_TOO_LARGE}") from None
        except Exception as error:
            raise _unreadable(path, error) from None
        with image:
            if image.width * image.height > LARGEST:
                raise DataError(f"{path}: {_TOO_LARGE}")
            yield image


def _refuse_frames(path: Path, image: Image.Image) -> None:
    """A camera's second view (MPO) is no second image; the frames of an animation or the pages of a TIFF are."""
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise DataError(f"{path} holds {frames} images, an animation or pages; save the one that is meant by itself")


def _plain(path: Path, image: Image.Image, form: Format) -> Image.Image:
    """The image upright, in mode L or RGB."""
    mode = "L" if form.channels == 1 else "RGB"
    if form.channels == 1 and form.inferred and not _is_grey(image):
        raise DataError(f"{path} is in colour and the training images are grey; set data.channels to 1 or 3")
    if image.mode.startswith(_DEEP):
        return _upright(Image.fromarray(_scaled(path, image, form.white)), image).convert(mode)
    if image.has_transparency_data:
        return _upright(_opaque(path, image.convert("RGBA"), form.background), image).convert(mode)
    image.load()
    return _upright(image, image).convert(mode)


def _upright(plain: Image.Image, original: Image.Image) -> Image.Image:
    """Turned as the EXIF data of the original say; as stored where these are damaged."""
    try:
        turned = _TURNS.get(original.getexif().get(0x0112, 1))
    except Exception:  # EXIF data are a format of their own, and viewers that cannot read them show what is stored
        return plain
    return plain if turned is None else plain.transpose(turned)


def _scaled(path: Path, image: Image.Image, white: float) -> NDArray[np.uint8]:
    values = _values(path, image)
    low, high = float(values.min()), float(values.max())
    if not white:
        raise DataError(f"{path} has more than 8 bits a channel; say what white is with data.white")
    if low < 0 or high > white:
        raise DataError(
            f"{path} holds values from {low:g} to {high:g}; they must lie between 0 and data.white = {white:g}"
        )
    pixels: NDArray[np.uint8] = np.rint(values * (255 / white)).astype(np.uint8)
    return pixels


def _values(path: Path, image: Image.Image) -> NDArray[Any]:
    try:
        values = np.asarray(image)
    except Exception as error:
        raise _unreadable(path, error) from None
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DataError(f"{path} holds values that are not finite")
    return values


def _opaque(path: Path, image: Image.Image, background: str) -> Image.Image:
    alpha = image.getchannel("A").getextrema()
    if alpha == (255, 255) or background == "ignore":
        return image
    if not background:
        raise DataError(
            f'{path} has transparent pixels; say what lies under them with data.background = "white" or "black", '
            'or "ignore" for the colours that the file hides'
        )
    under = Image.new("RGBA", image.size, background)
    return Image.alpha_composite(under, image)


def _is_grey(image: Image.Image) -> bool:
    if image.mode in _GREY or image.mode.startswith(_DEEP):
        return True
    if image.mode not in ("P", "PA"):
        return False
    colours = np.array(image.getpalette("RGB") or [0, 0, 0], dtype=np.uint8).reshape(-1, 3)
    return bool((colours == colours[:, :1]).all())


def _unreadable(path: Path, reason: object) -> DataError:
    text = " ".join(str(reason).replace(f"{str(path)!r}", "it").split()) or type(reason).__name__
    return DataError(f"{path} is no readable image ({text[:200]}); mend or remove it")
