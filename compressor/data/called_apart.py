"""A user's function of data, called in a process of its own: plain arrays come back, whatever else it does stays there.

It may hang, exit or crash, and then that is said of it. Arrays come back through a file without a name that both
processes map, so that a large set is in memory once. Live objects (datasets, loaders) cannot be handed over: the
function is known to come to an end then, and is called again where they are wanted.
"""

from __future__ import annotations

import mmap
import pickle
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from compressor.apart import apart, is_apart
from compressor.errors import DataError, NoAnswer
from compressor.processes import FORKS

CALL_SECONDS = 1800.0
"""How long a function may take to make its arrays."""

_Place = tuple[int, int]
"""Where a buffer lies in the file: its offset and its length."""


class _NotPlainError(TypeError):
    """Something that only lives in the process that made it."""


def plain_arrays(call: Callable[[], Any], reference: str) -> dict[str, Any] | None:
    """The mapping of arrays that ``call`` returns; None where it returns anything else, or need not run elsewhere.

    Raises ``DataError`` where its process ends or it takes too long, and what ``call`` raises.
    """
    if is_apart() or not FORKS:
        return None
    with tempfile.TemporaryFile() as file:
        try:
            packed = apart(lambda: _packed(call, file), seconds=CALL_SECONDS)
        except NoAnswer as error:
            late = "; let it save its arrays as an .npz, and name that" if "longer" in str(error) else ""
            raise DataError(f"data.function: {reference}: while it was called: {error}{late}") from None
        return None if packed is None else _unpacked(*packed, file)


def _packed(call: Callable[[], Any], file: BinaryIO) -> tuple[bytes, list[_Place]] | None:
    """What was returned, without the contents of its arrays, and where in the file those are."""
    with redirect_stdout(sys.stderr):
        result = call()
    if not isinstance(result, Mapping):
        return None
    places: list[_Place] = []

    def kept(buffer: pickle.PickleBuffer) -> None:
        view = buffer.raw()
        places.append((file.tell(), len(view)))
        file.write(view)
        file.write(bytes(-file.tell() % 64))  # numbers lie where processors like them

    try:
        plain = pickle.dumps(_plain(dict(result)), protocol=5, buffer_callback=kept)
        file.flush()
    except (_NotPlainError, OSError):  # or there is no room for it on the disk
        return None
    return plain, places


def _unpacked(plain: bytes, places: list[_Place], file: BinaryIO) -> dict[str, Any]:
    size = file.seek(0, 2)
    held = memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY)) if size else memoryview(b"")
    arrays: dict[str, Any] = pickle.loads(plain, buffers=[held[start : start + length] for start, length in places])
    return arrays


def _plain(value: Any) -> Any:
    """The same, made of nothing but Python's and numpy's own types. Raises ``_NotPlainError``."""
    match value:
        case np.ndarray() if value.dtype.kind in "biufcSU":
            return np.asarray(value, order="C").view(np.ndarray)
        case Tensor() if not value.is_sparse and value.device.type == "cpu":
            try:
                return np.asarray(value.detach().resolve_conj().resolve_neg().numpy(), order="C")
            except (TypeError, RuntimeError):  # a type that numpy does not have
                raise _NotPlainError from None
        case dict():
            return {str(key): _plain(part) for key, part in value.items()}
        case list() | tuple():
            return [_plain(part) for part in value]
        case None | bool() | int() | float() | str() | bytes():
            return value
        case np.generic():
            return np.asarray(value)
    raise _NotPlainError
