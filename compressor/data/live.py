"""Objects of a user's own as splits: a ``Dataset``, a ``DataLoader``, an iterable of batches, arrays.

They are wrapped, never copied. A loader that goes through a map-style dataset in order, or in random order, is taken
apart: the toolkit draws from its dataset, with its collate function and its workers. Every other loader is gone through
as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
)

from compressor.data.arrays import as_split
from compressor.data.held import HeldSplit
from compressor.data.labels import Targets
from compressor.data.passes import PassSplit
from compressor.data.reading import BatchReader, Collate, repeatable, stacking
from compressor.data.split import Split
from compressor.data.streamed import StreamedSplit
from compressor.errors import CompressorError, DataError
from compressor.imported import reason_of

_LOOKED_AT = 16
"""Samples that are looked at to see how targets are stacked."""


def as_live(
    value: Any,
    where: str,
    *,
    names: tuple[str, ...] = (),
    workers: int = 0,
    collate: Collate | None = None,
    ranks: tuple[int, ...] = (),
    targets: Targets = "auto",
) -> Split:
    """``value`` as a split. ``names``: the network's inputs, where they are known. ``where`` begins every message.

    Raises ``DataError`` for what is none of the kinds.
    """
    match value:
        case Split():
            return value
        case DataLoader():
            return _of_loader(value, where, names)
        case IterableDataset():
            return _of_iterable(value, where, names, workers, collate)
        case TensorDataset() if collate is None and (held := _of_tensors(value, names)) is not None:
            return held
        case tuple() if len(value) == 2 and all(hasattr(part, "shape") for part in value):
            return as_split(value[0], value[1], where, ranks=ranks, kind=targets)
        case Tensor():
            return as_split(value, None, where, ranks=ranks)
    if is_map_style(value):
        return _of_dataset(value, where, names, workers, collate)
    if isinstance(value, Iterator):
        raise DataError(
            f"{where}: a {type(value).__name__} can be gone through once only; give a Dataset, a DataLoader, or a "
            "function that makes an iterator"
        )
    if callable(value) and not isinstance(value, type):
        return PassSplit(lambda size: _made(value(), where), where, names=names)
    if isinstance(value, Iterable) and not isinstance(value, Mapping | str | bytes):
        return PassSplit(lambda size: value, where, names=names, count=None)
    raise DataError(f"{where}: {type(value).__name__} is no Dataset, DataLoader or iterable of batches")


def is_live(value: Any) -> bool:
    """Whether ``value`` gives samples or batches, rather than being made of arrays."""
    return isinstance(value, (DataLoader, IterableDataset, TensorDataset, Split, Iterator)) or is_map_style(value)


def is_map_style(value: Any) -> bool:
    """Whether samples can be had by ``value[index]``, counted by ``len``."""
    plain = isinstance(value, list | tuple | Mapping | str | bytes | Tensor | type) or hasattr(value, "__array__")
    return not plain and hasattr(value, "__getitem__") and hasattr(value, "__len__")


def strata_of(value: Any) -> Tensor | None:
    """Class indices ``(N,)`` that a dataset states as ``targets``, as torchvision's do; None where it states none."""
    if isinstance(value, DataLoader):
        return strata_of(value.dataset)
    if isinstance(value, Subset):
        whole = strata_of(value.dataset)
        return None if whole is None else whole[torch.as_tensor(value.indices)]
    stated = getattr(value, "targets", None)
    try:
        found = torch.as_tensor(stated) if stated is not None and not callable(stated) else None
        count = len(value)
    except Exception:  # whatever else a dataset calls its targets
        return None
    if found is None or found.ndim != 1 or len(found) != count or found.dtype.is_floating_point:
        return None
    return found.to(torch.int64)


def classes_of(value: Any) -> tuple[str, ...]:
    """The names of the classes that a dataset states as ``classes``, as torchvision's do."""
    inner = value.dataset if isinstance(value, DataLoader | Subset) else value
    if inner is not value:
        return classes_of(inner)
    stated: Any = getattr(value, "classes", None)
    if not isinstance(stated, list | tuple) or strata_of(value) is None:
        return ()
    return tuple(stated) if all(isinstance(name, str) for name in stated) else ()


