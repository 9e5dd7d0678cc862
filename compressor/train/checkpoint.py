"""A training in a file, as far as it has come: one that is cut off goes on from there, and ends in the same weights.

    key      what is trained, on what, by what and from which weights; no other training goes on from the file
    state    weights, optimizer, batches to come, random numbers, the best epoch, the reports so far

What modules keep in plain attributes is not in it, as it is not in a candidate's files: parameters and buffers are.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
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
from compressor.train.spec import Precision, TrainingSpec

_log = logging.getLogger(__name__)

TrainingState = dict[str, Any]
"""Tensors, numbers and texts, in lists and dictionaries."""
_TIMES = 20
"""A file is written when that takes a twentieth of the time since the last one, or less."""
_BYTES_PER_SECOND = 200e6
"""Of a disk nobody has written to yet."""
_SAMPLES = 64
"""Training samples that say which set it is."""


class Checkpoint:
    """Where one training keeps its state: a file in ``folder`` that bears its key."""

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / f"{key}.pt"
        self._cost = 0.0
        """Seconds that writing takes; 0 as long as nothing was written."""
        self._since = time.monotonic()

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

    def offer(self, state: Callable[[], TrainingState]) -> None:
        """Keep the state where that costs little beside the training; a disk without room for it ends nothing."""
        now = time.monotonic()
        found = state()
        expected = self._cost or sum(tensor.nbytes for tensor in nested.tensors(found)) / _BYTES_PER_SECOND
        if now - self._since < _TIMES * expected:
            return
        content = io.BytesIO()
        torch.save(found, content)
        try:
            write_atomic(self._path, content.getvalue())
        except OSError as error:
            _log.warning("%s: %s; the training goes on without a checkpoint", self._path, error.strerror)
        self._since = time.monotonic()
        self._cost = self._since - now


def training_key(
    network: Network, data: Data, spec: TrainingSpec, teacher: Network | None, seed: int, precision: Precision
) -> str:
    """What two trainings that end in the same weights have in common, as far as that can be known beforehand.

    Samples that are read from files or come from a user's own dataset are known by name, place and number: they may be
    changed at random each time they are read.
    """
    plain = {
        "versions": [__version__, torch.__version__],
        "machine": [network.device.type, torch.get_num_threads(), precision],
        "spec": asdict(spec),
        "seed": seed,
        "data": [data.name, data.source, len(data.train), len(data.validation), data.mean, data.std],
        "task": [type(data.task).__name__, data.task.metric.name],
        "network": [repr(network.module), network.module.code],
    }
    digest = hashlib.sha256(json.dumps(plain, default=repr).encode())
    for tensor in (*_weights(network), *(_weights(teacher) if teacher else ()), *_some_samples(data.train)):
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def _weights(network: Network) -> Iterable[Tensor]:
    return (value for value in network.module.state_dict().values() if isinstance(value, Tensor))


def _some_samples(split: Split) -> Iterator[Tensor]:
    if split.held:
        indices = torch.linspace(0, len(split) - 1, min(_SAMPLES, len(split))).long()
        inputs, target = split.fetch(indices)
        yield from nested.tensors(inputs)
        yield from nested.tensors(target)
