"""A training in a file, as far as it has come: one that is cut off goes on from there, and ends in the same weights.

    key      what is trained, on what, by what and from which weights; no other training goes on from the file
    state    weights, optimizer, batches to come, torch's random numbers, the best epoch, the reports so far

It ends in the same weights where one that is not cut off always does: on the CPU, with samples, transforms and layers
that follow torch's random numbers and remember nothing but parameters and buffers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from compressor import __version__
from compressor.data.dataset import Data
from compressor.data.split import Split
from compressor.files import write_atomic
from compressor.graph import nested
from compressor.graph.network import Network
from compressor.task import Task
from compressor.train.spec import Precision, TrainingSpec

_log = logging.getLogger(__name__)

TrainingState = dict[str, Any]
"""Tensors, numbers and texts, in lists and dictionaries."""
_TIMES = 20
"""A file is written when that takes a twentieth of the time since the last one, or less."""
_BYTES_PER_SECOND = 200e6
"""Of a disk nobody has written to yet."""
_LOOKED_AT = 1 << 26
"""Bytes of samples in memory that say which set it is."""
_READ = 16
"""Samples that are read from files to say the same."""


class Checkpoint:
    """Where one training keeps its state: a file in ``folder`` that bears its key."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"{key}.pt"
        self._cost = 0.0
        """Seconds that writing takes; 0 as long as nothing was written."""
        self._since = time.monotonic()
        self._failed = False

    def read(self) -> TrainingState | None:
        """The state that was kept; None where there is none, or it cannot be read."""
        if not self._path.exists():
            return None
        try:
            state: TrainingState = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds, whatever became of the file
            _log.warning("%s: cannot be read (%s); the training begins anew", self._path, type(error).__name__)
            return None
        _log.warning("%s: the training goes on after epoch %d", self._path, len(state["reports"]))
        return state

    def offer(self, state: TrainingState, *, last: bool = False) -> None:
        """Keep the state where that costs little beside the training, and the ``last`` one where an earlier one was
        kept: a training that follows begins with it. A disk without room ends nothing.
        """
        now = time.monotonic()
        expected = self._cost or sum(tensor.nbytes for tensor in nested.tensors(state)) / _BYTES_PER_SECOND
        due = now - self._since >= _TIMES * expected or (last and self._path.exists())
        if self._failed or not due:
            return
        content = io.BytesIO()
        torch.save(state, content)
        try:
            write_atomic(self._path, content.getvalue())
        except OSError as error:
            _log.warning("%s: %s; the training goes on without checkpoints", self._path, error.strerror)
            self._failed = True
        self._since = time.monotonic()
        self._cost = self._since - now


def training_key(
    network: Network, data: Data, spec: TrainingSpec, teacher: Network | None, seed: int, precision: Precision
) -> str:
    """What two trainings that end in the same weights have in common, as far as that can be known beforehand.

    ``teacher``: where one is listened to. Of samples that are read from files some are looked at, of a loader's none.
    """
    networks = [network] if teacher is None else [network, teacher]
    plain = {
        "versions": [__version__, torch.__version__],
        "machine": [network.device.type, torch.get_num_threads(), precision],
        "spec": dataclasses.asdict(spec),
        "seed": seed,
        "data": [data.name, data.source, len(data.train), len(data.validation), data.mean, data.std],
        "task": _options(data.task),
        "networks": [[repr(one.module), one.module.code, _trainable(one)] for one in networks],
    }
    digest = hashlib.sha256(json.dumps(plain, default=repr).encode())
    for file in _sources(network, spec):
        digest.update(file.read_bytes())
    for split in (data.train, data.validation):
        _add(digest, _looked_at(split))
    for one in networks:
        _add(digest, one.module.state_dict().values())
    return digest.hexdigest()[:16]


def _add(digest: Any, values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, Tensor):
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def _trainable(network: Network) -> list[str]:
    return [name for name, parameter in network.module.named_parameters() if parameter.requires_grad]


def _options(task: Task) -> list[str]:
    """Its kind and its fields, those that are plain."""
    values = {name: getattr(task, name) for name in getattr(task, "__dataclass_fields__", ())}
    plain = [f"{name}={value!r}" for name, value in values.items() if isinstance(value, (str, int, float, tuple))]
    return [type(task).__qualname__, *plain]


def _sources(network: Network, spec: TrainingSpec) -> Iterator[Path]:
    """The code that a training runs, where it is not torch's: this folder, the classes of layers, a transform."""
    yield from sorted(Path(__file__).parent.glob("*.py"))
    modules = {kind.__module__ for _, leaf in network.leaves() for kind in type(leaf).__mro__}
    modules |= {spec.transform.partition(":")[0]}
    for name in sorted(modules):
        file = getattr(sys.modules.get(name), "__file__", None)
        if file and not name.startswith("torch."):
            yield Path(file)


def _looked_at(split: Split) -> Iterator[Tensor]:
    """Samples that lie evenly over the split, with their targets."""
    if split.indexed and len(split):
        most = max(_LOOKED_AT // max(split.sample_bytes, 1), _READ) if split.held else _READ
        count = min(most, len(split))
        pair = split.fetch(torch.arange(count) * len(split) // count)
        yield from nested.tensors(pair)
