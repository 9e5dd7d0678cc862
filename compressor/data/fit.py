"""Whether a set goes with a network: the one place that says so."""

from __future__ import annotations

import torch

from compressor.data.dataset import Data
from compressor.errors import DataError
from compressor.graph.given import Given
from compressor.graph.network import Network


def check_fit(network: Network, data: Data) -> None:
    """One line (``DataError``) when the inputs or the targets are not what the network takes and gives."""
    taken, wanted = network.signature.input.shape, network.signature.inputs
    if len(wanted) != len(data.train.shapes):
        names = ", ".join(spec.name for spec in wanted)
        raise DataError(f"{data.name}: {len(data.train.shapes)} inputs, and the model takes {len(wanted)}: {names}")
    for spec, shape in zip(wanted[1:], data.train.shapes[1:], strict=True):
        if spec.shape != shape:
            raise DataError(
                f"{data.name}: input {spec.name!r} is {_size(shape) or 'a number'}, "
                f"the model takes {_size(spec.shape) or 'a number'}"
            )
    if taken != data.input_shape:
        raise DataError(
            f"{data.name}: images are {_size(data.input_shape)} (channels × height × width), "
            f"the model takes {_size(taken)}{_remedy(taken, data.input_shape)}"
        )
    for spec, dtype in zip(wanted, data.train.dtypes, strict=True):
        given = torch.float32 if dtype == torch.uint8 else dtype
        if spec.dtype.is_floating_point and not given.is_floating_point:
            raise DataError(
                f"{data.name}: input {spec.name!r} is {str(dtype).removeprefix('torch.')}, the model takes "
                f"{str(spec.dtype).removeprefix('torch.')}; give floats, or bytes (uint8) where they are pixels"
            )
    data.task.check(network, data)


def inputs_of(data: Data) -> tuple[Given, ...]:
    """What a network that says nothing of its inputs takes of these samples: their shapes, whole numbers as such."""
    pairs = zip(data.train.shapes, data.train.dtypes, strict=True)
    return tuple(
        Given("", shape, None if dtype.is_floating_point or dtype == torch.uint8 else dtype) for shape, dtype in pairs
    )


def _remedy(wanted: tuple[int, ...], given: tuple[int, ...]) -> str:
    """What to do where sizes or channels alone differ."""
    if given == (1, *wanted):
        return "; arrays of that form are taken for grey images: wrap them in a TensorDataset, which is taken as it is"
    if len(wanted) != 3 or len(given) != 3:
        return ""
    (channels, *sides), (own_channels, *own_sides) = wanted, given
    if given == (*sides, channels):
        return "; their channels stand last: give them first"
    if channels == own_channels and sides[0] == sides[1] and max(own_sides) < 4 * min(own_sides):
        return f"; data.size = {sides[0]} resizes them"
    if sides == own_sides and channels in (1, 3) and own_channels in (1, 3):
        return f"; data.channels = {channels} reads folders so"
    return ""


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
