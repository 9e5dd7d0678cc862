"""Mean and deviation per channel: measured, in bounded memory, and those of the known scalings."""

from __future__ import annotations

from math import prod
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from compressor.data.scale import unit_scale
from compressor.data.spec import Scaling
from compressor.data.split import Split
from compressor.errors import DataError

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation per channel, on the 0…1 scale where the images are uint8."""

IMAGENET: Statistics = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CHUNK = 16 << 20
"""Bytes of float64 values that are in memory at once."""
_LOOKED_AT = 8192
"""Samples of a split that is read from its files each time; the mean of so many images is known to a thousandth."""
_MEASURED: WeakKeyDictionary[Split, Statistics] = WeakKeyDictionary()


def usual_scaling(train: Split) -> Scaling:
    """What a network is trained with where nobody says otherwise: floats are what their owner made them."""
    return "dataset" if train.dtype == torch.uint8 else "none"


def scaling(name: Scaling, train: Split) -> Statistics:
    """What the scaling called ``name`` subtracts and divides by, for the training images.

    Raises ``DataError`` for ``imagenet`` where the images have no three channels.
    """
    channels = input_channels(train)
    match name:
        case "none":
            return (0.0,) * channels, (1.0,) * channels
        case "raw":
            return (0.0,) * channels, (1 / 255 if train.dtype == torch.uint8 else 1.0,) * channels
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
    if not input_channels(split):
        return (), ()
    if split not in _MEASURED:
        _MEASURED[split] = _measured(split)
    return _MEASURED[split]


def input_channels(split: Split) -> int:
    """Of the first input: its first dimension after the samples; 0 where a sample is one number or an index."""
    return split.shape[0] if split.shape and split.dtype != torch.int64 else 0


def _measured(split: Split) -> Statistics:
    channels = input_channels(split)
    places = prod(split.shape[1:])
    total = torch.zeros(channels, dtype=torch.float64)
    squares = torch.zeros(channels, dtype=torch.float64)
    count = 0
    looked_at = split if split.held else split.some(_LOOKED_AT)
    for inputs, _ in looked_at.batches(max(1, _CHUNK // (8 * max(channels * places, 1)))):
        images = inputs if isinstance(inputs, Tensor) else inputs[0]
        values = unit_scale(images).to(torch.float64).transpose(0, 1).reshape(channels, -1)
        count += values.shape[1]
        total += values.sum(1)
        squares += values.square_().sum(1)
    mean = total / max(count, 1)
    std = (squares / max(count, 1) - mean.square()).clamp_min(0).sqrt()
    std[std < 1e-6] = 1.0
    return tuple(mean.tolist()), tuple(std.tolist())
