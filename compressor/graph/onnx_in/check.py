"""A network that was read, held against its file in ONNX Runtime on random inputs: no reading is silently wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from compressor.errors import CaptureError, InputError
from compressor.graph.network import Network
from compressor.graph.onnx_in.entry import Entry
from compressor.runtime import open_session

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


def check_reading(network: Network, path: Path, entry: Entry, values: Mapping[str, str]) -> None:
    """Raises ``CaptureError`` where network and file differ on random inputs, naming the first operator that does.

    Where the file fixes its batch to one sample, or only runs on one, the network must treat the samples of a batch as
    it treats them alone.
    """
    try:
        session = open_session(path)
    except InputError as error:
        raise CaptureError(f"it cannot be checked: {str(error).removeprefix(f'{path}: ')}") from None
    sizes = [entry.batch or 2] if math.prod(entry.spec.shape) <= _LARGE or entry.batch else [1]
    tolerance = HALF_TOLERANCE if entry.dtype == "float16" else TOLERANCE
    for size in dict.fromkeys([*sizes, 1]):
        images = _images(entry, size)
        try:
            wanted = _answers(session, entry, images)
            break
        except CaptureError:
            if size == 1 or entry.batch:
                raise
    found = _run(network, images)
    gap = _gap(found, wanted)
    if gap > tolerance and not _jumps(network, session, entry, tolerance):
        first = _first_difference(network, path, entry, images, values, tolerance)
        if first is None or first.op_type not in _APPROXIMATED or np.abs(found.numpy() - wanted).max() > _ABSOLUTE:
            where = "" if first is None else f"; the first to differ is {first.op_type} (node {_name(first)!r})"
            raise CaptureError(
                f"read, it differs from the file in ONNX Runtime by {gap:.2g} of its largest output{where}"
            )
    if size == 1:
        pair = torch.cat([images, _images(entry, 1, seed=1)])
        alone = torch.cat([_run(network, pair[:1]), _run(network, pair[1:])])
        if not _gap(_run(network, pair), alone.numpy()) <= TOLERANCE:
            raise CaptureError("its samples depend on each other: its first dimension is no batch")


def _images(entry: Entry, size: int, seed: int = 0) -> Tensor:
    """Normal values, as images are once they are normalised; bytes where the file takes whole numbers."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size, *entry.spec.shape)
    if entry.dtype.startswith("float"):
        return torch.randn(shape, generator=generator)
    return torch.randint(0, 128 if entry.dtype == "int8" else 256, shape, generator=generator).float()


def _answers(session: Any, entry: Entry, images: Tensor, names: list[str] | None = None) -> Any:
    feed = {entry.name: images.numpy().astype(entry.dtype)}
    try:
        found = session.run(names, feed)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this
        reason = str(error).strip().partition("\n")[0][:200]
        raise CaptureError(f"ONNX Runtime cannot run it on {len(images)} samples ({reason})") from None
    return found if names else found[0]


def _run(network: Network, images: Tensor) -> Tensor:
    with torch.no_grad():
        return network(images)


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


def _jumps(network: Network, session: Any, entry: Entry, tolerance: float) -> bool:
    """Whether the samples that differ are no more than rounding explains, in a network that rounds inside.

    Signs and quantization turn a rounding error into a step. Such a network differs from itself as much, at inputs
    moved by one part in a million.
    """
    if entry.batch or not _rounds_inside(network):
        return False
    images = _images(entry, _JUMP_SAMPLES, seed=2)
    own, theirs = _run(network, images), _answers(session, entry, images)
    if own.shape != theirs.shape:
        return False
    generator = torch.Generator().manual_seed(3)
    nudged = [
        _outside(
            _run(network, images * (1 + 1e-6 * torch.randn(images.shape, generator=generator))), own.numpy(), tolerance
        )
        for _ in range(_NUDGES)
    ]
    return _outside(own, theirs, tolerance) <= max(nudged) + 0.25


def _rounds_inside(network: Network) -> bool:
    steps = ("round", "floor", "ceil", "sign", "ge", "gt", "le", "lt", "fake_quantize_per_tensor_affine")
    return any(str(getattr(node.target, "__name__", "")).partition(".")[0] in steps for node in network.graph.nodes)


def _outside(found: Tensor, wanted: Array, tolerance: float) -> float:
    """Share of the samples that differ."""
    return sum(_gap(a[None], b[None]) > tolerance for a, b in zip(found, wanted, strict=True)) / len(found)


def _first_difference(
    network: Network, path: Path, entry: Entry, images: Tensor, values: Mapping[str, str], tolerance: float
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
        theirs = _answers(open_session(model.SerializeToString()), entry, images, names)
    except (CaptureError, InputError, ValueError):
        return None
    recorder = _Recorder(network, {values[name] for name in names})
    with torch.no_grad():
        recorder.run(images)
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
