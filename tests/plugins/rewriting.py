"""What tests of plugins share: captured networks, probe data, one edit at a time."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from networks import NETWORKS, calibrated, make_sensitive
from torch import fx, nn

from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.graph.shapes import propagate
from compressor.graph.signature import Signature
from compressor.knobs import Value, defaults
from compressor.measure.parity import Parity, numeric_parity
from compressor.plugin import Plugin, Site, refusals_of, sites_of
from compressor.testing.networks import random_evidence

__all__ = ["apply", "chain", "correlation", "evidence", "named", "parity", "reason", "site", "traced"]


@functools.cache
def _captured(name: str) -> Network:
    return capture(calibrated(name), NETWORKS[name][1], name)


def named(name: str) -> Network:
    """A fork of the captured test network ``name``."""
    return _captured(name).fork()


def chain(*layers: nn.Module, shape: Shape, sensitive: bool = True) -> Network:
    """Layers in a row, named by their number."""
    model = nn.Sequential(*layers)
    return capture(make_sensitive(model, shape) if sensitive else model.eval(), shape)


def traced(model: nn.Module, shape: Shape) -> Network:
    """A network whose leaves are exactly the model's modules, which capture would raise to simpler ones."""
    network = Network(fx.symbolic_trace(model.eval()), Signature.of("x", shape))
    propagate(network)
    return network


def evidence(network: Network, size: int = 64) -> Evidence:
    return random_evidence(network, batches=1, size=size)


def site(plugin: Plugin, network: Network, path: str) -> Site:
    (found,) = [site for site in sites_of(plugin, network) if site.path == path]
    return found


def reason(plugin: Plugin, network: Network, path: str) -> str:
    """Why the plugin refuses a place."""
    (found,) = [refused for refused in refusals_of(plugin, network) if refused.path == path]
    return found.reason


def apply(
    plugin: Plugin, network: Network, path: str, data: Evidence | None = None, choice: Mapping[str, Value] | None = None
) -> Network:
    """Rewrite one site of ``network`` itself; returns it."""
    found = site(plugin, network, path)
    editor = Editor(network, data)
    plugin.rewrite(editor, found, {**defaults(found.knobs), **(choice or {})})
    assert editor.commit()
    return network


def parity(network: Network, data: Evidence) -> Parity:
    return numeric_parity(network, to_onnx(network), [images for images, _ in data.batches])


def correlation(before: Network, after: Network, data: Evidence) -> float:
    """Of all outputs on the probe images."""
    with torch.no_grad():
        rows = [
            torch.cat([network.eval()(images).flatten() for images, _ in data.batches]) for network in (before, after)
        ]
    return float(torch.corrcoef(torch.stack(rows))[0, 1])