def shared_samples(one: Any, other: Any) -> int:
    """How many samples two datasets have in common, as far as that can be known: parts of the same dataset."""
    (base, own), (other_base, others) = _places(one), _places(other)
    return len(own & others) if base is other_base else 0


# --- kinds -------------------------------------------------------------------------------------------------------


def _of_dataset(
    dataset: Any, where: str, names: tuple[str, ...], workers: int, collate: Collate | None, **options: Any
) -> StreamedSplit:
    if not len(dataset):
        raise DataError(f"{where}: no samples")
    places = torch.linspace(0, len(dataset) - 1, min(_LOOKED_AT, len(dataset))).long().tolist()
    try:
        with repeatable(0):
            collate = collate or stacking(dataset, places)
    except CompressorError:
        raise
    except Exception as error:  # the user's code runs in there
        raise DataError(f"{where}: reading a sample failed: {reason_of(error)}") from error
    return StreamedSplit(BatchReader(dataset, collate, where, names), workers=workers, options=options)


def _of_loader(loader: DataLoader[Any], where: str, names: tuple[str, ...]) -> Split:
    if not _draws_plainly(loader):
        return PassSplit(lambda size: loader, where, names=names, count=_count(loader))
    collate = None if loader.collate_fn is default_collate else loader.collate_fn
    if isinstance(loader.dataset, TensorDataset) and collate is None:
        return as_live(loader.dataset, where, names=names)
    given = {"worker_init_fn": loader.worker_init_fn, "timeout": loader.timeout}
    options = given if loader.num_workers else {}
    return _of_dataset(loader.dataset, where, names, loader.num_workers, collate, **options)


def _draws_plainly(loader: DataLoader[Any]) -> bool:
    """Whether a loader takes every sample of a map-style dataset once, in order or at random."""
    sampler: Any = loader.sampler
    dataset: Any = loader.dataset
    if type(loader) is not DataLoader or type(loader.batch_sampler) is not BatchSampler or not is_map_style(dataset):
        return False
    if type(sampler) is SequentialSampler:
        return True
    return type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(dataset)


def _count(loader: DataLoader[Any]) -> int | None:
    """Samples of one pass, where they can be told without one."""
    if isinstance(loader.dataset, IterableDataset) or type(loader.batch_sampler) is not BatchSampler:
        return None
    try:
        count = len(loader.sampler)  # type: ignore[arg-type]
        return len(loader) * (loader.batch_size or 1) if loader.drop_last else count
    except TypeError:
        return None


def _of_iterable(
    dataset: IterableDataset[Any], where: str, names: tuple[str, ...], workers: int, collate: Collate | None
) -> PassSplit:
    """With one worker at most: several would each read everything."""

    def start(size: int) -> DataLoader[Any]:
        return DataLoader(dataset, size, collate_fn=collate, num_workers=min(workers, 1))

    return PassSplit(start, where, names=names)


def _of_tensors(dataset: TensorDataset, names: tuple[str, ...]) -> HeldSplit | None:
    """The tensors as they lie in memory; None where they are not what a split holds, or may mean several things."""
    tensors = tuple(tensor.detach() for tensor in dataset.tensors)
    count = max(len(names), 1)
    if len(tensors) not in (count, count + 1) or any(tensor.device.type != "cpu" for tensor in tensors):
        return None
    inputs, target = tensors[:count], tensors[count] if len(tensors) > count else None
    if any(tensor.dtype not in (torch.uint8, torch.float32, torch.int64) for tensor in inputs):
        return None
    return HeldSplit(inputs if count > 1 else inputs[0], target)


def _made(value: Any, where: str) -> Iterable[Any]:
    if not isinstance(value, Iterable):
        raise DataError(f"{where}: the function returned {type(value).__name__}; it must return an iterator of batches")
    return value


def _places(value: Any) -> tuple[Any, set[int]]:
    """The dataset that everything else is a part of, and which of its samples are meant."""
    if isinstance(value, DataLoader):
        return _places(value.dataset)
    if isinstance(value, Subset):
        base, places = value.dataset, list(value.indices)
        while isinstance(base, Subset):
            places = [base.indices[place] for place in places]
            base = base.dataset
        return base, {int(place) for place in places}
    try:
        return value, set(range(len(value)))
    except TypeError:
        return value, {0}
