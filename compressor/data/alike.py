"""Whether two splits of a set hold inputs of one shape."""

from __future__ import annotations

from compressor.data.split import Split
from compressor.errors import DataError


def check_alike(name: str, train: Split, other: Split, kind: str) -> None:
    """Raises ``DataError`` where inputs of another split have not the shape of the training inputs."""
    if other.shapes != train.shapes:
        images = all(len(shape) == 3 for shape in (*train.shapes, *other.shapes))
        raise DataError(
            f"{name}: {kind} images are {_sides(other)}{' (channels × height × width)' if images else ''}, training "
            f"images {_sides(train)}{'; set data.size to bring them to one size' if images else ''}"
        )


def _sides(split: Split) -> str:
    return " and ".join("×".join(map(str, shape)) or "numbers" for shape in split.shapes)
