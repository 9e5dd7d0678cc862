"""Does the ONNX file compute what the network computes?

Numbers first: the largest difference of the outputs, relative to the largest output. Then what the numbers are for: the
share of samples that both put into the same class.

A network with sign functions inside (binary activations) jumps: values that rounding alone pushes over a threshold
change its output visibly, in ONNX Runtime and in torch alike. So where the plain comparison fails, the network is
compared with itself at inputs moved by one part in a million; samples may differ as often as they do there. Several
times, in other directions: a value that sits on its threshold stays on its side of it every other time.

A network of integers jumps everywhere, by a step at a time, and a file may round a bias where torch does not. The
tolerance that such a network states is what its own outputs move by when all that it rounds is moved by a two-hundredth
of a step before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compressor.errors import InputError
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.measure.session import OnnxModel

ROUNDING = 1e-6
"""Relative size of the nudge that shows whether a network jumps: some float32 rounding errors in a row."""
NUDGES = 8
"""How often it is moved; one sample on a threshold stays unnoticed once in 256."""
JITTER = 1 / 200
"""Of a step: by how much values are moved before they are rounded. Rounding a bias moves them by less."""
MARGIN = 2.0
"""How much more than that the file may be off."""
ALLOWANCE = 0.02
"""Share of samples that may differ beyond what the nudge makes differ, once a network is known to jump."""


@dataclass(frozen=True)
class Parity:
    """``max_error``: largest difference relative to the largest output. ``agreement``: share of samples given the same
    class. ``outside``: share of samples with an error beyond the tolerance; nonzero and ok only if the network jumps.
    """

    max_error: float
    agreement: float
    samples: int
    ok: bool
    outside: float = 0.0


def numeric_parity(
    network: Network, model: bytes, batches: Iterable[Tensor | Sequence[Tensor]], tolerance: float = 1e-4
) -> Parity:
    """Compare eval-mode outputs on ``batches``: image tensors (N, C, H, W), or (images, labels) pairs.

    The network's mode is put back afterwards. Raises ``InputError`` when there is not one sample.
    """
    images = [batch if isinstance(batch, Tensor) else batch[0] for batch in batches]
    if not sum(len(batch) for batch in images):
        raise InputError("parity needs at least one image")
    runner = OnnxModel(model)
    expected = network_outputs(network, images)
    found = np.concatenate([_rows(runner.run(file_input(network, batch))) for batch in images])
    errors = relative_errors(expected, found)
    tolerance = max(tolerance, stated_tolerance(network, images))
    agreement = float((expected.argmax(axis=1) == found.argmax(axis=1)).mean())
    outside = float((errors > tolerance).mean())
    ok = acceptable(errors, network, images, tolerance)
    return Parity(float(errors.max()), agreement, len(expected), ok, outside)


def stated_tolerance(network: Network, images: Sequence[Tensor]) -> float:
    """Largest relative error that is a matter of rounding in a network of integers; 0 for one of floats."""
    rounding = [leaf for _, leaf in network.leaves() if isinstance(leaf, Leaf) and leaf.rounds_values]
    if not rounding:
        return 0.0
    expected, largest = network_outputs(network, images), 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            for leaf in rounding:
                leaf.jitter = JITTER
            for _ in range(NUDGES):
                largest = max(largest, float(relative_errors(expected, network_outputs(network, images)).max()))
        finally:
            for leaf in rounding:
                leaf.jitter = 0.0
    return MARGIN * largest


def network_outputs(network: Network, images: Iterable[Tensor]) -> NDArray[np.float32]:
    """Eval-mode outputs (N, K), other dimensions flattened."""
    training = network.module.training
    network.eval()
    try:
        with torch.inference_mode():
            return np.concatenate([_rows(network(batch.to(network.device)).cpu().numpy()) for batch in images])
    finally:
        network.train(training)


def file_input(network: Network, images: Tensor) -> Tensor:
    """What the network's exported file takes where the network takes ``images``: pixels where it normalises them."""
    known = network.spec.normalisation
    return images if known is None else known.file_input(images)


def relative_errors(expected: NDArray[Any], found: NDArray[Any]) -> NDArray[np.float64]:
    """Largest difference of each sample, relative to the largest finite output; infinite where one side is not."""
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(float(finite.max()) if finite.size else 0.0, 1e-12)
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(expected.astype(np.float64) - found) / scale)
    worst: NDArray[np.float64] = np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(axis=1)
    return worst


def acceptable(errors: NDArray[np.float64], network: Network, images: Sequence[Tensor], tolerance: float) -> bool:
    """Whether every sample's error is within the tolerance, or the exceptions are those of a network that jumps."""
    outside = float((errors > tolerance).mean())
    if outside == 0 or outside >= 0.5:
        return outside == 0
    expected, generator = network_outputs(network, images), torch.Generator().manual_seed(0)
    own = 0.0
    for _ in range(NUDGES):
        nudged = [batch * (1 + ROUNDING * torch.randn(batch.shape, generator=generator).to(batch)) for batch in images]
        moved = relative_errors(expected, network_outputs(network, nudged))
        own = max(own, float((moved > tolerance).mean()))
        if own > 0 and outside <= 2 * own + ALLOWANCE:
            return True
    return False


def _rows(outputs: NDArray[Any]) -> NDArray[Any]:
    return outputs.reshape(len(outputs), -1)
