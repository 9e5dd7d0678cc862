"""Cheap scores of spans: how much the network would miss each, told from one pass over the calibration data.

    gamma       mean |γ| of the span's last BatchNorm
    influence   1 − E cos(x, y)                  y the span's value, x what stands in for it: its input, pooled to size
    angle       E arccos(cos(x, y)) / π
    probe       e(x) − e(y)                      e: squared error, held out, of a ridge classifier on pooled features
    taylor      E |Σ ∂L/∂y · (y − x)|            the loss that goes with the span, to first order; Σ ∂L/∂y · y where the
                                                 channels differ and x cannot stand in

Small is dispensable. What bypassing a span does is measured by the engine, and decides; these say where that is worth
the time. Sources: Lee, "Self-Optimizing Networks"; block influence: Men et al., arXiv:2403.03853; angular distance:
Gromov et al., arXiv:2403.17887; linear probes: Alain & Bengio, arXiv:1610.01644; Taylor: Molchanov et al.,
arXiv:1611.06440.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, fx
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.evidence import Batch, Evidence
from compressor.graph.nested import Inputs, Nested, joined, rows, samples
from compressor.graph.network import Network
from compressor.graph.repair import pooling
from compressor_plugins.common.calibration import MOST_VALUES
from compressor_plugins.common.layout import channel_dim, meets, width
from compressor_plugins.common.neighbours import leaf_at
from compressor_plugins.common.spans import Span
from compressor_plugins.layer_removal.least_squares import fit_affine

ScoreName = Literal["gamma", "influence", "angle", "probe", "taylor"]
PROBE_RIDGE = 0.1


def span_scores(score: ScoreName, network: Network, spans: Sequence[Span], evidence: Evidence) -> dict[Span, float]:
    """The score of each span it can judge; the others are missing. The network is in eval mode afterwards."""
    return SCORES[score](network, spans, evidence)


def gamma(network: Network, spans: Sequence[Span], evidence: Evidence) -> dict[Span, float]:
    found = {}
    for span in spans:
        norms = [leaf for node in span.nodes if isinstance(leaf := leaf_at(network, node), _BatchNorm)]
        if norms and norms[-1].affine:
            found[span] = float(norms[-1].weight.detach().abs().mean())
    return found


def influence(network: Network, spans: Sequence[Span], evidence: Evidence) -> dict[Span, float]:
    return _mean_over_samples(network, spans, evidence, lambda cosine: 1 - cosine)


def angle(network: Network, spans: Sequence[Span], evidence: Evidence) -> dict[Span, float]:
    return _mean_over_samples(network, spans, evidence, lambda cosine: cosine.clamp(-1, 1).arccos() / math.pi)


def probe(network: Network, spans: Sequence[Span], evidence: Evidence) -> dict[Span, float]:
    nodes = _unique(node for span in spans for node in (span.source, span.last))
    features: dict[fx.Node, list[Tensor]] = defaultdict(list)
    targets = []
    for values, target in _values(network, nodes, evidence):
        targets.append(target)
        for node in nodes:
            features[node].append(_pooled(values[node], channel_dim(network, node) + 1))
    wanted = _as_numbers(joined(targets)) if targets else None
    if wanted is None or len(wanted) < 2:
        return {}
    errors = {node: _held_out_error(torch.cat(features[node]).flatten(1), wanted) for node in nodes}
    return {span: errors[span.source] - errors[span.last] for span in spans}


def taylor(network: Network, spans: Sequence[Span], evidence: Evidence) -> dict[Span, float]:
    nodes = _unique(node for span in spans for node in (span.source, span.last))
    totals = dict.fromkeys(spans, 0.0)
    count = 0
    network.eval()
    task = evidence.task.fitted(network)
    for inputs, target in _chunks(network, nodes, evidence):
        values, outputs = _differentiable(network, nodes, inputs)
        loss = task.loss(outputs, target) * samples(inputs)
        lasts = _unique(span.last for span in spans)
        gradients = torch.autograd.grad(loss, [values[node] for node in lasts], allow_unused=True)
        slope = dict(zip(lasts, gradients, strict=True))
        for span in spans:
            if slope[span.last] is not None:
                missed = values[span.last].detach()
                if agrees(network, span):
                    missed = missed - stand_in(network, span, values[span.source].detach())
                totals[span] += float((slope[span.last] * missed).flatten(1).sum(1).abs().sum())
        count += samples(inputs)
    return {span: total / max(count, 1) for span, total in totals.items()}


SCORES: Mapping[str, Callable[[Network, Sequence[Span], Evidence], dict[Span, float]]] = {
    "gamma": gamma, "influence": influence, "angle": angle, "probe": probe, "taylor": taylor,
}  # fmt: skip


# --- steps -----------------------------------------------------------------------------------------------------------


def agrees(network: Network, span: Span) -> bool:
    """Whether the span's input, pooled where space shrinks, has the shape of its value."""
    return meets(network, span.source, span.last) and width(network, span.source) == width(network, span.last)


