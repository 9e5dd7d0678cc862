"""Does the ONNX file compute what the network computes?

The largest difference of every output, relative to the largest value of that output.

A network with sign functions inside (binary activations) jumps: values that rounding alone pushes over a threshold
change its output visibly, in ONNX Runtime and in torch alike. So where the plain comparison fails, the network is
compared with itself at inputs moved by one part in a million; samples may differ as often as they do there. Several
times, in other directions: a value that sits on its threshold stays on its side of it every other time.

A network of integers jumps everywhere, by a step at a time, and a file may round a bias where torch does not; what one
step does to the answers may be anything. So what it computes on the way is compared, each value from those before it
(``stepwise``). Where its file has no such values, the tolerance that it states is what its own outputs move by when all
that it rounds is moved by a two-hundredth of a step before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from compressor.errors import InputError
from compressor.graph.leaf import Leaf
from compressor.graph.nested import Inputs, map_tensors, nudged, samples, to_device
from compressor.graph.network import Network
from compressor.measure.session import OnnxModel
from compressor.measure.stepwise import held_step, stepwise

ROUNDING = 1e-6
"""Relative size of the nudge that shows whether a network jumps: some float32 rounding errors in a row."""
NUDGES = 8
"""How often it is moved; one sample on a threshold stays unnoticed once in 256."""
JITTER = 1 / 200
"""Of a step: by how much values are moved before they are rounded. Rounding a bias moves them by less."""
PROBABILITY = 0.01
"""Outputs of a closing sigmoid are held to this scale at least."""
_PROBABILITIES = (nn.Sigmoid, nn.Hardsigmoid)
MARGIN = 2.0
"""How much more than that the file may be off."""
LOOSEST = 0.05
"""Of an output's scale: a larger difference is none that a network could state for itself."""
ALLOWANCE = 0.02
"""Share of samples that may differ beyond what the nudge makes differ, once a network is known to jump."""


@dataclass(frozen=True)
class Parity:
    """``max_error``: largest difference relative to the largest value of the same output. ``outside``: share of samples
    with an error beyond the tolerance; nonzero and ok only if the network jumps. ``errors``: the largest error of each
    output by its name.
    """

    max_error: float
    samples: int
    ok: bool
    outside: float = 0.0
    errors: Mapping[str, float] = field(default_factory=dict)
    stepwise: bool = False
    """Whether it is each value on the way that was compared, since the answers of integers jump."""


def numeric_parity(
    network: Network, model: bytes, batches: Iterable[Inputs | Sequence[Any]], tolerance: float = 1e-4
) -> Parity:
    """Compare all outputs in eval mode on ``batches``: what the network takes, alone or paired with targets.

    The network's mode is put back afterwards. Raises ``InputError`` when there is not one sample.
    """
    fed = [network.signature.inputs_in(batch) for batch in batches]
    if not sum(map(samples, fed)):
        raise InputError("parity needs at least one sample")
    expected = network_outputs(network, fed)
    found = file_outputs(OnnxModel(model), network, fed)
    each = [
        relative_errors(one, other, _least(network, node))
        for one, other, node in zip(expected, found, network.output_nodes, strict=True)
    ]
    errors = np.max(each, axis=0)
    outside = float((errors > tolerance).mean())
    by_steps = outside > 0 and any(held_step(network, node) for node in network.graph.nodes)
    ok = by_steps and follows(network, model, fed, tolerance)
    if not ok and (not by_steps or _takes_signs(network)):
        allowed = max(tolerance, min(stated_tolerance(network, fed), LOOSEST))
        outside, by_steps = float((errors > allowed).mean()), False
        ok = acceptable(errors, network, fed, allowed)
    named = {spec.name: float(one.max()) for spec, one in zip(network.signature.outputs, each, strict=True)}
    return Parity(float(errors.max()), len(errors), ok, outside, named, by_steps)


def follows(network: Network, model: bytes, batches: Sequence[Inputs], tolerance: float) -> bool:
    """Whether the file computes every value that the network of integers holds to steps as the network does."""
    training, device = network.module.training, network.device
    network.eval()
    try:
        for batch in batches:
            found = stepwise(network, model, (to_device(batch, device), file_input(network, batch)), JITTER)
            if found is None or not found.ok(tolerance):
                return False
        return True
    finally:
        network.train(training)


