"""Half of the channels of every group pruned, held against the same network with those channels at zero.

At zero where they are made, and in every layer that takes them: what lies between may turn zero into something else (a
softmax over positions, an embedding that is added), and a layer from which an input is gone computes what it would with
zero there. Where single precision does not tell, the two are compared in double precision.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import torch
from compressor_plugins.magnitude_prune.groups import Group, find_group, find_groups
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from compressor.errors import Refusal
from compressor.graph.coupling.groups import coupled_positions
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import difference
from compressor.plugin import Refused
from zoos.reasons import general

AGREE = 5e-5
"""Largest difference relative to the largest output."""


def prune_half(network: Network, images: Tensor, limit: float = 30.0) -> dict[str, Any]:
    """Every group once, one after the other on one copy; ``error`` is the difference from the silenced network.

    What ``limit`` CPU seconds do not suffice for is left, and counted as ``untried``.
    """
    end = time.process_time() + limit
    places = list(find_groups(network))
    groups = [place for place in places if not isinstance(place, Refused)]
    result: dict[str, Any] = {
        "groups": len(groups),
        "refused": dict(Counter(general(place.reason) for place in places if isinstance(place, Refused))),
        "parameters": network.parameter_count,
    }
    silenced, pruned, done, declined = network.fork(), network.fork(), 0, Counter[str]()
    for index, group in enumerate(groups):
        if time.process_time() > end:
            result["untried"] = len(groups) - index
            break
        units = _every_second(group)
        channels = [channel for unit in units for channel in group.units[unit]]
        if not channels:
            declined["only one part of its channels can go"] += 1
            continue
        try:
            now = find_group(pruned, group.path)  # other groups may have channels in the same layer
            editor = Editor(pruned)
            editor.drop_channels(group.path, [channel for unit in units for channel in now.units[unit]])
            editor.commit()
        except Refusal as refusal:
            declined[general(refusal.reason)] += 1
            continue
        _silence(network, silenced, group, channels)
        done += 1
    result |= {"pruned": done, "declined": dict(declined), "parameters_after": pruned.parameter_count}
    result["error"] = difference(silenced, pruned, [images])
    if done and not result["error"] <= AGREE:
        result["single"] = result["error"]
        result["error"] = difference(_double(silenced), _double(pruned), [images.double()])
    result["moved"] = difference(network, pruned, [images])
    if done and not result["error"] <= AGREE:
        result["faults"] = [f"differs by {result['error']:.2g} from the network with the channels at zero"]
    return result


def _every_second(group: Group) -> list[int]:
    """The numbers of every second of the parts that go together, less what has to stay."""
    stay = set(range(0, len(group.units), 2)) | {min(needed) for needed in group.needed}
    return [number for number in range(len(group.units)) if number not in stay]


@torch.no_grad()
def _silence(network: Network, silenced: Network, group: Group, channels: list[int]) -> None:
    """Set channels to zero wherever they are made, again behind every normalisation, and wherever they are taken."""
    coupled = coupled_positions(network, group.path, channels)
    for where, positions in coupled.inputs.items():
        _silence_inputs(silenced.leaf(where), list(positions))
    for where, positions in coupled.outputs.items():
        leaf, places = silenced.leaf(where), list(positions)
        if isinstance(leaf, _ConvTransposeNd):
            _silence_transposed(leaf, places)
            continue
        for parameter in leaf.parameters():
            if parameter.dim() and len(parameter) > max(places):
                parameter[places] = 0


def _silence_inputs(leaf: nn.Module, places: list[int]) -> None:
    if isinstance(leaf, _ConvTransposeNd):
        leaf.weight[places] = 0
    elif isinstance(leaf, _ConvNd):
        width = leaf.weight.shape[1]
        rows = leaf.weight.view(leaf.groups, -1, *leaf.weight.shape[1:])
        for place in places:
            rows[place // width, :, place % width] = 0
    elif isinstance(leaf, nn.Linear):
        leaf.weight[:, places] = 0


def _silence_transposed(leaf: nn.Module, places: list[int]) -> None:
    weight, bias = leaf.get_parameter("weight"), getattr(leaf, "bias", None)
    groups, width = int(leaf.groups), weight.shape[1]  # type: ignore[arg-type]
    rows = weight.view(groups, -1, *weight.shape[1:])
    for place in places:
        rows[place // width, :, place % width] = 0
    if bias is not None:
        bias[places] = 0


def _double(network: Network) -> Network:
    fork = network.fork()
    fork.module.double()
    return fork
