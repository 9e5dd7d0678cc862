"""Inputs for other people's networks: parts of photographs, lines of text on them, windows of recordings.

Training, validation and test share no photograph and no second of a recording. ``PHOTOS`` is any folder of JPEG files;
the recordings are those that the package ``audioflux`` 0.1.9 ships (MIT; a voice, a guitar, tones, with a metronome).
"""

from __future__ import annotations

import io
import random
import string
import wave
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from torch import Tensor
from torch.nn import functional as F

SHARES = {"train": (0.0, 0.6), "validation": (0.6, 0.8), "test": (0.8, 1.0)}
"""Which part of the photographs, in the order of their names, and of every recording a split has."""
Maker = Callable[[str, int], Tensor]
"""``(split, count)`` → inputs."""


def crops(photos: Path, side: tuple[int, int]) -> Maker:
    """Parts of photographs of ``side`` (height, width), as MTCNN takes them: (pixel − 127.5) / 128."""

    def make(split: str, count: int) -> Tensor:
        found, chance = _photographs(photos, split), random.Random(split)
        return torch.stack([_scaled(_part(chance.choice(found), side, chance), 127.5, 128.0) for _ in range(count)])

    return make


def lines(photos: Path, side: tuple[int, int], turned: bool = False) -> Maker:
    """Words and numbers in several sizes and colours on parts of photographs, as PP-OCR takes them: −1…1.

    ``turned``: every second one upside down.
    """

    def make(split: str, count: int) -> Tensor:
        found, chance = _photographs(photos, split), random.Random(split)
        images = []
        for number in range(count):
            image = _with_text(_part(chance.choice(found), side, chance), chance)
            images.append(_scaled(image.rotate(180) if turned and number % 2 else image, 127.5, 127.5))
        return torch.stack(images)

    return make


def windows(wheel: Path, length: int, rate: int) -> Maker:
    """Windows ``(length, 1)`` of two recordings at a time, mixed, at ``rate`` samples a second, −1…1."""
    sounds = [_resampled(sound, own, rate) for sound, own in _recordings(wheel)]

    def make(split: str, count: int) -> Tensor:
        low, high = SHARES[split]
        chance = random.Random(split)
        parts = [sound[int(low * len(sound)) : int(high * len(sound))] for sound in sounds]

        def window() -> Tensor:
            part = chance.choice(parts)
            whole = part.repeat(length // len(part) + 2)
            start = chance.randrange(len(whole) - length)
            return whole[start : start + length] * chance.uniform(0.3, 1.0)

        return torch.stack(
            [(window() + chance.uniform(0.0, 0.7) * window()).clamp(-1, 1)[:, None] for _ in range(count)]
        )

    return make


def _photographs(folder: Path, split: str) -> Sequence[Image.Image]:
    files = sorted([*folder.glob("*.jpg"), *folder.glob("*.jpeg")])
    if not files:
        raise SystemExit(f"{folder}: no JPEG files")
    low, high = SHARES[split]
    return [Image.open(file).convert("RGB") for file in files[int(low * len(files)) : int(high * len(files))]]


def _part(photo: Image.Image, side: tuple[int, int], chance: random.Random) -> Image.Image:
    """A part of between a sixth and all of the photograph, as large as asked for."""
    height, width = side
    scale = chance.uniform(0.17, 1.0) * min(photo.width / width, photo.height / height)
    wide, high = max(int(width * scale), 4), max(int(height * scale), 4)
    left, top = chance.randint(0, max(photo.width - wide, 0)), chance.randint(0, max(photo.height - high, 0))
    return photo.resize((width, height), Image.Resampling.BILINEAR, (left, top, left + wide, top + high))


def _with_text(image: Image.Image, chance: random.Random) -> Image.Image:
    letters = string.ascii_letters + string.digits + "   .,:-/"
    text = "".join(chance.choice(letters) for _ in range(chance.randint(4, 24)))
    size = chance.randint(image.height // 3, int(image.height * 0.7))
    plain = Image.new("RGB", image.size, tuple(chance.randint(0, 255) for _ in range(3)))
    image = Image.blend(image, plain, chance.uniform(0.4, 1.0))
    ink = tuple(chance.randint(0, 255) for _ in range(3))
    place = (chance.randint(0, 8), chance.randint(0, max(image.height - int(1.3 * size), 0)))
    ImageDraw.Draw(image).text(place, text, ink, ImageFont.load_default(size))
    return image.filter(ImageFilter.GaussianBlur(chance.uniform(0.0, 1.0)))


def _scaled(image: Image.Image, mean: float, scale: float) -> Tensor:
    return torch.from_numpy((np.asarray(image, np.float32).transpose(2, 0, 1) - mean) / scale)


def _recordings(wheel: Path) -> list[tuple[Tensor, int]]:
    found = []
    with zipfile.ZipFile(wheel) as archive:
        for entry in sorted(name for name in archive.namelist() if name.endswith(".wav")):
            with wave.open(io.BytesIO(archive.read(entry))) as sound:
                samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
                mono = samples.reshape(-1, sound.getnchannels()).mean(1) / 32768
                found.append((torch.from_numpy(mono.astype(np.float32)), sound.getframerate()))
    return found


def _resampled(sound: Tensor, own: int, rate: int) -> Tensor:
    count = round(len(sound) * rate / own)
    return F.interpolate(sound[None, None], count, mode="linear", align_corners=False)[0, 0]
