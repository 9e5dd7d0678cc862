"""How much each site hurts, and how much it saves: measured once, one rewrite at a time, without training.

    efficiency of a site = loss increase when it alone is rewritten / what that saves

The loss is the mean over the calibration batches after BatchNorm has been recalibrated; the saving is the sum of the
relative savings in weight bytes, in multiply-accumulates and in time: measured on the ONNX file of the network with
this rewrite alone, or, where nothing is timed, the share of latency of the layers that vanish. Sites that save the same
bytes and the same multiply-accumulates do the same work; their median saving of time is taken for each of them, so that
the noise of a measurement does not choose between equal blocks.
Measuring the bypass itself is the most reliable criterion for removing layers (document S4); the same measurement ranks
the sites of any plugin, so a third party's gets it for nothing.

An exact rewrite that makes the network larger hurts nothing and saves nothing. What it is good for is training, and the
first step of training sees it as a larger gradient:

    efficiency of a growth = (‖∇L after‖² − ‖∇L before‖²) / what it adds

For a gated branch that is the squared gradient of the gate (Firefly, arXiv:2102.08574), for new units what GradMax
(arXiv:2201.05125) maximises; weights that were there before have the same gradient on both sides. Inputs that are
copies of one another count once: they open no direction that was not there.
"""

from __future__ import annotations

import functools
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor

from compressor.engine.apply import apply_edit
from compressor.engine.plan import Edit
from compressor.errors import ExportError, Refusal
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.cost import network_cost
from compressor.graph.leaf import Cost
from compressor.graph.network import Network
from compressor.measure.latency import QUICK, compare
from compressor.plugin import Promise, Site, sites_of
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
        return 0.0 if self.low <= 1 <= self.high else 1 - 1 / self.estimate


Timer = Callable[[Network], Speedup | None]
"""How many times as fast a network is as the one it comes from; None where that cannot be said."""


Admits = Callable[[str, Mapping[str, Any], Site], bool]
"""Whether anybody may act on a site of the plugin with this name and these options."""


@dataclass(frozen=True)
class SiteSensitivity:
    """What rewriting one site alone does; savings are shares of the whole network (negative: it grows)."""

    loss_increase: float
    bytes_saved: float
    macs_saved: float
    latency_saved: float = 0.0
    speedup: float = 0.0
    """Measured on the ONNX file of the network with this site alone rewritten; 0 where nobody timed it. What counts is
    ``latency_saved``."""
    gain: float = 0.0
    """Of an exact rewrite that enlarges the network: the squared gradient it adds to what training can follow."""

    @property
    def saving(self) -> float:
        return self.bytes_saved + self.macs_saved + self.latency_saved


@dataclass(frozen=True)
class Sensitivities:
    """By plugin (with its options) and site path."""

    entries: Mapping[str, Mapping[str, SiteSensitivity]] = field(default_factory=dict)

    def of(self, plugin: str, options: Mapping[str, Any]) -> Mapping[str, SiteSensitivity]:
        """What is known of a plugin's sites; empty when nothing was measured."""
        return self.entries.get(_key(plugin, options), {})

    def to_json(self) -> str:
        return _ADAPTER.dump_json(self, indent=1).decode()

    @staticmethod
    def from_json(text: str | bytes) -> Sensitivities:
        return _ADAPTER.validate_json(text)


def rank(paths: Sequence[str], known: Mapping[str, SiteSensitivity], follow: float) -> list[str]:
    """Sites from the most to the least worth rewriting: by loss increase to the power ``follow`` per saving.

    Sites that grow come behind those that save, by gain to the power ``follow`` per growth. ``follow`` = 0 ranks by
    saving or growth alone. Sites nobody measured come last, in their own order.
    """

    def score(path: str) -> tuple[int, float]:
        entry = known.get(path)
        if entry is not None and entry.saving > 0:
            return 0, float(max(entry.loss_increase, 1e-4) ** follow / entry.saving)
        if entry is not None and entry.gain > 0:
            return 1, -float(entry.gain**follow / max(-entry.saving, 1e-9))
        return 2, 0.0

    return sorted(paths, key=score)


def squared_gradient(network: Network, evidence: Evidence) -> float:
    """‖∇L‖² over all trainable parameters, L the mean loss over the batches in eval mode; copied inputs count once."""
    network.eval()
    parameters = [parameter for parameter in network.module.parameters() if parameter.requires_grad]
    samples = sum(len(labels) for _, labels in evidence.batches)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for images, labels in evidence.batches:
        loss = evidence.loss(network(images), labels) * len(labels) / samples
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


