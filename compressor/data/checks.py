"""What is checked of every set before anything is built on it, in all three splits.

The test split is looked at for damage, classes and scale, so that a long search does not end in an error; no network
sees it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from compressor.data.alike import check_alike
from compressor.data.dataset import Data
from compressor.data.held import HeldSplit
from compressor.data.labels import LARGEST
from compressor.data.scale import unit_scale
from compressor.data.split import Split
from compressor.errors import DataError
from compressor.graph import nested
from compressor.graph.nested import value_in_words

_SAMPLE: Final = 512
"""Images of a split looked at to learn its scale."""
_MOST_LOOKED_AT: Final = 1 << 30
"""Bytes of a split up to which every value is looked at."""
_RATIO: Final = 8.0
"""Spreads of two splits that differ by more than this factor are of two scales: 8 and 12 bits are a factor of 16 apart,
0…1 and 0…255 one of 255. Splits of one set that were photographed differently stay within 3."""
_RATIO_OF_FEW: Final = 64.0
_FEW: Final = 16
"""Fewer images than these may well be darker or paler than others."""
_NEGATIVE: Final = 0.02
"""Share of negative values from which on a split is taken for centred."""


@dataclass(frozen=True)
class _Scale:
    mean: float
    spread: float
    negative: float
    """Share of values below zero."""
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:.3g}…{self.high:.3g} (mean {self.mean:.3g}, deviation {self.spread:.3g})"


def checked_data(data: Data, *, named: bool, separate: Collection[str]) -> Data:
    """The same set with notes on what is odd about it; raises ``DataError`` where its splits do not go together.

    ``named``: someone gave the names of the classes, so that there are no others. ``separate``: the splits that may be
    on a scale of their own.
    """
    test = data.test()
    splits = {"training": data.train, "validation": data.validation, "test": test}
    for name, split in splits.items():
        if len(split) == 0:
            raise DataError(f"{data.name}: the {name} split has no samples")
        check_finite(data.name, split, name)
    for name, split in (("validation", data.validation), ("test", test)):
        check_alike(data.name, data.train, split, name)
        check_targets(data.name, data.train, split, name)
        if name in separate:
            check_scale(data.name, data.train, split, name)
    labels = {name: found for name, split in splits.items() if (found := class_indices_of(split)) is not None}
    notes: tuple[str, ...] = ()
    if data.classes and len(labels) == len(splits):
        if not named and len(data.classes) <= int(labels["test"].max()):
            data = replace(data, classes=numbered(*labels.values()))
        check_classes(data.name, data.classes, labels)
        notes = unseen_classes(data.classes, labels)
    return replace(data, notes=(*data.notes, *notes, *repeated(splits)))


def check_finite(name: str, split: Split, kind: str) -> None:
    """Raises ``DataError`` where an input is no number: no network answers such a sample, and no training survives it.

    Looks at all samples where they are held and are not many, else at the first ones.
    """
    if not any(dtype.is_floating_point for dtype in split.dtypes):
        return
    start = 0
    for inputs, _ in (split if split.held and split.nbytes <= _MOST_LOOKED_AT else split.first(_SAMPLE)).batches(256):
        for part in nested.tensors(inputs):
            if part.is_floating_point() and not bool(part.isfinite().all()):
                wrong = int((~part.isfinite().reshape(len(part), -1).all(1)).nonzero()[0])
                raise DataError(
                    f"{name}: {kind} sample {start + wrong} has an input that is no finite number (nan or inf)"
                )
        start += nested.samples(inputs)


def class_indices_of(split: Split) -> Tensor | None:
    """The targets of a split that is held, where they are class indices; None else."""
    if not split.held:
        return None
    target = split.targets()
    return target if isinstance(target, Tensor) and target.ndim == 1 and target.dtype == torch.int64 else None


def numbered(*labels: Tensor | None) -> tuple[str, ...]:
    """Names for class indices that nobody named; none where there are no class indices."""
    known = [part for part in labels if part is not None and len(part)]
    return tuple(str(index) for index in range(1 + max(int(part.max()) for part in known))) if known else ()


def check_targets(name: str, train: Split, other: Split, kind: str) -> None:
    """Raises ``DataError`` where the targets of another split are of another form."""
    if not (train.held and other.held):
        return
    one, two = (split.targets(torch.zeros(1, dtype=torch.int64)) for split in (train, other))
    forms = [str(nested.map_tensors(lambda part: (part.dtype, *part.shape[1:]), target)) for target in (one, two)]
    if not isinstance(one, list) and forms[0] != forms[1]:
        raise DataError(
            f"{name}: {kind} targets are {value_in_words(two)} of one sample, training targets {value_in_words(one)}"
        )


def check_classes(name: str, classes: tuple[str, ...], splits: Mapping[str, Tensor]) -> None:
    """Raises ``DataError`` where a split has labels without a class."""
    for split, labels in splits.items():
        if len(labels) == 0:
            raise DataError(f"{name}: the {split} split has no samples")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= min(len(classes), LARGEST):
            wrong = low if low < 0 else high
            raise DataError(f"{name}: {split} label {wrong} is no class; there are {len(classes)}, counted from 0")


def unseen_classes(classes: tuple[str, ...], splits: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Notes on classes that occur in another split and not in training."""
    known = set(torch.unique(splits["training"]).tolist())
    notes = []
    for split, labels in splits.items():
        for label in torch.unique(labels).tolist():
            if label not in known:
                count = int((labels == label).sum())
                notes.append(f"class {classes[label]!r} has {count} {split} and no training samples")
    return tuple(notes[:3]) + ((f"and {len(notes) - 3} more classes like that",) if len(notes) > 3 else ())


