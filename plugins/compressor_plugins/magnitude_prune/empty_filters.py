"""Filters whose weights are all zero go: what unstructured pruning leaves behind, turned into fewer channels.

Such a channel is a constant c, its bias passed through what follows. The layers that take it get the constant's part in
their bias, b ← b + Σ_j W[:, j] · c_j, so the network computes what it did; but for the rim where a convolution pads
with zeros and not with c, and where the constant is none along the rim already.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from compressor.errors import Refusal
from compressor.graph.channels import plan_drop
from compressor.graph.editor import Editor
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.graph.shape_rules.dry_run import undisturbed
from compressor.plugin import Refused, Site
from compressor_plugins.common.weighted import WeightedLayer
from compressor_plugins.magnitude_prune.groups import Group, coupling_of, empty_units, find_group, find_groups


def places(network: Network, block: int) -> Iterator[Site | Refused]:
    """Groups with empty channels that fill whole blocks."""
    for group in find_groups(network):
        if isinstance(group, Refused):
            yield group
            continue
        gone, reason = _going(network, group, block)
        if reason:
            yield Refused(group.path, reason)
        else:
            nodes = tuple(node.name for path in group.producers for node in network.calls_of(path))
            yield Site(group.path, {}, nodes, f"{len(gone)} of {group.width} channels have no weights left")


def remove(editor: Editor, path: str, block: int) -> None:
    """Drop the empty channels of the group at ``path``. Raises ``Refusal``."""
    network = editor.network
    group = find_group(network, path)
    gone, reason = _going(network, group, block)
    if reason:
        raise Refusal(reason, path=path)
    plan_drop(network, path, gone)
    for where, layer in _with_constants(network, group, gone).items():
        editor.replace(where, layer)
    editor.drop_channels(path, gone)


def _going(network: Network, group: Group, block: int) -> tuple[list[int], str]:
    """The channels to drop, or why there are none."""
    empty = empty_units(network, group)
    if not empty:
        return [], "every channel has weights"
    if any(len(unit) > 1 for unit in group.units):
        return [], "its channels go only several together"
    gone: list[int] = []
    for unit in empty:
        if not any(row <= {*gone, unit} for row in group.needed):
            gone.append(unit)
    while block > 1 and (group.width - len(gone)) % block and gone:
        gone.pop()
    if not gone:
        return [], f"{len(empty)} of {group.width} channels are empty, less than a block of {block} (option block)"
    return [group.units[unit][0] for unit in gone], ""


def _with_constants(network: Network, group: Group, gone: list[int]) -> dict[str, nn.Module]:
    """Layers that take the channels, with their constant part added to the bias; only where there is one."""
    layers: dict[str, nn.Module] = {}
    for path, positions in coupling_of(network, group).inputs.items():
        places = [position for position, channel in positions.items() if channel in set(gone)]
        calls = network.calls_of(path)
        if len(calls) != 1:
            continue  # constants differ from call to call
        leaf = network.leaf(path)
        shift = _response(leaf, _value(network, calls[0].all_input_nodes[0].name), places)
        moved = None if shift is None or not bool(shift.any()) else _shifted(leaf, shift)
        if moved is not None:
            layers[path] = moved
    return layers


@torch.no_grad()
def _value(network: Network, name: str) -> Tensor:
    """The value of a node for one black image, in eval mode."""
    found: dict[str, Tensor] = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n: torch.fx.Node) -> object:
            value: object = super().run_node(n)
            if n.name == name and isinstance(value, Tensor):
                found[name] = value.clone()
            return value

    with undisturbed(network.root):
        Recorder(network.root).run(*network.signature.tensors(network.signature.zeros(1, network.device)))
    return found[name]


@torch.no_grad()
def _response(leaf: nn.Module, x: Tensor, places: list[int]) -> Tensor | None:
    """What these input channels add to each output (N,), away from the rim; None where the layer is of another kind."""
    weight = leaf.effective_weight() if isinstance(leaf, WeightedLayer) else getattr(leaf, "weight", None)
    if not isinstance(weight, Tensor) or getattr(getattr(leaf, "geometry", leaf), "transposed", False):
        return None
    if weight.dim() == 2:
        rows = x[0].reshape(-1, x.shape[-1])
        return weight[:, places] @ rows[len(rows) // 2, places]
    if weight.dim() == 4 and x.dim() == 4 and getattr(leaf, "groups", 1) == 1:
        middle = x[0, places, x.shape[2] // 2, x.shape[3] // 2]
        return weight[:, places].sum((2, 3)) @ middle
    return None


def _shifted(leaf: nn.Module, shift: Tensor) -> nn.Module | None:
    """The layer plus a constant per output; None where it cannot take one."""
    if isinstance(leaf, Leaf):
        return leaf.fold_affine(torch.ones_like(shift), shift)
    moved = copy.deepcopy(leaf)
    assert isinstance(moved, nn.Linear | nn.Conv2d)
    old = moved.bias
    moved.bias = nn.Parameter(shift.clone() if old is None else (old + shift).detach())
    return moved
