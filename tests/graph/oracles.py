"""Two oracles for channels: dropping those that are zero changes nothing, and duplicating changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from traced import assert_consistent, images

from compressor.graph.coupling.groups import coupled_positions
from compressor.graph.coupling.kinds import is_producer
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import difference

ZERO_THEN_DROP = 2e-5
DUPLICATE = 1e-5


def producers(network: Network) -> list[str]:
    return [path for path, leaf in network.leaves() if is_producer(leaf)]


def silence(network: Network, path: str, channels: Sequence[int]) -> None:
    """Set channels to zero wherever they are made: in producers, and again behind every BatchNorm."""
    for where, positions in coupled_positions(network, path, channels).outputs.items():
        leaf = network.leaf(where)
        with torch.no_grad():
            if isinstance(leaf, nn.ConvTranspose2d):
                leaf.weight[:, list(positions)] = 0
            for name, parameter in leaf.named_parameters():
                if name == "bias" or not isinstance(leaf, nn.ConvTranspose2d):
                    parameter[list(positions)] = 0


def check_oracles(network: Network, path: str, channels: Sequence[int] = ()) -> float:
    """Both oracles for one leaf; returns how much the dropped channels mattered, as control."""
    count = network.shape(network.calls_of(path)[0])[0]
    channels = channels or [0, count // 2]
    batches = [images(network, 8)]

    silenced = network.fork()
    silence(silenced, path, channels)
    dropped = silenced.fork()
    editor = Editor(dropped)
    editor.drop_channels(path, channels)
    editor.commit()
    assert_consistent(dropped)
    assert dropped.shape(dropped.calls_of(path)[0])[0] == count - len(set(channels))
    assert dropped.parameter_count < network.parameter_count
    assert difference(silenced, dropped, batches) <= ZERO_THEN_DROP

    wider = network.fork()
    editor = Editor(wider)
    editor.duplicate_channels(path, [*channels, *channels])
    editor.commit()
    assert_consistent(wider)
    assert wider.parameter_count > network.parameter_count
    assert difference(network, wider, batches) < DUPLICATE

    return difference(network, dropped, batches)
