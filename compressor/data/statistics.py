"""Mean and deviation per channel: measured, in one pass over bounded memory, and those of the known scalings."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch

from compressor.data.dataset import Split, unit_scale
from compressor.data.spec import Scaling
from compressor.errors import DataError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, on the 0…1 scale where the images are uint8."""

IMAGENET: Statistics = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CHUNK = 16 << 20
"""Bytes of float64 values that are in memory at once."""
_MEASURED: WeakKeyDictionary[Split, Statistics] = WeakKeyDictionary()


def usual(train: Split) -> Scaling:
    """What a network is trained with where nobody says otherwise: floats are what their owner made them."""
    return "dataset" if train.store.dtype == torch.uint8 else "none"


def scaling(name: Scaling, train: Split) -> Statistics:
    """What the scaling called ``name`` subtracts and divides by, for the training images.

    Raises ``DataError`` for ``imagenet`` where the images have no three channels.
    """
    channels = train.shape[0]
    match name:
        case "none":
            return (0.0,) * channels, (1.0,) * channels
        case "raw":
            return (0.0,) * channels, (1 / 255 if train.store.dtype == torch.uint8 else 1.0,) * channels
        case "symmetric":
            return (0.5,) * channels, (0.5,) * channels
        case "imagenet":
            if channels != len(IMAGENET[0]):
                raise DataError(f'data.normalise: "imagenet" is for three channels; these images have {channels}')
            return IMAGENET
    return channel_statistics(train)


def channel_statistics(split: Split) -> Statistics:
    """Mean and standard deviation per channel, measured once, on the 0…1 scale where the images are uint8.

    A constant channel gets deviation 1, so that dividing by it changes nothing.
    """
    if split not in _MEASURED:
        _MEASURED[split] = _measured(split)
    return _MEASURED[split]


def _measured(split: Split) -> Statistics:
    channels, height, width = split.shape
    total = torch.zeros(channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)
    for chunk, _ in split.batches(max(1, _CHUNK // (8 * channels * height * width))):
        values = unit_scale(chunk).to(torch.float64)
        total += values.sum(dim=(0, 2, 3))
        squares += values.square_().sum(dim=(0, 2, 3))
    count = max(len(split) * height * width, 1)
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std[std < 1e-6] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
