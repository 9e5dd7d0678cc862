"""The precision of forward and backward passes: float32, or bfloat16 where hardware and network bear it."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager

import torch

from compressor.graph.nested import Inputs, tensors
from compressor.graph.network import Network
from compressor.train.spec import Precision

_log = logging.getLogger(__name__)


def usable(wanted: Precision, network: Network) -> Precision:
    """``wanted``, or float32 where the network's device would only emulate bfloat16, or the network fails in it."""
    if wanted == "float32":
        return wanted
    if not has_bfloat16(network.device):
        _log.warning("trained in float32: %s would only emulate bfloat16", network.device)
        return "float32"
    failure = failure_of_one_step(network.fork(), network.signature.zeros(2, network.device), wanted)
    if failure:
        _log.warning("trained in float32, in bfloat16 the network fails: %s", failure)
    return "float32" if failure else wanted


def has_bfloat16(device: torch.device) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware: AMX or AVX512-BF16, Arm's BF16, or an Ampere GPU or later."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    features = torch.cpu.get_capabilities()
    return any(features.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16"))


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Products and convolutions inside are computed in ``precision``; parameters keep theirs."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def failure_of_one_step(network: Network, images: Inputs, precision: Precision) -> str:
    """Why the network cannot be trained so, found out by one step on ``images``; empty where it can.

    Statistics change and gradients appear: pass a copy.
    """
    device = network.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            with autocast(device, precision):
                answers = [answer for answer in tensors(network.train()(images)) if answer.requires_grad]
            torch.autograd.backward([answer.float().sum() for answer in answers])
        except Exception as error:  # whatever a module of the user's may raise
            return str(error).partition("\n")[0] or type(error).__name__
    return ""
