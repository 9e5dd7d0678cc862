"""Networks whose making runs code of somebody's: a user's function, a file that runs code, a library that may fail.

That code runs in a process of its own, which hands the network back as data. It may hang, exit or crash: then the model
cannot be loaded, which is said, and the process that asked goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace

from compressor.apart import apart
from compressor.errors import InputError, ModelFileError, NoAnswer
from compressor.graph.given import InputsGiven
from compressor.graph.network import Network
from compressor.graph.packed import PackedNetwork, pack_network, unpack_network
from compressor.load.trusted import ShapeSource

LOAD_SECONDS = 300.0
"""How long the making of a network may take, unless more is allowed."""


def load_apart(model: str, load: Callable[[ShapeSource], Network], shape: ShapeSource, seconds: float) -> Network:
    """What ``load`` makes. Raises ``InputError`` where it fails, takes too long, or its process ends.

    The data set, which may be asked for the shape of a sample, is read in this process: others need it too.
    """
    packed = _asked(model, load, replace(shape, otherwise=_nobody), seconds)
    if packed is None:
        known = None if shape.otherwise is None else shape.otherwise()
        packed = _asked(model, load, ShapeSource(known), seconds)
    assert packed is not None
    return unpack_network(packed)


class _Unknown(Exception):  # noqa: N818 - a question, not a failure
    """The model does not say what it takes."""


def _nobody() -> InputsGiven:
    raise _Unknown


def _asked(
    model: str, load: Callable[[ShapeSource], Network], shape: ShapeSource, seconds: float
) -> PackedNetwork | None:
    """The network; None where the shape of one sample is wanted first."""

    def work() -> PackedNetwork | None:
        with redirect_stdout(sys.stderr):
            try:
                return pack_network(load(shape))
            except _Unknown:
                return None

    try:
        return apart(work, seconds=seconds)
    except NoAnswer as error:
        kind = InputError if ":" in model else ModelFileError
        late = "longer" in str(error)
        remedy = "; make it once yourself, and save it with torch.export.save" if late else ""
        raise kind(f"{model}: while the network was made: {error}{remedy}") from None
