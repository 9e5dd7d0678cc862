"""A network that was read, held against its file in ONNX Runtime on random inputs: no reading is silently wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from compressor.errors import CaptureError, InputError
from compressor.graph.nested import Inputs, joined, map_tensors, nudged, rows, samples, tensors
from compressor.graph.network import Network
from compressor.graph.onnx_in.entry import FileInput
from compressor.runtime import literal_options, open_session

Array = NDArray[Any]

TOLERANCE: Final = 1e-3
"""Of the largest output: deep networks differ by 1e-5, a wrong attribute by far more."""
HALF_TOLERANCE: Final = 3e-2
"""For files that calculate in half precision; the network calculates in single."""
_APPROXIMATED: Final = ("Sigmoid", "Softmax", "Tanh", "Erf")
_ABSOLUTE: Final = 1e-6
"""ONNX Runtime approximates these near their limits; so far it may be off where all outputs lie there."""
_LARGE: Final = 2**20
"""Values of one sample above which one sample is enough."""
_JUMP_SAMPLES: Final = 16
_NUDGES: Final = 4
_MAX_TRACED: Final = 2**28
"""Bytes of a file up to which the first operator that differs is looked for."""


@dataclass(frozen=True)
class _File:
    """The file in ONNX Runtime; its outputs with the batch in front, as those of the network are."""

    session: Any
    entries: Sequence[FileInput]
    batch_axes: Sequence[int] = ()

    def answers(self, inputs: Inputs, names: list[str] | None = None) -> list[Array]:
        feed = {entry.name: entry.fed(x).numpy() for entry, x in zip(self.entries, tensors(inputs), strict=True)}
        try:
            found: list[Array] = self.session.run(names, feed)
        except Exception as error:  # ONNX Runtime's exceptions share no base class but this
            reason = str(error).strip().partition("\n")[0][:200]
            raise CaptureError(f"ONNX Runtime cannot run it on {samples(inputs)} samples ({reason})") from None
        if names:
            return found
        return [np.moveaxis(value, axis, 0) for value, axis in zip(found, self.batch_axes, strict=True)]


def check_reading(
    network: Network, path: Path, entries: Sequence[FileInput], values: Mapping[str, str], batch_axes: Sequence[int]
) -> None:
    """Raises ``CaptureError`` where network and file differ on random inputs, naming the first operator that does.

    Where it rounds values inside, the file is run operator by operator: kernels of several operators in one round in
    their own way, which is the processor's, not the file's.

    Where the file fixes its batch to one sample, or only runs on one, the network must treat the samples of a batch as
    it treats them alone. ``batch_axes``: which dimension of each output of the file is the batch.
    """
    try:
        file = _File(open_session(path, literal_options() if _rounds_inside(network) else None), entries, batch_axes)
    except InputError as error:
        raise CaptureError(f"it cannot be checked: {str(error).removeprefix(f'{path}: ')}") from None
    batch = next((entry.batch for entry in entries if entry.batch), None)
    small = sum(math.prod(entry.spec.shape) for entry in entries) <= _LARGE
    tolerance = HALF_TOLERANCE if any(entry.dtype == "float16" for entry in entries) else TOLERANCE
    for size in dict.fromkeys([batch or 2 if small or batch else 1, 1]):
        inputs = network.signature.random(size)
        try:
            wanted = file.answers(inputs)
            break
        except CaptureError:
            if size == 1 or batch:
                raise
    found = _run(network, inputs)
    gap = _largest_gap(found, wanted)
    if gap > tolerance and (batch or not _jumps(network, file, tolerance)):
        first = _first_difference(network, path, entries, inputs, values, tolerance)
        if first is None or first.op_type not in _APPROXIMATED or not _close(found, wanted):
            where = "" if first is None else f"; the first to differ is {first.op_type} (node {_name(first)!r})"
            raise CaptureError(
                f"read, it differs from the file in ONNX Runtime by {gap:.2g} of its largest output{where}"
            )
    if size == 1:
        pair = joined([inputs, network.signature.random(1, seed=1)])
        alone = joined([_run(network, rows(pair, slice(0, 1))), _run(network, rows(pair, slice(1, 2)))])
        if not _largest_gap(_run(network, pair), [output.numpy() for output in alone]) <= TOLERANCE:
            raise CaptureError("its samples depend on each other: its first dimension is no batch")


def _run(network: Network, inputs: Inputs) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return network.signature.flatten(network(inputs))


def _largest_gap(found: Sequence[Tensor], wanted: Sequence[Array]) -> float:
    """Over all outputs, each relative to its own largest value."""
    return max(_gap(own, theirs) for own, theirs in zip(found, wanted, strict=True))


def _close(found: Sequence[Tensor], wanted: Sequence[Array]) -> bool:
    pairs = zip(found, wanted, strict=True)
    return all(np.abs(own.double().numpy() - theirs.astype(np.float64)).max() <= _ABSOLUTE for own, theirs in pairs)


def _gap(found: Tensor, wanted: Array) -> float:
    """The largest difference, relative to the largest value; infinite where sizes or what is no number differ."""
    own, theirs = found.numpy().astype(np.float64), np.asarray(wanted, dtype=np.float64)
    if own.shape != theirs.shape:
        return math.inf
    finite = np.isfinite(theirs)
    if not np.array_equal(finite, np.isfinite(own)):
        return math.inf
    if not finite.any():
        return 0.0
    return float(np.abs(own[finite] - theirs[finite]).max() / max(np.abs(theirs[finite]).max(), 1e-12))


def _jumps(network: Network, file: _File, tolerance: float) -> bool:
    """Whether the samples that differ are no more than rounding explains, in a network that rounds inside.

    Signs and quantization turn a rounding error into a step. Such a network differs from itself as much, at inputs
    moved by one part in a million.
    """
    if not _rounds_inside(network):
        return False
    inputs = network.signature.random(_JUMP_SAMPLES, seed=2)
    own, theirs = _run(network, inputs), file.answers(inputs)
    if any(one.shape != other.shape for one, other in zip(own, theirs, strict=True)):
        return False
    generator, before = torch.Generator().manual_seed(3), [output.numpy() for output in own]
    moved = [_run(network, map_tensors(lambda x: nudged(x, 1e-6, generator), inputs)) for _ in range(_NUDGES)]
    return _outside(own, theirs, tolerance) <= max(_outside(one, before, tolerance) for one in moved) + 0.25


def _rounds_inside(network: Network) -> bool:
    steps = ("round", "floor", "ceil", "sign", "ge", "gt", "le", "lt", "fake_quantize_per_tensor_affine")
    return any(str(getattr(node.target, "__name__", "")).partition(".")[0] in steps for node in network.graph.nodes)


def _outside(found: Sequence[Tensor], wanted: Sequence[Array], tolerance: float) -> float:
    """Share of the samples that differ, in the output where it is largest."""
    return max(
        sum(_gap(a[None], b[None]) > tolerance for a, b in zip(own, theirs, strict=True)) / len(own)
        for own, theirs in zip(found, wanted, strict=True)
    )


def _first_difference(
    network: Network,
    path: Path,
    entries: Sequence[FileInput],
    inputs: Inputs,
    values: Mapping[str, str],
    tolerance: float,
) -> onnx.NodeProto | None:
    """The first operator whose result differs, as far as it can be found cheaply."""
    if path.stat().st_size > _MAX_TRACED:
        return None
    try:
        model = onnx.load(str(path))
        made = {name: node for node in model.graph.node for name in node.output}
        names = [name for name in made if name in values]
        outputs = {value.name for value in model.graph.output}
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
        theirs = _File(open_session(model.SerializeToString()), entries).answers(inputs, names)
    except (CaptureError, InputError, ValueError):
        return None
    recorder = _Recorder(network, {values[name] for name in names})
    with torch.no_grad():
        recorder.run(*tensors(inputs))
    for name, wanted in zip(names, theirs, strict=True):
        found = recorder.seen.get(values[name])
        if found is not None and found.is_floating_point() and _gap(found, wanted) > tolerance:
            first: onnx.NodeProto = made[name]
            return first
    return None


def _name(node: onnx.NodeProto) -> str:
    return node.name or node.output[0]


class _Recorder(fx.Interpreter):
    """The values of some nodes while the network runs."""

    def __init__(self, network: Network, names: set[str]) -> None:
        super().__init__(network.module)
        self._names = names
        self.seen: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.name in self._names and isinstance(value, Tensor):
            self.seen[n.name] = value
        return value
