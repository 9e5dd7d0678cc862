"""How samples of a dataset become a batch ``(inputs, target)``, here or in a worker process."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from compressor.data.split import BatchInputs, Pair, Target
from compressor.errors import CompressorError, DataError
from compressor.graph import nested
from compressor.imported import reason_of

Collate = Callable[[list[Any]], Any]


@dataclass(frozen=True)
class Failed:
    """Stands for a batch that could not be read."""

    reason: str


@dataclass(frozen=True)
class BatchReader:
    """Reads batches of a map-style dataset; ``names`` are the network's inputs, where they are known.

    Whatever the dataset or the collate function raises is a ``DataError`` that says where.
    """

    samples: Any
    collate: Collate
    where: str
    names: tuple[str, ...] = ()

    def read(self, rows: Sequence[int]) -> Pair | Failed:
        """The samples at ``rows`` as one batch."""
        try:
            many = getattr(self.samples, "__getitems__", None)
            return arranged(self.collate(many(rows) if many else [self.samples[row] for row in rows]), self.names)
        except CompressorError as error:
            text = str(error)
            return Failed(text if self.where in text else f"{self.where}: {text}")
        except (Exception, SystemExit) as error:  # the user's code runs in there
            return Failed(f"{self.where}: reading sample {_few(rows)} failed: {reason_of(error)}")


def checked_batch(batch: Pair | Failed) -> Pair:
    """``batch``; raises ``DataError`` where it could not be read."""
    if isinstance(batch, Failed):
        raise DataError(batch.reason)
    return batch


@contextmanager
def repeatable(seed: int) -> Iterator[None]:
    """What a dataset does at random is the same each time, and leaves every other random number as it was."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


# --- from samples to a batch -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stacked:
    """Torch's own way to make a batch; what it cannot stack, such as boxes, stays a list with one entry per sample."""

    listed: bool = False
    """Whether targets are kept as a list."""

    def __call__(self, samples: list[Any]) -> Any:
        plain = [_plain(sample) for sample in samples]
        if not _is_pair(plain[0]):
            return default_collate(plain)
        inputs = default_collate([inputs for inputs, _ in plain])
        targets = [target for _, target in plain]
        if targets[0] is None:
            return inputs, None
        return inputs, targets if self.listed else default_collate(targets)


_USUAL = ("image", "images", "img", "pixel_values", "input", "inputs", "input_values", "x", "audio", "signal")
"""What people call the only input in a dictionary."""


def stacking(samples: Any, places: Sequence[int]) -> Stacked:
    """How these samples are made into batches: some of them are looked at."""
    found = [_plain(samples[place]) for place in places]
    if not all(_is_pair(sample) for sample in found):
        return Stacked()
    targets = [target for _, target in found]
    boxes = any(isinstance(target, Mapping) and "boxes" in target for target in targets)
    shapes = {tuple(tuple(leaf.shape) for leaf in nested.tensors(_tensors(target))) for target in targets}
    return Stacked(listed=boxes or len(shapes) > 1)


def arranged(batch: Any, names: tuple[str, ...] = ()) -> Pair:
    """A batch as a user's collate function or loader gives it, as ``(inputs, target)``.

    A pair is that already; a tensor alone, or a tuple of one, has no target; a dictionary is told apart by the names of
    the network's inputs, or by what an only input is usually called; a flat tuple by their number. Raises ``DataError``
    where that leaves it open.
    """
    inputs, target = _told_apart(batch, names)
    pair = _inputs(inputs, names), nested.map_tensors(_as_learned, _tensors(target))
    _refuse_counts(*pair)
    return pair


def _refuse_counts(inputs: BatchInputs, target: Target) -> None:
    """Raises ``DataError`` where inputs and targets are not those of as many samples."""
    if isinstance(target, int | float) or (isinstance(target, Tensor) and not target.ndim):
        raise DataError(
            f"a batch has the target {target}, one number: samples come one by one; give the loader a batch_size, or "
            "give batches, whose samples lie along the first dimension"
        )
    counts = {nested.samples(part) for part in nested.tensors(inputs)}
    theirs = None if target is None else _count(target)
    if len(counts) > 1 or (theirs is not None and theirs not in counts):
        inputs_of = " and ".join(map(str, sorted(counts)))
        targets_of = "" if target is None else f" and targets of {theirs}"
        raise DataError(
            f"a batch has inputs of {inputs_of}{targets_of} samples; all have them along the first dimension (a list "
            "of images is to be stacked)"
        )


