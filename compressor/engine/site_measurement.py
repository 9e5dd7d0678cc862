"""Measuring sensitivities, step by step: what to measure, one site alone, and what equal sites share.

``measure_sensitivities`` takes all steps here; the search hands each site to a worker. Either way a site is a question
of its own, whose answer is plain data and depends on nothing that was measured of another site.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from compressor.engine.apply import acting, apply_edit
from compressor.engine.knob_values import knob_values
from compressor.engine.plan import Edit
from compressor.engine.sensitivity import Admits, Sensitivities, SiteSensitivity, key_of
from compressor.errors import ExportError, Refusal
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.cost import network_cost
from compressor.graph.nested import samples
from compressor.graph.network import Network
from compressor.knobs import Choices
from compressor.measure.latency import QUICK, compare
from compressor.plugin import Promise, sites_of
from compressor.registry import make


@dataclass(frozen=True)
class Speedup:
    """How many times as fast, and the interval that holds it."""

    estimate: float
    low: float
    high: float

    @property
    def saved(self) -> float:
        """Share of the time that goes; 0 where it is not certain which of the two is faster."""
        certain = self.estimate > 0 and (self.low > 1 or self.high < 1)
        return 1 - 1 / self.estimate if certain else 0.0


Timer = Callable[[Network], Speedup | None]
"""How many times as fast a network is as the one it comes from; None where that cannot be said."""
Fixed = Callable[[str, Mapping[str, Any]], Sequence[Choices]]
"""Of each use of the plugin with this name and these options, the values of knobs that are not to be chosen."""


@dataclass(frozen=True)
class Reference:
    """The unchanged network, which every site is held against."""

    loss: float
    seconds: float
    """What one pass over the calibration data takes."""
    weight_bytes: float
    macs: int
    squared_gradient: float | None = None
    """With BatchNorm recalibrated as behind a rewrite; None where nothing may ask for it."""


def measure_sensitivities(
    network: Network,
    plugins: Sequence[tuple[str, Mapping[str, Any]]],
    evidence: Evidence,
    *,
    admits: Admits = lambda name, options, site: True,
    latency_shares: Mapping[str, float] | None = None,
    timer: Timer | None = None,
    progress: Callable[[str, float], None] | None = None,
    fixed: Fixed = lambda name, options: ({},),
) -> Sensitivities:
    """Rewrite every site of every plugin ``(name, options)`` alone, on a fork, at each value of its knobs, and measure.

    Sites that nobody ``admits`` are left out, and a plugin may keep some only (``Plugin.worth_measuring``). Where
    ``timer`` says nothing, ``latency_shares`` of the layers that vanish stand in.
    """
    different = [pair for index, pair in enumerate(plugins) if pair not in plugins[:index]]
    todo = [edit for pair in different for edit in shortlist(*pair, network, evidence, admits, fixed(*pair))]
    before = reference(network, evidence, gradient=any(adds_exactly(*pair) for pair in different))
    found: SiteFindings = {key_of(name, options): {} for name, options in different}
    for index, edit in enumerate(todo):
        if progress:
            progress(f"{edit.plugin} {edit.site}", index / len(todo))
        entry = measure_site(edit, network, evidence, before, latency_shares=latency_shares, timer=timer)
        if entry is not None:
            found[key_of(edit.plugin, edit.options)].setdefault(edit.site, []).append(entry)
    return settled(found)


def shortlist(
    name: str,
    options: Mapping[str, Any],
    network: Network,
    evidence: Evidence,
    admits: Admits,
    fixed: Sequence[Choices],
) -> list[Edit]:
    """The edits to measure: the sites that somebody admits, as far as the plugin finds them worth it, at each value of
    their knobs; all sites at their first values, then at others. ``fixed``: as ``knob_values`` has it.
    """
    with acting(name):
        plugin = make(name, options)
        admitted = [site for site in sites_of(plugin, network) if admits(name, options, site)]
        worth = plugin.worth_measuring(network, admitted, evidence)
        choices = [(str(site.path), knob_values(site.knobs, fixed)) for site in worth]
    firsts = [Edit(name, path, first, options) for path, (first, *_) in choices]
    return firsts + [Edit(name, path, choice, options) for path, (_, *more) in choices for choice in more]


def adds_exactly(name: str, options: Mapping[str, Any]) -> bool:
    """Whether the plugin may enlarge a network without changing what it computes, so that its gradient counts."""
    return make(name, options).promise is Promise.EXACT


def reference(network: Network, evidence: Evidence, *, gradient: bool) -> Reference:
    """What sites are held against; ``gradient``: the squared gradient too."""
    start = time.perf_counter()
    loss = evidence.mean_loss(network)
    seconds = time.perf_counter() - start
    cost = network_cost(network)
    unchanged = Reference(loss, seconds, cost.weight_bytes, cost.mac_count)
    if not gradient:
        return unchanged
    fork = network.fork()
    evidence.calibrate(fork)
    return replace(unchanged, squared_gradient=squared_gradient(fork, evidence))


def measure_site(
    edit: Edit,
    network: Network,
    evidence: Evidence,
    before: Reference,
    *,
    latency_shares: Mapping[str, float] | None = None,
    timer: Timer | None = None,
    saved: float | None = None,
) -> SiteSensitivity | None:
    """What ``edit`` alone does to a fork of ``network``; None where it is refused.

    ``saved``: the share of the time that it saves, where that is known already; then nothing is timed.
    """
    fork = network.fork()
    try:
        apply_edit(fork, edit, evidence)
    except Refusal:
        return None
    with acting(edit.plugin, edit.site):  # layers of the plugin's own run from here on
        grows = adds_exactly(edit.plugin, edit.options)  # its gradient is held against that of the whole calibrated
        evidence.calibrate(fork, since=None if grows else network)
        cost = network_cost(fork)
        timed = timer(fork) if timer is not None and saved is None else None
        if saved is None:
            saved = _share_of_gone(network, fork, latency_shares or {}) if timed is None else timed.saved
        entry = SiteSensitivity(
            loss_increase=evidence.mean_loss(fork) - before.loss,
            bytes_saved=1 - cost.weight_bytes / max(before.weight_bytes, 1),
            macs_saved=1 - cost.mac_count / max(before.macs, 1),
            latency_saved=saved,
            speedup=0.0 if timed is None else timed.estimate,
            choice=edit.choice,
        )
        if entry.saving < 0 and before.squared_gradient is not None and grows:
            entry = replace(entry, gain=squared_gradient(fork, evidence) - before.squared_gradient)
    return entry


SiteFindings = dict[str, dict[str, list[SiteSensitivity]]]
"""By plugin with its options, and by site: what was measured, that of the first values first."""


def settled(found: SiteFindings, failed: Mapping[str, Mapping[str, str]] | None = None) -> Sensitivities:
    """All that was measured, once all of it was: sites that do the same work share the median of their time."""
    return Sensitivities({key: _same_time_for_same_work(entries) for key, entries in found.items()}, failed or {})


def _same_time_for_same_work(found: Mapping[str, Sequence[SiteSensitivity]]) -> dict[str, SiteSensitivity]:
    """Sites without multiply-accumulates (activations, pools) are as they were: nothing says that they are alike."""
    alike: dict[tuple[float, float], list[float]] = {}
    for entry in (entry for measured in found.values() for entry in measured if entry.is_finite):
        alike.setdefault((entry.bytes_saved, entry.macs_saved), []).append(entry.latency_saved)

    def shared(entry: SiteSensitivity) -> SiteSensitivity:
        if not (entry.macs_saved and entry.is_finite):
            return entry
        return replace(entry, latency_saved=statistics.median(alike[entry.bytes_saved, entry.macs_saved]))

    return {path: _joined([shared(entry) for entry in measured]) for path, measured in found.items()}


def _joined(measured: Sequence[SiteSensitivity]) -> SiteSensitivity:
    first, *others = measured
    return replace(first, others=tuple(others))


def onnx_timer(baseline: bytes, batch: int = 1) -> Timer:
    """Times files against that of the network sites are rewritten on."""

    def timed(network: Network) -> Speedup | None:
        try:
            found = compare(baseline, to_onnx(network), batch=batch, protocol=QUICK)
        except ExportError:
            return None
        return Speedup(found.speedup, found.low, found.high)

    return timed


def squared_gradient(network: Network, evidence: Evidence) -> float:
    """‖∇L‖² over all trainable parameters, L the mean loss over the batches in eval mode; copied inputs count once."""
    network.eval()
    task = evidence.task.fitted(network)
    with evidence.at_work(network) as batches:
        parameters = [parameter for parameter in network.module.parameters() if parameter.requires_grad]
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for inputs, target in batches:
            loss = task.loss(network(inputs), target) * samples(inputs) / evidence.count
            for sum_, part in zip(total, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
                if part is not None:
                    sum_ += part
    return sum(float(_distinct_inputs(gradient).square().sum()) for gradient in total)


def _distinct_inputs(gradient: Tensor) -> Tensor:
    """The gradient of a weight ``(outputs, inputs, …)`` without inputs whose gradient is that of another input.

    Copies are found by their projections on a random direction, which sorting brings together.
    """
    if gradient.dim() < 2:
        return gradient
    inputs = gradient.transpose(0, 1).flatten(1)
    direction = torch.randn(inputs.shape[1], generator=torch.Generator().manual_seed(0)).to(inputs)
    order = (inputs @ direction).argsort()
    near = inputs[order]
    gap = (near[1:] - near[:-1]).norm(dim=1)
    return torch.cat([near[:1], near[1:][gap > 1e-4 * near[1:].norm(dim=1)]])


def _share_of_gone(network: Network, fork: Network, shares: Mapping[str, float]) -> float:
    gone = {path for path, _ in network.leaves()} - {path for path, _ in fork.leaves()}
    return sum(shares.get(path, 0.0) for path in gone)