def _least(network: Network, node: fx.Node) -> float:
    """The scale of an output whose values lie between 0 and 1: all of them may be small, as where there is no object.

    ONNX Runtime and torch approximate these functions near their limits, each in its own way.
    """
    while node.op == "call_module" and isinstance(network.leaf(str(node.target)), nn.Flatten):
        (node,) = node.all_input_nodes
    closes = node.op == "call_module" and isinstance(network.leaf(str(node.target)), _PROBABILITIES)
    return PROBABILITY if closes else 1e-12


def _takes_signs(network: Network) -> bool:
    return any(isinstance(leaf, Leaf) and leaf.takes_signs for _, leaf in network.leaves())


def file_outputs(model: OnnxModel, network: Network, batches: Iterable[Inputs]) -> list[NDArray[Any]]:
    """Outputs (N, K) of the network's exported file, each with other dimensions flattened."""
    return _together([model.run(file_input(network, batch)) for batch in batches])


def stated_tolerance(network: Network, batches: Sequence[Inputs]) -> float:
    """Largest relative error that is a matter of rounding in a network of integers; 0 for one of floats."""
    rounding = [leaf for _, leaf in network.leaves() if isinstance(leaf, Leaf) and leaf.rounds_values]
    if not rounding:
        return 0.0
    expected, largest = network_outputs(network, batches), 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            for leaf in rounding:
                leaf.jitter = JITTER
            for _ in range(NUDGES):
                largest = max(largest, float(worst_errors(expected, network_outputs(network, batches)).max()))
        finally:
            for leaf in rounding:
                leaf.jitter = 0.0
    return MARGIN * largest


def network_outputs(network: Network, batches: Iterable[Inputs]) -> list[NDArray[Any]]:
    """Eval-mode outputs (N, K), each with other dimensions flattened."""
    training, device = network.module.training, network.device
    network.eval()
    try:
        with torch.inference_mode():
            found = [network.signature.flatten(network(to_device(batch, device))) for batch in batches]
            return _together([[output.cpu().numpy() for output in outputs] for outputs in found])
    finally:
        network.train(training)


def file_input(network: Network, inputs: Inputs) -> Inputs:
    """What the network's exported file takes where the network takes ``inputs``: pixels where it normalises them."""
    known = network.signature.normalisation
    if known is None:
        return inputs
    first, *rest = network.signature.tensors(inputs)
    return network.signature.inputs_of([known.file_input(first), *rest])


def worst_errors(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """Of each sample, the largest error of any output."""
    worst: NDArray[np.float64] = np.max([relative_errors(*pair) for pair in zip(expected, found, strict=True)], axis=0)
    return worst


def relative_errors(expected: NDArray[Any], found: NDArray[Any], least: float = 1e-12) -> NDArray[np.float64]:
    """Largest difference of each sample, relative to the largest finite output, or to ``least`` where all are smaller.

    Infinite where one side is not finite.
    """
    finite = np.abs(expected[np.isfinite(expected)])
    scale = max(float(finite.max()) if finite.size else 0.0, least)
    same = (expected == found) | (np.isnan(expected) & np.isnan(found))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(expected.astype(np.float64) - found) / scale)
    worst: NDArray[np.float64] = np.nan_to_num(difference, nan=np.inf, posinf=np.inf).max(axis=1)
    return worst


def acceptable(errors: NDArray[np.float64], network: Network, batches: Sequence[Inputs], tolerance: float) -> bool:
    """Whether every sample's error is within the tolerance, or the exceptions are those of a network that jumps."""
    outside = float((errors > tolerance).mean())
    if outside == 0 or outside >= 0.5:
        return outside == 0
    expected, generator = network_outputs(network, batches), torch.Generator().manual_seed(0)
    own = 0.0
    for _ in range(NUDGES):
        moved = [map_tensors(lambda value: nudged(value, ROUNDING, generator), batch) for batch in batches]
        gaps = worst_errors(expected, network_outputs(network, moved))
        own = max(own, float((gaps > tolerance).mean()))
        if own > 0 and outside <= 2 * own + ALLOWANCE:
            return True
    return False


def _together(batches: Sequence[Sequence[NDArray[Any]]]) -> list[NDArray[Any]]:
    """Each output over all batches, a row for each sample."""
    return [np.concatenate([rows.reshape(len(rows), -1) for rows in parts]) for parts in zip(*batches, strict=True)]
