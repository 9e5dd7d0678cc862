"""Where networks are run over data: on an accelerator where there is one; afterwards they are back where they were.

Networks, rewrites and batches live on the CPU. What takes time, training, scoring and calibrating, has a network on
``working_device`` meanwhile, so that whoever writes a plugin need not think of devices.

A process that has used CUDA cannot be forked into one that uses it. Whoever forks, the worker before its trials, the
driver before workers that get its live objects, therefore leaves the accelerator to its forks (``left_to_forks``), and
what it needs itself it lets a fork find out (``in_fork``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from compressor.apart import apart
from compressor.graph.network import Network

R = TypeVar("R")
_CPU = torch.device("cpu")
_WITHOUT_CUDA = "PYTORCH_NVML_BASED_CUDA_CHECK"
"""Makes torch ask the driver, and not CUDA itself, whether there is a device: nothing is begun that a fork inherits."""
_chosen: list[torch.device] = []
"""Devices that somebody insists on, the last one first."""
_abstaining: list[int] = []
"""Ids of processes that leave the accelerator to their forks: this one, or those that it is a fork of."""


def working_device() -> torch.device:
    """CUDA where it works, else the CPU; the CPU also in a process that leaves it to forks, and in a fork of one that
    has used it.
    """
    if _chosen:
        return _chosen[-1]
    if _abstains() or not _usable():
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
def left_to_forks() -> Iterator[None]:
    """Meanwhile this process, which will fork, does not touch the accelerator; its forks may.

    Changes nothing in a process that has used CUDA already: its forks cannot.
    """
    if used():
        yield
        return
    os.environ.setdefault(_WITHOUT_CUDA, "1")
    _abstaining.append(os.getpid())
    try:
        yield
    finally:
        _abstaining.pop()


def used() -> bool:
    """Whether this process has used the accelerator, so that its forks cannot."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def in_fork(work: Callable[[], R]) -> R:
    """What ``work`` returns, plain data, found out where the accelerator may be used: here, or in a fork of a process
    that leaves it to forks.
    """
    if _chosen or not _abstains() or not _usable():
        return work()
    return apart(work)


@contextmanager
def at_work(network: Network) -> Iterator[torch.device]:
    """The network on the device to work on, which is given, and back on its own afterwards.

    Meanwhile convolutions are computed in float32 throughout, as on the CPU; torch's default on GPUs cuts their inputs
    to the 10 bits of TF32, which training may go on with and figures may not.
    """
    device = working_device()
    with on_device(network, device), _whole_float32():
        yield device


@contextmanager
def _whole_float32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def finish(device: torch.device) -> None:
    """Wait until an accelerator has done what it was given, before a clock is read."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def room_on(device: torch.device, most: int) -> int:
    """Bytes that may be kept on an accelerator all the time: ``most``, and a quarter of what is free there."""
    if device.type != "cuda":
        return most
    free, _ = torch.cuda.mem_get_info(device)
    return min(most, int(free) // 4)


@contextmanager
def on_device(network: Network, device: torch.device) -> Iterator[None]:
    """The network on ``device`` meanwhile, and back on its own device afterwards; also in inference mode, whose tensors
    no training could use.
    """
    home = network.device
    if home == device:
        yield
        return
    with torch.inference_mode(False):
        network.to(device)
    try:
        yield
    finally:
        with torch.inference_mode(False):
            network.to(home)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators start from ``seed`` meanwhile, and are afterwards as if nothing had happened."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def random_state(device: torch.device) -> list[torch.Tensor]:
    """Of the global generators that work on ``device`` draws from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def set_random_state(state: list[torch.Tensor], device: torch.device) -> None:
    """Draw on as ``random_state`` found them, within ``seeded`` of the same device."""
    torch.set_rng_state(state[0])
    for generator in state[1:]:
        torch.cuda.set_rng_state(generator, device)


def _abstains() -> bool:
    return os.getpid() in _abstaining


def _usable() -> bool:
    return not torch.cuda._is_in_bad_fork() and torch.cuda.is_available()
