"""Where networks are run over data: on an accelerator where there is one; afterwards they are back where they were.

Networks, rewrites and batches live on the CPU. What takes time, training, scoring and calibrating, moves a network to
``working_device`` and back, so that whoever writes a plugin need not think of devices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from compressor.graph.network import Network

_CPU = torch.device("cpu")
_chosen: list[torch.device] = []
"""Devices that somebody insists on, the last one first."""


def working_device() -> torch.device:
    """CUDA where it works, else the CPU. A fork of a process that has used CUDA cannot use it: there it is the CPU."""
    if _chosen:
        return _chosen[-1]
    if torch.cuda._is_in_bad_fork() or not torch.cuda.is_available():
        return _CPU
    return torch.device("cuda", torch.cuda.current_device())


@contextmanager
def working_on(device: torch.device | str) -> Iterator[None]:
    """Meanwhile ``device`` is the one to work on, whatever there is."""
    _chosen.append(torch.device(device))
    try:
        yield
    finally:
        _chosen.pop()


@contextmanager
def on_device(network: Network, device: torch.device) -> Iterator[None]:
    """The network on ``device`` meanwhile, and back on its own device afterwards."""
    home = network.device
    if home == device:
        yield
        return
    network.to(device)
    try:
        yield
    finally:
        network.to(home)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators start from ``seed`` meanwhile, and are afterwards as if nothing had happened."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
