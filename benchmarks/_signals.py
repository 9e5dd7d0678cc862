"""Recorded signals: the electric current of household appliances (PLAID), as the package ``sktime`` ships it.

1,074 recordings of eleven kinds of appliances, one period after the other at 30 kHz resampled by the archive that has
them (UCR: PLAID; Gao et al., BuildSys 2014), in two halves of 537; the second is the test here, a fifth of the first
validates. Recordings are of 100 to 1,344 values: the first ``LENGTH`` are taken, shorter ones are filled with zeros.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from onnx_files import fetched
from torch import Tensor
from torch.utils.data import TensorDataset

PACKAGE = "sktime==1.2.0"
KINDS, LENGTH = 11, 512


def appliances(seed: int, folder: Path) -> list[TensorDataset]:
    """Training, validation and test: currents ``(1, LENGTH)``, scaled each to deviation 1, and kinds."""
    fetched(PACKAGE, folder, ("",))
    (wheel,) = folder.glob("sktime-*.whl")
    first, test = (_read(wheel, half) for half in ("TRAIN", "TEST"))
    order = torch.randperm(len(first[1]), generator=torch.Generator().manual_seed(seed))
    cut = len(order) * 4 // 5
    parts = [tuple(part[rows] for part in first) for rows in (order[:cut], order[cut:].sort().values)]
    return [TensorDataset(*part) for part in (*parts, test)]


def _read(wheel: Path, half: str) -> tuple[Tensor, Tensor]:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"sktime/datasets/data/PLAID/PLAID_{half}.ts").decode()
    lines = text.partition("@data")[2].strip().splitlines()
    signals, kinds = [], []
    for line in lines:
        values, _, kind = line.rpartition(":")
        signal = torch.tensor([float(value) for value in values.split(",") if value not in ("?", "NaN")])[:LENGTH]
        signal = (signal - signal.mean()) / signal.std().clamp_min(1e-6)
        signals.append(torch.nn.functional.pad(signal, (0, LENGTH - len(signal))))
        kinds.append(int(float(kind)))
    return torch.stack(signals)[:, None], torch.tensor(kinds)