def measure_sensitivities(
    network: Network,
    plugins: Sequence[tuple[str, Mapping[str, Any]]],
    evidence: Evidence,
    *,
    admits: Admits = lambda name, options, site: True,
    latency_shares: Mapping[str, float] | None = None,
    timer: Timer | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Sensitivities:
    """Rewrite every site of every plugin ``(name, options)`` alone, on a fork, with default knobs, and measure.

    Sites that nobody ``admits`` are left out, and a plugin may keep some only (``Plugin.worth_measuring``). Where
    ``timer`` says nothing, ``latency_shares`` of the layers that vanish stand in.
    """
    todo: list[tuple[str, Mapping[str, Any], str]] = []
    for index, (name, options) in enumerate(plugins):
        if (name, options) in plugins[:index]:
            continue
        plugin = make(name, options)
        admitted = [site for site in sites_of(plugin, network) if admits(name, options, site)]
        sites = plugin.worth_measuring(network, admitted, evidence)
        todo += [(name, options, site.path) for site in sites]
    entries: dict[str, dict[str, SiteSensitivity]] = {_key(name, options): {} for name, options in plugins}
    before = _Before(network, evidence, evidence.mean_loss(network), latency_shares or {}, timer)
    for index, (name, options, path) in enumerate(todo):
        if progress:
            progress(f"{name} {path}", index / len(todo))
        entry = _measure_site(before, Edit(name, path, options=options))
        if entry is not None:
            entries[_key(name, options)][path] = entry
    return Sensitivities({key: _same_time_for_same_work(found) for key, found in entries.items()})


def _same_time_for_same_work(found: Mapping[str, SiteSensitivity]) -> dict[str, SiteSensitivity]:
    """Sites without multiply-accumulates (activations, pools) are as they were: nothing says that they are alike."""
    alike: dict[tuple[float, float], list[float]] = {}
    for entry in found.values():
        alike.setdefault((entry.bytes_saved, entry.macs_saved), []).append(entry.latency_saved)
    return {
        path: replace(entry, latency_saved=statistics.median(alike[entry.bytes_saved, entry.macs_saved]))
        if entry.macs_saved
        else entry
        for path, entry in found.items()
    }


def onnx_timer(baseline: bytes, batch: int = 1) -> Timer:
    """Times files against that of the network sites are rewritten on."""

    def timed(network: Network) -> Speedup | None:
        try:
            found = compare(baseline, to_onnx(network), batch=batch, protocol=QUICK)
        except ExportError:
            return None
        return Speedup(found.speedup, found.low, found.high)

    return timed


@dataclass(frozen=True, eq=False)
class _Before:
    """The network that sites are rewritten on, and its own figures."""

    network: Network
    evidence: Evidence
    loss: float
    latency_shares: Mapping[str, float]
    timer: Timer | None

    @functools.cached_property
    def cost(self) -> Cost:
        return network_cost(self.network)

    @functools.cached_property
    def squared_gradient(self) -> float:
        """Measured when first asked for, with BatchNorm recalibrated as behind a rewrite."""
        fork = self.network.fork()
        self.evidence.calibrate(fork)
        return squared_gradient(fork, self.evidence)


def _measure_site(before: _Before, edit: Edit) -> SiteSensitivity | None:
    fork = before.network.fork()
    try:
        apply_edit(fork, edit, before.evidence)
    except Refusal:
        return None
    before.evidence.calibrate(fork)
    cost = network_cost(fork)
    timed = before.timer(fork) if before.timer is not None else None
    entry = SiteSensitivity(
        loss_increase=before.evidence.mean_loss(fork) - before.loss,
        bytes_saved=1 - cost.weight_bytes / max(before.cost.weight_bytes, 1),
        macs_saved=1 - cost.mac_count / max(before.cost.mac_count, 1),
        latency_saved=_share_of_gone(before, fork) if timed is None else timed.saved,
        speedup=0.0 if timed is None else timed.estimate,
    )
    if entry.saving < 0 and make(edit.plugin, edit.options).promise is Promise.EXACT:
        entry = replace(entry, gain=squared_gradient(fork, before.evidence) - before.squared_gradient)
    return entry


def _share_of_gone(before: _Before, fork: Network) -> float:
    gone = {path for path, _ in before.network.leaves()} - {path for path, _ in fork.leaves()}
    return sum(before.latency_shares.get(path, 0.0) for path in gone)


def _key(plugin: str, options: Mapping[str, Any]) -> str:
    return plugin if not options else f"{plugin} {json.dumps(dict(options), sort_keys=True)}"


_ADAPTER: TypeAdapter[Sensitivities] = TypeAdapter(Sensitivities)
