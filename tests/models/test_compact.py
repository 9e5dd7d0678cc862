from __future__ import annotations

import torch
from torch import nn

from compressor.engine.apply import apply_edits
from compressor.engine.plan import Edit
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.models import build, find
from compressor.models.compact import compact

KERNEL_BLOCK = 16


def captured(name: str) -> Network:
    torch.manual_seed(0)
    return capture(build(name), find(name).input_shape, name)


def narrowed(*ratios: float) -> Network:
    network = captured("compact-wide")
    edits = [
        Edit("magnitude-prune", f"conv{place}", {"ratio": ratio}, {}) for place, ratio in enumerate(ratios, start=1)
    ]
    apply_edits(network, edits, None)
    return network


def test_three_of_four_channels_less_are_the_narrow_network() -> None:
    left, meant = narrowed(0.75, 0.75, 0.75), captured("compact")
    assert [(p, v.shape) for p, v in left.module.state_dict().items()] == [
        (p, v.shape) for p, v in meant.module.state_dict().items()
    ]
    assert network_cost(left) == network_cost(meant)


def test_every_width_is_chosen_by_itself() -> None:
    network = narrowed(0.75, 0.5)
    assert [leaf.out_channels for _, leaf in network.leaves() if isinstance(leaf, nn.Conv2d)] == [16, 64, 256]


def test_widths_are_whole_blocks_of_the_kernels_before_and_after() -> None:
    for name in ("compact-wide", "compact"):
        widths = [leaf.out_channels for _, leaf in captured(name).leaves() if isinstance(leaf, nn.Conv2d)]
        assert all(width % KERNEL_BLOCK == 0 for width in widths)


def test_at_four_bits_it_fits_into_20_kib_and_with_half_of_the_last_layer_into_11() -> None:
    for network, limit in ((captured("compact"), 20), (capture(compact(16, 32, 32), (1, 28, 28)), 11)):
        dense = [path for path, leaf in network.leaves() if isinstance(leaf, nn.Conv2d | nn.Linear)]
        floats = len(to_onnx(network))
        apply_edits(network, [Edit("quantize-weights", path, {"bits": 4}, {}) for path in dense], None)
        assert len(to_onnx(network)) < limit * 1024 < floats
