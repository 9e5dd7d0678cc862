"""How pixels become the input of a network: part of what a trained network is, and kept with it in every file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

LAYOUT = "NCHW"
"""Batch, channels, height, width."""
_TEXT = 200
"""Letters of ``origin`` that are kept in a file."""


@dataclass(frozen=True)
class Normalisation:
    """Per channel: input of the network = (pixel / scale − mean) / std."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 255.0
    """What a pixel is divided by first: 255 for whole numbers 0…255, 1 for floats, which are taken as they are."""
    origin: str = ""
    """How it is known, for people."""
    folded: bool = False
    """The exported file does it itself: it takes pixels, float32, not normalised ones."""
    layout: str = LAYOUT

    def same_as(self, other: Normalisation) -> bool:
        """Whether both do the same to a pixel, up to rounding."""
        return self.scale == other.scale and all(
            math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5)
            for a, b in zip((*self.mean, *self.std), (*other.mean, *other.std), strict=True)
        )

    @property
    def trivial(self) -> bool:
        """Whether pixels are taken as they are."""
        return all(m == 0 for m in self.mean) and all(math.isclose(s * self.scale, 1.0, rel_tol=1e-6) for s in self.std)

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """Factor and summand per channel, ``(C,)`` in double precision: input = factor · pixel + summand."""
        mean, std = torch.tensor(self.mean, dtype=torch.float64), torch.tensor(self.std, dtype=torch.float64)
        return 1 / (self.scale * std), -mean / std

    def file_input(self, images: Tensor) -> Tensor:
        """What the exported file takes where the network takes ``images`` ``(N, C, H, W)``: pixels where folded."""
        if not self.folded:
            return images
        factor, summand = (value.to(images.device).view(-1, 1, 1) for value in self.affine)
        return ((images.double() - summand) / factor).float()

    def of_the_file(self) -> Normalisation:
        """What is left to do for who feeds the exported file: nothing where it is folded."""
        if not self.folded:
            return self
        count = len(self.mean)
        return replace(self, mean=(0.0,) * count, std=(1.0 / self.scale,) * count, folded=False)

    def describe(self) -> str:
        """For people: ``(pixel / 255 − 0.286) / 0.353``, a list per channel where they differ."""
        if self.trivial:
            return "pixels as they are"
        pixel = "pixel" if self.scale == 1 else f"pixel / {self.scale:g}"
        mean, std = _listed(self.mean), _listed(self.std)
        return pixel if (mean, std) == ("0", "1") else f"({pixel} − {mean}) / {std}"

    def formula(self) -> str:
        """As NumPy computes it from an array ``pixels`` ``(N, C, H, W)``."""
        if self.trivial:
            return "pixels"
        value = "pixels" if self.scale == 1 else f"pixels / {self.scale:g}"
        moved = f"{value} - {_column(self.mean)}" if any(self.mean) else value
        if all(s == 1 for s in self.std):
            return moved
        return f"{moved} / {_column(self.std)}" if moved == value else f"({moved}) / {_column(self.std)}"

    # --- in files ------------------------------------------------------------------------------------------------

    def metadata(self) -> dict[str, str]:
        """As metadata of an ONNX file: what it takes."""
        left = self.of_the_file()
        numbers = {"mean": left.mean, "std": left.std, "scale": (left.scale,)}
        return {**{key: ",".join(f"{v:.7g}" for v in values) for key, values in numbers.items()}, "layout": self.layout}

    def to_json(self) -> str:
        return json.dumps(asdict(replace(self, origin=self.origin[:_TEXT])))


def from_metadata(found: Mapping[str, str], channels: int) -> Normalisation | None:
    """What ``metadata`` wrote; None where there is none, or it makes no sense."""
    try:
        mean, std = (tuple(float(part) for part in found[key].split(",")) for key in ("mean", "std"))
        return _checked(mean, std, float(found["scale"]), channels)
    except (KeyError, ValueError):
        return None


def from_json(text: str | bytes | bytearray, channels: int) -> Normalisation | None:
    """What ``to_json`` wrote; None where it makes no sense."""
    try:
        found = json.loads(text)
        mean, std = (tuple(float(value) for value in found[key]) for key in ("mean", "std"))
        known = _checked(mean, std, float(found["scale"]), channels)
        if known is None:
            return None
        return replace(known, origin=str(found["origin"])[:_TEXT], folded=found["folded"] is True)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _checked(mean: Sequence[float], std: Sequence[float], scale: float, channels: int) -> Normalisation | None:
    numbers = (*mean, *std, scale)
    if len(mean) != channels or len(std) != channels or not all(map(math.isfinite, numbers)):
        return None
    return Normalisation(tuple(mean), tuple(std), scale) if min(*std, scale) > 0 else None


def _listed(values: Sequence[float]) -> str:
    shown = [f"{value:.4g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else f"[{', '.join(shown)}]"


def _column(values: Sequence[float]) -> str:
    """One number for all channels, or one per channel, in a form that broadcasts over ``(N, C, H, W)``."""
    shown = [f"{value:.6g}" for value in values]
    if len(set(shown)) == 1:
        return shown[0]
    return f"numpy.float32([{', '.join(f'[[{value}]]' for value in shown)}])"
