"""What a network is made of: the cost of every layer, and where each plugin can act on it and where it will not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from compressor.engine.policy import admitted
from compressor.engine.space import PhaseSpec, PluginUse, uses_of
from compressor.errors import ExportError
from compressor.export.emit import to_onnx
from compressor.graph.cost import layer_costs
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.measure.layers import OTHER, latency_shares
from compressor.plugin import Plugin, Refused, Site, refusals_of, sites_of
from compressor.registry import Broken, make, status


@dataclass(frozen=True)
class Layer:
    """One call of a leaf and what it costs for one sample. ``share``: of ONNX Runtime's time; None if unknown."""

    path: str
    kind: str
    input: Shape
    output: Shape
    params: int
    macs: int
    bytes: float
    share: float | None


@dataclass(frozen=True)
class Anatomy:
    """A network taken apart. ``size_bytes`` is that of its ONNX file, None where it has no ONNX form."""

    source: str
    input: Shape
    params: int
    macs: int
    size_bytes: int | None
    layers: tuple[Layer, ...]
    other_share: float
    """Share of the time that belongs to no leaf: sums, concatenations."""
    sites: Mapping[str, tuple[Site, ...]] = field(default_factory=dict)
    refused: Mapping[str, tuple[Refused, ...]] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    """Plugins that cannot be asked, with the reason."""
    notes: tuple[str, ...] = ()


def examine(network: Network, phases: Iterable[PhaseSpec] | None = None) -> Anatomy:
    """Take ``network`` apart, as the plugins of ``phases`` see it, or else every installed one with its defaults."""
    size, shares, notes = _in_onnx(network)
    layers = _layers(network, shares)
    uses, broken = _installed() if phases is None else _of_recipe(phases)
    sites: dict[str, tuple[Site, ...]] = {}
    refused: dict[str, tuple[Refused, ...]] = {}
    for title, (plugin, use) in uses.items():
        try:
            sites[title] = tuple(admitted(sites_of(plugin, network), use.only, use.skip))
            refused[title] = tuple(refusals_of(plugin, network))
        except Exception as error:  # a plugin is foreign code and may raise anything
            sites.pop(title, None)
            broken[title] = f"looking for sites raised {type(error).__name__}: {error}"
    return Anatomy(
        source=network.source,
        input=network.spec.shape,
        params=network.parameter_count,
        macs=sum(layer.macs for layer in layers),
        size_bytes=size,
        layers=layers,
        other_share=shares.get(OTHER, 0.0),
        sites=sites,
        refused=refused,
        broken=broken,
        notes=notes,
    )


def _in_onnx(network: Network) -> tuple[int | None, Mapping[str, float], tuple[str, ...]]:
    """Size of the ONNX file, shares of its time, and what stands in the way of both."""
    try:
        return len(to_onnx(network)), latency_shares(network), ()
    except ExportError as error:
        return None, {}, (f"no ONNX form, so neither its size nor shares of time: {error}",)


def _layers(network: Network, shares: Mapping[str, float]) -> tuple[Layer, ...]:
    left = dict(shares)
    return tuple(
        Layer(
            path=layer.path,
            kind=layer.kind,
            input=layer.input,
            output=layer.output,
            params=layer.cost.parameter_count,
            macs=layer.cost.mac_count,
            bytes=layer.cost.weight_bytes,
            share=left.pop(layer.path, 0.0) if shares else None,
        )
        for layer in layer_costs(network)
    )


_Uses = dict[str, tuple[Plugin, PluginUse]]


def _installed() -> tuple[_Uses, dict[str, str]]:
    uses: _Uses = {}
    broken: dict[str, str] = {}
    for entry in status():
        name = entry.found.name
        if isinstance(entry, Broken):
            broken[name] = entry.reason
        else:
            uses[name] = (make(name), PluginUse(name))
    return uses, broken


def _of_recipe(phases: Iterable[PhaseSpec]) -> tuple[_Uses, dict[str, str]]:
    """Plugins by name, or by phase and name where one is used more than once."""
    pairs = list(uses_of(phases))
    names = [use.name for _, use in pairs]
    uses = {
        use.name if names.count(use.name) == 1 else switch: (make(use.name, use.options), use) for switch, use in pairs
    }
    return uses, {}
