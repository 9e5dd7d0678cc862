"""What a network is made of: the cost of every layer, and where each plugin can act on it and where it will not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from compressor.engine.policy import admitted
from compressor.engine.space import PhaseSpec, PluginUse, uses_of
from compressor.engine.survey import PLUGIN_SECONDS, surveyor
from compressor.errors import ExportError
from compressor.export.emit import to_onnx
from compressor.graph.cost import layer_costs
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.graph.signature import TensorSpec
from compressor.graph.steps import Place, regions_of
from compressor.measure.layers import OTHER, latency_shares
from compressor.plugin import Refused, Site
from compressor.registry import discover


@dataclass(frozen=True)
class LayerShare:
    """One call of a leaf and what it costs for one sample. ``share``: of ONNX Runtime's time; None if unknown."""

    path: str
    kind: str
    input: Shape
    output: Shape
    params: int
    macs: int
    bytes: float
    share: float | None
    integers: Place | None = None
    """Where it computes in integers: which region, and whether values enter or leave there."""


@dataclass(frozen=True)
class Anatomy:
    """A network taken apart. ``size_bytes`` is that of its ONNX file, None where it has no ONNX form."""

    source: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    params: int
    macs: int
    size_bytes: int | None
    layers: tuple[LayerShare, ...]
    other_share: float
    """Share of the time that belongs to no leaf: sums, concatenations."""
    sites: Mapping[str, tuple[Site, ...]] = field(default_factory=dict)
    refused: Mapping[str, tuple[Refused, ...]] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    """Plugins that cannot be asked, with the reason."""
    notes: tuple[str, ...] = ()


def examine(network: Network, phases: Iterable[PhaseSpec] | None = None, seconds: float = PLUGIN_SECONDS) -> Anatomy:
    """Take ``network`` apart, as the plugins of ``phases`` see it, or else every installed one with its defaults.

    Each plugin may take ``seconds``; one that fails is among the ``broken``.
    """
    size, shares, notes = _in_onnx(network)
    layers = _layers(network, shares)
    uses = _installed() if phases is None else _of_recipe(phases)
    broken: dict[str, str] = {}
    sites: dict[str, tuple[Site, ...]] = {}
    refused: dict[str, tuple[Refused, ...]] = {}
    answers = surveyor(network, seconds)([(use.name, use.options) for use in uses.values()])
    for (title, use), answer in zip(uses.items(), answers, strict=True):
        if answer.failure:
            broken[title] = answer.failure
        else:
            sites[title], refused[title] = tuple(admitted(answer.sites, use.only, use.skip)), answer.refused
    return Anatomy(
        source=network.source,
        inputs=network.signature.inputs,
        outputs=network.signature.outputs,
        params=network.parameter_count,
        macs=sum(layer.macs for layer in layers),
        size_bytes=size,
        layers=layers,
        other_share=shares.get(OTHER, 0.0),
        sites=sites,
        refused=refused,
        broken=broken,
        notes=(*network.notes, *notes),
    )


def _in_onnx(network: Network) -> tuple[int | None, Mapping[str, float], tuple[str, ...]]:
    """Size of the ONNX file, shares of its time, and what stands in the way of both."""
    try:
        return len(to_onnx(network)), latency_shares(network), ()
    except ExportError as error:
        return None, {}, (f"no ONNX form, so neither its size nor shares of time: {error}",)


def _layers(network: Network, shares: Mapping[str, float]) -> tuple[LayerShare, ...]:
    left, places = dict(shares), dict(regions_of(network))
    return tuple(
        LayerShare(
            path=layer.path,
            kind=layer.kind,
            input=layer.input,
            output=layer.output,
            params=layer.cost.parameter_count,
            macs=layer.cost.mac_count,
            bytes=layer.cost.weight_bytes,
            share=left.pop(layer.path, 0.0) if shares else None,
            integers=places.get(layer.path),
        )
        for layer in layer_costs(network)
    )


def _installed() -> dict[str, PluginUse]:
    return {found.name: PluginUse(found.name) for found in discover()}


def _of_recipe(phases: Iterable[PhaseSpec]) -> dict[str, PluginUse]:
    """Plugins by name, or by phase and name where one is used more than once."""
    pairs = list(uses_of(phases))
    names = [use.name for _, use in pairs]
    return {use.name if names.count(use.name) == 1 else switch: use for switch, use in pairs}
