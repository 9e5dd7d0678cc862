"""Where training runs: on an accelerator where there is one; afterwards the network is back where it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from compressor.graph.network import Network


def training_device() -> torch.device:
    """CUDA where it works, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


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
