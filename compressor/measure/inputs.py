"""What an ONNX file is run on: sizes where it leaves them open, and values, a person's own or random ones.

Random floats are normal, random whole numbers are 0 or 1: valid as indices, as masks and as pixels. How long a network
takes hardly depends on values; where it does (loops, data-dependent shapes), give it values of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from compressor.errors import InputError

InputSizes = tuple[int, ...]
Feed = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class SessionInput:
    """One input of a file. Sizes are numbers, or the names of open ones (empty where they have none)."""

    name: str
    kind: str
    """As ONNX calls it: ``float``, ``int64``, ``bfloat16``, ``string``."""
    sizes: tuple[int | str, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(object) if self.kind == "string" else onnx.helper.tensor_dtype_to_np_dtype(self.element)

    @property
    def element(self) -> int:
        """Its type as a number of ``onnx.TensorProto``."""
        return int(onnx.TensorProto.DataType.Value(self.kind.upper()))

    def __str__(self) -> str:
        return f"{self.name} {sizes_in_words(self.sizes)} {self.kind}"


@dataclass(frozen=True)
class Feeding:
    """What to run files on. ``batch`` is the size of open first dimensions; None: 1. ``shapes``: sizes of inputs, and
    of open dimensions, by name. ``arrays``: values by input; of their rows so many are taken as a call takes.
    """

    batch: int | None = None
    shapes: Mapping[str, InputSizes] = field(default_factory=dict)
    arrays: Feed = field(default_factory=dict)


def session_inputs(session: ort.InferenceSession, title: str) -> tuple[SessionInput, ...]:
    """The inputs of a loaded file. Raises ``InputError`` for those that are no tensors, or hold nothing."""
    found = []
    for entry in session.get_inputs():
        if not entry.type.startswith("tensor("):
            raise InputError(f"{title}: input {entry.name!r} is of type {entry.type}, which is not supported")
        if 0 in entry.shape:
            raise InputError(f"{title}: input {entry.name!r} has a dimension of size 0, so there is nothing to run on")
        sizes = tuple(size if isinstance(size, int) else size or "" for size in entry.shape)
        found.append(SessionInput(entry.name, entry.type.removeprefix("tensor(").removesuffix(")"), sizes))
    return tuple(found)


def feeds(
    entries: Sequence[SessionInput], feeding: Feeding, title: str, *, seed: int = 0, turn: int = 0
) -> dict[str, Any]:
    """An array for every input. ``turn`` moves on in the rows of ``feeding.arrays``, ``seed`` draws the rest.

    Raises ``InputError`` where a size is open and not given, or what is given does not fit.
    """
    arrays = _by_input(entries, feeding.arrays, title)
    shapes = sizes_of(entries, feeding, arrays, title)
    rng = np.random.default_rng(seed)
    result = {}
    for entry in entries:
        if entry.name in arrays:
            result[entry.name] = _rows(arrays[entry.name], shapes[entry.name], turn).astype(entry.dtype)
        else:
            result[entry.name] = _random(entry, shapes[entry.name], rng)
    return result


def handed_on(given: Feed, to: Sequence[SessionInput]) -> dict[str, NDArray[Any]] | None:
    """The same arrays for another file, by name, or by order where the names are others; None where they do not fit."""
    names = [entry.name for entry in to]
    arrays = [given[name] for name in names] if set(names) == set(given) else list(given.values())
    fitting = len(arrays) == len(to) and all(
        array.dtype == entry.dtype and _fits(entry.sizes, array.shape) for entry, array in zip(to, arrays, strict=True)
    )
    return dict(zip(names, arrays, strict=True)) if fitting else None


def sizes_of(entries: Sequence[SessionInput], feeding: Feeding, arrays: Feed, title: str) -> dict[str, InputSizes]:
    """Sizes of every input, none open any more. Raises ``InputError``."""
    _check_names(entries, feeding.shapes, title)
    known = {name: shape[0] for name, shape in feeding.shapes.items() if _is_open(entries, name)}
    given: dict[str, InputSizes] = {}
    for entry in entries:
        if entry.name in feeding.shapes:
            given[entry.name] = feeding.shapes[entry.name]
        elif entry.name in arrays and entry.sizes:
            first = entry.sizes[0]
            rows = known.get(first, feeding.batch or 1) if isinstance(first, str) else first
            given[entry.name] = (rows, *arrays[entry.name].shape[1:])
        if entry.name in given:
            _check_fits(entry, given[entry.name], title)
            known |= {
                name: size for name, size in zip(entry.sizes, given[entry.name], strict=True) if name in _open(entry)
            }
    _check_batch(entries, feeding, title)
    batches = {entry.sizes[0] for entry in entries if entry.sizes and isinstance(entry.sizes[0], str)}
    known = {str(name): feeding.batch or 1 for name in batches if name} | known
    return {entry.name: given.get(entry.name) or _completed(entry, known, feeding, title) for entry in entries}


def sizes_in_words(sizes: Sequence[int | str]) -> str:
    """``1×3×224×height``; ``?`` for an open size without a name."""
    return "×".join(str(size) if size != "" else "?" for size in sizes) or "scalar"


# --- steps -----------------------------------------------------------------------------------------------------------


def _completed(entry: SessionInput, known: Mapping[str, int], feeding: Feeding, title: str) -> InputSizes:
    sizes = []
    for axis, size in enumerate(entry.sizes):
        if isinstance(size, int):
            sizes.append(size)
        elif size in known:
            sizes.append(known[size])
        elif axis == 0:
            sizes.append(feeding.batch or 1)
        else:
            example = "x".join(
                str(s) if isinstance(s, int) else "1" if n == 0 else "…" for n, s in enumerate(entry.sizes)
            )
            name = f", or --shape {size}=…" if size else ""
            raise InputError(
                f"{title}: dimension {axis} of input {entry.name!r} is open ({size or 'no name'}): "
                f"say --shape {entry.name}={example}{name}"
            )
    return tuple(sizes)


def _open(entry: SessionInput) -> set[str]:
    return {size for size in entry.sizes if isinstance(size, str) and size}


def _is_open(entries: Sequence[SessionInput], name: str) -> bool:
    """Whether it is the name of an open dimension (and not that of an input)."""
    return all(entry.name != name for entry in entries) and any(name in _open(entry) for entry in entries)


def _check_names(entries: Sequence[SessionInput], shapes: Mapping[str, InputSizes], title: str) -> None:
    names = {entry.name for entry in entries}
    for name, shape in shapes.items():
        if name not in names and not _is_open(entries, name):
            inputs = ", ".join(map(str, entries)) or "none"
            raise InputError(f"{title}: has no input and no open dimension {name!r}; inputs: {inputs}")
        if name not in names and len(shape) != 1:
            raise InputError(f"{title}: {name!r} is one dimension, not {sizes_in_words(shape)}")


def _check_fits(entry: SessionInput, shape: InputSizes, title: str) -> None:
    if not _fits(entry.sizes, shape):
        raise InputError(
            f"{title}: input {entry.name!r} takes {sizes_in_words(entry.sizes)}, not {sizes_in_words(shape)}"
        )


def _fits(sizes: Sequence[int | str], shape: Sequence[int]) -> bool:
    return len(sizes) == len(shape) and all(
        isinstance(size, str) or size == given for size, given in zip(sizes, shape, strict=True)
    )


def _check_batch(entries: Sequence[SessionInput], feeding: Feeding, title: str) -> None:
    """A batch size that was asked for is taken by some input, or is what all are fixed to."""
    firsts = [entry.sizes[0] for entry in entries if entry.sizes and entry.name not in feeding.shapes]
    if feeding.batch is None or not firsts or feeding.batch in firsts or any(isinstance(size, str) for size in firsts):
        return
    raise InputError(f"{title}: is fixed to batches of {firsts[0]}: measure with that batch size, not {feeding.batch}")


def _by_input(entries: Sequence[SessionInput], arrays: Feed, title: str) -> dict[str, NDArray[Any]]:
    """The arrays that belong to inputs; a single array belongs to a single input, whatever its name."""
    names = [entry.name for entry in entries]
    if len(arrays) == len(names) == 1:
        arrays = dict(zip(names, arrays.values(), strict=True))
    chosen = {name: arrays[name] for name in names if name in arrays}
    if arrays and not chosen:
        raise InputError(f"{title}: takes {', '.join(names)}; the data hold {', '.join(sorted(arrays))}")
    for entry in entries:
        if entry.name in chosen:
            _check_values(entry, chosen[entry.name], title)
    sampled = [entry.name for entry in entries if entry.name in chosen and isinstance((*entry.sizes, 0)[0], str)]
    rows = {len(chosen[name]) for name in sampled}
    if len(rows) > 1:
        raise InputError(f"{title}: the data hold {' and '.join(map(str, sorted(rows)))} samples for its inputs")
    return chosen


def _check_values(entry: SessionInput, array: NDArray[Any], title: str) -> None:
    what = f"{title}: input {entry.name!r} takes {sizes_in_words(entry.sizes)} {entry.kind}; the data hold"
    if array.ndim != len(entry.sizes) or 0 in array.shape:
        raise InputError(f"{what} {sizes_in_words(array.shape)}")
    kept = array.dtype.kind in "biuf" and (is_float(entry.kind) or bool((array.astype(entry.dtype) == array).all()))
    if entry.kind != "string" and not kept:
        raise InputError(f"{what} {array.dtype}, some of which it cannot hold")


def _rows(array: NDArray[Any], shape: InputSizes, turn: int) -> NDArray[Any]:
    """So many rows of an array as ``shape`` has, further on at every turn, from the start again behind the last."""
    if not shape:
        return array
    return array[(turn * shape[0] + np.arange(shape[0])) % len(array)]


def _random(entry: SessionInput, shape: InputSizes, rng: np.random.Generator) -> NDArray[Any]:
    if entry.kind == "string":
        return rng.integers(0, 2, shape).astype(str).astype(object)
    if is_float(entry.kind):
        return np.asarray(rng.standard_normal(shape)).astype(entry.dtype)
    return np.asarray(rng.integers(0, 2, shape)).astype(entry.dtype)


def is_float(kind: str) -> bool:
    """Whether values of this kind are drawn as floats; the others are whole numbers, or 0 and 1 as text."""
    return "float" in kind or kind == "double"