def stand_in(network: Network, span: Span, value: Tensor) -> Tensor:
    """The span's input ``(N, C, …)`` in the size of its value."""
    given, wanted = network.shape(span.source), network.shape(span.last)
    if given == wanted:
        return value
    pooled: Tensor = pooling(given[1:], wanted[1:])(value)
    return pooled


def _mean_over_samples(
    network: Network, spans: Sequence[Span], evidence: Evidence, distance: Callable[[Tensor], Tensor]
) -> dict[Span, float]:
    judged = [span for span in spans if agrees(network, span)]
    totals = dict.fromkeys(judged, 0.0)
    count = 0
    for values, _ in _values(network, _unique(n for span in judged for n in (span.source, span.last)), evidence):
        for span in judged:
            x, y = stand_in(network, span, values[span.source]).flatten(1), values[span.last].flatten(1)
            totals[span] += float(distance(F.cosine_similarity(x, y)).sum())
        count += len(next(iter(values.values()), ()))
    return {span: total / max(count, 1) for span, total in totals.items()}


def _values(
    network: Network, nodes: Sequence[fx.Node], evidence: Evidence
) -> Iterator[tuple[dict[fx.Node, Tensor], Any]]:
    """Eval-mode values of the nodes and the targets, a few samples at a time."""
    for inputs, target in _chunks(network, nodes, evidence):
        values = Evidence([(inputs, target)]).activations(network, nodes)
        yield {node: values[node.name] for node in nodes}, target


def _chunks(network: Network, nodes: Sequence[fx.Node], evidence: Evidence) -> Iterator[Batch]:
    """The batches, in parts whose values at all nodes together are within the bound on memory."""
    size = max(MOST_VALUES // max(sum(math.prod(network.shape(node)) for node in nodes), 1), 1)
    for inputs, target in evidence.batches:
        for start in range(0, samples(inputs), size):
            part = slice(start, start + size)
            yield rows(inputs, part), rows(target, part)


def _as_numbers(target: Any) -> Tensor | None:
    """Targets as rows of numbers ``(N, K)`` that a linear layer can be fitted to: kinds as one of K, None for boxes."""
    if not isinstance(target, Tensor):
        return None
    if target.dtype == torch.int64 and target.ndim == 1:
        return F.one_hot(target).double()
    return target.double().flatten(1)


def _differentiable(network: Network, nodes: Sequence[fx.Node], inputs: Inputs) -> tuple[dict[fx.Node, Tensor], Nested]:
    """Values of the nodes, and the outputs, through which gradients flow."""
    found: dict[fx.Node, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            value: object = super().run_node(n)
            if n in wanted and isinstance(value, Tensor):
                found[n] = value
            return value

    wanted = set(nodes)
    with torch.enable_grad():
        outputs = Recorder(network.root).run(*(_with_gradient(x) for x in network.signature.tensors(inputs)))
    return found, outputs


def _with_gradient(x: Tensor) -> Tensor:
    return x.detach().requires_grad_(x.is_floating_point())


def _held_out_error(features: Tensor, wanted: Tensor) -> float:
    """Mean squared error of a ridge classifier fitted on every second sample, on the others, both ways."""
    features = features.double()
    features = (features - features.mean(0)) / features.std(0).clamp_min(1e-6)
    total = 0.0
    for start in (0, 1):
        matrix, shift = fit_affine(features[start::2], wanted[start::2], ridge=PROBE_RIDGE)
        rest = slice(1 - start, None, 2)
        total += float((features[rest] @ matrix.T + shift - wanted[rest]).square().sum())
    return total / len(wanted)


def _pooled(value: Tensor, channels: int) -> Tensor:
    """The mean of every channel, which lie along dimension ``channels``: (N, C)."""
    return value.movedim(channels, 1).flatten(2).mean(2) if value.dim() > 2 else value


def _unique(nodes: Iterable[fx.Node]) -> list[fx.Node]:
    return list(dict.fromkeys(nodes))