def _count(target: Target) -> int | None:
    try:
        return nested.count(target)
    except ValueError as error:
        raise DataError(f"a batch's targets are {error}") from None


def _told_apart(batch: Any, names: tuple[str, ...]) -> tuple[Any, Target]:
    wanted = len(names)
    match batch:
        case Tensor() | np.ndarray():
            return batch, None
        case Mapping():
            return _from_mapping(batch, names)
        case [alone]:
            return alone, None
        case [one, other] if wanted < 2 or _is_several(one):
            return one, other
        case list() | tuple() if wanted > 1 and len(batch) == wanted:
            return tuple(batch), None
        case list() | tuple() if wanted > 1 and len(batch) == wanted + 1:
            return tuple(batch[:-1]), batch[-1]
        case list() | tuple():
            raise DataError(
                f"samples of {len(batch)} parts leave open which are inputs; give pairs (inputs, target), "
                "where several inputs make a tuple"
            )
    raise DataError(f"a batch is a {type(batch).__name__}; give pairs (inputs, target) of tensors")


def _from_mapping(batch: Mapping[Any, Any], names: tuple[str, ...]) -> tuple[Any, Target]:
    usual = [key for key in batch if key in _USUAL]
    if len(names) < 2 and len(usual) == 1 and not (names and names[0] in batch):
        names = (usual[0],)
    if not names or not all(name in batch for name in names):
        known = f", and the network's inputs are {', '.join(names)}" if names else ""
        raise DataError(
            f"samples are dictionaries of {', '.join(map(str, batch))[:100]}{known}; give pairs (inputs, target), or "
            "call the input by its name"
        )
    rest = {key: value for key, value in batch.items() if key not in names}
    inputs = tuple(batch[name] for name in names)
    target = None if not rest else next(iter(rest.values())) if len(rest) == 1 else rest
    return inputs if len(inputs) > 1 else inputs[0], target


def _inputs(value: Any, names: tuple[str, ...]) -> BatchInputs:
    if isinstance(value, Mapping):
        ordered = names if names and all(name in value for name in names) else tuple(value)
        value = tuple(value[name] for name in ordered)
    parts = tuple(value) if isinstance(value, list | tuple) else (value,)
    tensors = tuple(_as_fed(part) for part in parts)
    return tensors if len(tensors) > 1 else tensors[0]


def _as_fed(value: Any) -> Tensor:
    """An input as a network takes it: bytes as they are, other whole numbers as int64, floating point as float32."""
    tensor = _tensors(value)
    if not isinstance(tensor, Tensor) or not tensor.ndim:
        raise DataError(
            f"an input is a {type(value).__name__}; give tensors with the samples along the first dimension"
        )
    if tensor.dtype.is_floating_point:
        return tensor.to(torch.float32)
    return tensor if tensor.dtype == torch.uint8 else tensor.to(torch.int64)


def _as_learned(tensor: Tensor) -> Tensor:
    if tensor.dtype.is_floating_point:
        return tensor.to(torch.float32)
    return tensor if tensor.dtype == torch.bool else tensor.to(torch.int64)


def _tensors(value: Any) -> Any:
    """Arrays as tensors, wherever they are."""
    match value:
        case np.ndarray() | np.generic():
            return torch.as_tensor(value)
        case Mapping():
            return {key: _tensors(inner) for key, inner in value.items()}
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*map(_tensors, value))
        case tuple() | list():
            return type(value)(map(_tensors, value))
    return value


def _plain(value: Any) -> Any:
    """A sample whose images of Pillow's are tensors ``(C, H, W)``."""
    match value:
        case Image.Image():
            upright = value if value.mode in ("L", "RGB") else value.convert("RGB")
            pixels = np.array(upright)
            return torch.from_numpy(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1).copy())
        case Mapping():
            return {key: _plain(inner) for key, inner in value.items()}
        case tuple() if hasattr(value, "_fields"):
            return type(value)(*map(_plain, value))
        case tuple() | list():
            return type(value)(map(_plain, value))
    return value


def _is_pair(sample: Any) -> bool:
    return isinstance(sample, tuple | list) and len(sample) == 2


def _is_several(value: Any) -> bool:
    return isinstance(value, tuple | list | Mapping)


def _few(rows: Sequence[int]) -> str:
    return str(rows[0]) if len(rows) == 1 else f"{rows[0]} or one of {len(rows) - 1} read with it"