def check_scale(name: str, train: Split, other: Split, kind: str) -> None:
    """Raises ``DataError`` where another split's pixels are on another scale than those of the training images."""
    if torch.int64 in (train.dtype, other.dtype) or not train.shape:
        return
    one, two = _scale_of(train), _scale_of(other)
    most = _RATIO if min(len(train), len(other)) >= _FEW else _RATIO_OF_FEW
    apart = min(one.spread, two.spread) > 0 and not 1 / most < two.spread / one.spread < most
    centred = (one.negative > _NEGATIVE and two.negative == 0) or (two.negative > _NEGATIVE and one.negative == 0)
    if apart or centred:
        raise DataError(
            f"{name}: {kind} images are on another scale than training images: {two} against {one}"
            f"{' once bytes are divided by 255' if torch.uint8 in (train.dtype, other.dtype) else ''}; "
            "bring both to one scale"
        )


def _scale_of(split: Split) -> _Scale:
    looked_at = split.first(_SAMPLE)
    if split.indexed:
        looked_at = split.take(torch.linspace(0, len(split) - 1, min(len(split), _SAMPLE)).long())
    count, total, squares, negative, low, high = 0, 0.0, 0.0, 0, float("inf"), float("-inf")
    for inputs, _ in looked_at.batches(32):
        values = unit_scale(next(nested.tensors(inputs))).double()
        count += values.numel()
        total += float(values.sum())
        squares += float(values.square().sum())
        negative += int((values < 0).sum())
        low, high = min(low, float(values.min())), max(high, float(values.max()))
    mean = total / count
    return _Scale(mean, max(squares / count - mean * mean, 0.0) ** 0.5, negative / count, low, high)


def repeated(splits: Mapping[str, Split]) -> tuple[str, ...]:
    """Notes on samples that occur, byte for byte, in two splits, where all lie in memory or in mapped files."""
    notes = []
    held = {name: split for name, split in splits.items() if isinstance(split, HeldSplit) and split.shape}
    names = list(held)
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            shared = _shared(held[one], held[two])
            if shared:
                verb = "are" if shared > 1 else "is"
                notes.append(f"{shared} of {len(held[two])} {two} images {verb} among the {one} images too")
    return tuple(notes)


def _shared(one: HeldSplit, two: HeldSplit) -> int:
    """How many samples of ``two`` occur in ``one``: those with an equal middle are compared whole."""
    if one.dtypes != two.dtypes:
        return 0
    middles = _middles(one), _middles(two)
    alike = set(middles[0]) & set(middles[1])
    candidates = [[i for i, middle in enumerate(part) if middle in alike] for part in middles]
    known = {_digest(one, index) for index in candidates[0]}
    return sum(_digest(two, index) in known for index in candidates[1])


def _middles(split: HeldSplit) -> list[bytes]:
    """Some bytes from the middle of every sample of the first input: of an image's middle row, in its first channel."""
    found = []
    for index in range(len(split)) if split.rows is None else split.rows.tolist():
        sample = split.store[index]
        while sample.ndim > 2:
            sample = sample[0]
        line = sample[len(sample) // 2] if sample.ndim > 1 else sample
        found.append(line[:64].numpy().tobytes())
        if split.touched is not None:
            split.touched(64, 1)
    return found


def _digest(split: HeldSplit, index: int) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in nested.tensors(split.read(torch.tensor([index]))):
        digest.update(part.contiguous().numpy().tobytes())
    return digest.digest()
