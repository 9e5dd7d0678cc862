"""Trained weights on disk: what several arms start from is trained once, by whichever of them comes first.

A process that needs what another is training waits for it.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from compressor.data.dataset import Data
from compressor.graph.network import Network
from compressor.train.spec import TrainingSpec
from papers.locks import held
from papers.resumed import fit
from papers.starts import note

FOLDER = Path(__file__).resolve().parents[2] / "runs" / "papers"


@dataclass(frozen=True)
class Trained:
    """What is known of a training besides the weights."""

    epochs: int
    running: float
    """Quality on the training samples of the last epoch, while it trained."""
    validation: float
    """Of the epoch that was kept."""


def trained(
    network: Network, data: Data, spec: TrainingSpec, *, seed: int, page: str, name: str, teacher: Network | None = None
) -> Trained:
    """``fit``, or the weights that it gave before.

    ``name`` says what the network is and where it started; data, spec and seed are told apart here.
    """
    path = FOLDER / page / "weights" / _file(name, data, spec, seed)
    with held(str(path)):
        if not path.exists():
            _keep(path, network, _fitted(network, data, spec, seed, teacher))
        note(path)
        with safe_open(path, "pt") as kept:
            network.module.load_state_dict({key: kept.get_tensor(key) for key in kept.keys()})  # noqa: SIM118
            return Trained(**json.loads(kept.metadata()["trained"]))


def _fitted(network: Network, data: Data, spec: TrainingSpec, seed: int, teacher: Network | None) -> Trained:
    history = fit(network, data, spec, seed=seed, teacher=teacher)
    assert history.best is not None
    validation = (history.best if spec.restore_best else history.epochs[-1]).validation_quality
    return Trained(len(history.epochs), history.epochs[-1].train_quality, validation)


def _keep(path: Path, network: Network, found: Trained) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    tensors = {key: value.detach().clone().contiguous() for key, value in network.module.state_dict().items()}
    save_file(tensors, temporary, {"trained": json.dumps(asdict(found))})
    temporary.replace(path)


def _file(name: str, data: Data, spec: TrainingSpec, seed: int) -> str:
    digest = zlib.crc32(repr((data.name, len(data.train), spec)).encode())
    return f"{re.sub(r'[^a-z0-9]+', '-', name.lower())}-{seed}-{digest:08x}.safetensors"
