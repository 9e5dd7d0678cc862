"""Did a rewrite keep what its plugin promised? Compared in eval mode, on calibration batches.

    exact        max |after − before| ≤ 5e-5 · max |before|: float32 rounds to 6e-8, which reordered sums carry through
                 a deep network to some 1e-5 (7e-6 in a 16-layer VGG); a wrong rewrite is off by 1e-2 and more
    approximate  Σ (a − b)² < Σ b², a and b being after and before less their means over the batch: what follows the
                 input is closer to what it was than no answer to the input would be. BatchNorm statistics may be
                 re-estimated first, which is no training
    trained      finite outputs of the right shape, nothing more

A rewrite that changed neither structure nor weights breaks every promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from compressor.errors import BrokenPromise
from compressor.graph.network import Network
from compressor.graph.shape_rules.dry_run import undisturbed

if TYPE_CHECKING:
    from compressor.evidence import Evidence
    from compressor.plugin import Promise

EXACT_TOLERANCE = 5e-5
"""Largest difference relative to the largest output."""
APPROXIMATE_LIMIT = 1.0
"""Largest share of the output's variance that may be lost."""

STILL = 1e-12
"""Share of its mean square below which the variance of an output is rounding."""

_Batches = Iterable[Any]
"""What the networks take, alone or first in pairs with targets."""


def difference(before: Network, after: Network, batches: _Batches) -> float:
    """Largest absolute difference of an output in eval mode, relative to its largest absolute value in ``before``.

    Infinite where the outputs differ in shape or are not finite.
    """
    gaps, scales = [0.0] * len(before.signature.outputs), [0.0] * len(before.signature.outputs)
    for pairs in _outputs(before, after, batches):
        for at, (expected, actual) in enumerate(pairs):
            if expected.shape != actual.shape or not bool(actual.isfinite().all()):
                return float("inf")
            gaps[at] = max(gaps[at], float((actual - expected).abs().max()))
            scales[at] = max(scales[at], float(expected.abs().max()))
    least = torch.finfo(torch.float32).tiny
    return max(gap / max(scale, least) for gap, scale in zip(gaps, scales, strict=True))


def variance_lost(before: Network, after: Network, batches: _Batches) -> float:
    """Σ (a − b)² / Σ b² of eval outputs a (after) and b (before), each less its mean: 0 equal, 1 like a constant.

    Of several outputs, the largest; one that no input moves says nothing of how the input is followed.
    """
    found = zip(*_outputs(before, after, batches), strict=True)
    pairs = [(torch.cat([e for e, _ in parts]), torch.cat([a for _, a in parts])) for parts in found]
    if any(e.shape != a.shape or not bool(a.isfinite().all()) for e, a in pairs):
        return float("inf")
    moved = [pair for pair in pairs if _spread(pair[0]) > STILL * float(pair[0].square().sum())]
    return max(_lost(expected, actual) for expected, actual in moved or pairs)


def _lost(expected: Tensor, actual: Tensor) -> float:
    expected, actual = expected - expected.mean(0), actual - actual.mean(0)
    return float((actual - expected).square().sum() / expected.square().sum().clamp(min=1e-30))


def _spread(values: Tensor) -> float:
    return float((values - values.mean(0)).square().sum())


def differs(before: Network, after: Network) -> bool:
    """Whether the two differ in structure, in a leaf's settings, or in the value of any weight."""
    if _structure(before) != _structure(after):
        return True
    old, new = before.module.state_dict(), after.module.state_dict()
    return old.keys() != new.keys() or any(not torch.equal(value, new[name]) for name, value in old.items())


def check_promise(promise: Promise, before: Network, after: Network, evidence: Evidence) -> None:
    """Raises ``BrokenPromise`` with the measured figure when ``after`` is not what a plugin promised of it.

    Neither network is changed.
    """
    if not differs(before, after):
        raise BrokenPromise("nothing changed")
    match promise.value:
        case "exact":
            gap = difference(before, after, evidence.batches)
            if not gap <= EXACT_TOLERANCE:
                raise BrokenPromise(f"promised the same function, but outputs differ by {gap:.2g} of their scale")
        case "approximate":
            lost = variance_lost(before, after, evidence.batches)
            if not lost < APPROXIMATE_LIMIT:
                lost = min(lost, _variance_lost_recalibrated(before, after, evidence))
            if not lost < APPROXIMATE_LIMIT:
                raise BrokenPromise(f"promised about the same function, but lost {lost:.2g} of the outputs' variance")
        case _:
            if difference(before, after, evidence.batches) == float("inf"):
                raise BrokenPromise("the outputs are not finite, or have another shape")


def _variance_lost_recalibrated(before: Network, after: Network, evidence: Evidence) -> float:
    candidate = after.fork()
    evidence.calibrate(candidate, since=before)
    return variance_lost(before, candidate, evidence.batches)


def _outputs(before: Network, after: Network, batches: _Batches) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Each output of both, batch by batch, as real numbers."""
    with undisturbed(before.module), undisturbed(after.module):
        for batch in batches:
            inputs = before.signature.inputs_in(batch)
            found = [network.signature.flatten(network(inputs)) for network in (before, after)]
            yield [(_real(expected), _real(actual)) for expected, actual in zip(*found, strict=True)]


def _real(values: Tensor) -> Tensor:
    return values if values.is_floating_point() else values.float()


def _structure(network: Network) -> list[tuple[str, str, str, str]]:
    modules = dict(network.calls())
    return [
        (node.op, str(node.target), str((node.args, node.kwargs)), repr(modules.get(node)))
        for node in network.graph.nodes
    ]
