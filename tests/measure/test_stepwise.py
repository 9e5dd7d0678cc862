"""Files of networks of integers, whose answers jump: every value on the way is held to what comes before it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
import torch
from integers import QUANTIZE
from onnx import numpy_helper
from torch import nn

from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.leaf import Leaf
from compressor.graph.network import Network
from compressor.knobs import defaults
from compressor.measure.parity import JITTER, numeric_parity, stated_tolerance
from compressor.measure.stepwise import held_step, stepwise
from compressor.plugin import sites_of
from compressor.testing.networks import random_evidence

SHAPE = (3, 8, 8)


def in_integers(module: nn.Module, data: Evidence | None = None) -> Network:
    """Every layer of it, calibrated on random images where no others are given."""
    made = capture(module.eval(), SHAPE)
    plugin, data = QUANTIZE, data or random_evidence(made, batches=1, size=16)
    for site in sites_of(plugin, made):
        editor = Editor(made, data)
        plugin.rewrite(editor, site, defaults(site.knobs))
        editor.commit()
    data.calibrate(made)
    return made


@pytest.fixture(scope="module")
def network() -> Network:
    """Deep, of random weights: one step early is many at the end."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()]
    for _ in range(6):
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardswish()]
    return in_integers(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)))


Wrong = Callable[[onnx.GraphProto], None]


def _constant(graph: onnx.GraphProto, name: str) -> onnx.TensorProto:
    return next(tensor for tensor in graph.initializer if tensor.name == name)


def _other(place: int, change: Callable[[np.ndarray], np.ndarray]) -> Wrong:
    """Another step (input 1) or zero point (input 2) of one value in the middle."""

    def apply(graph: onnx.GraphProto) -> None:
        node = [node for node in graph.node if node.op_type == "QuantizeLinear"][6]
        value = numpy_helper.to_array(_constant(graph, node.input[place]))
        graph.initializer.append(numpy_helper.from_array(np.asarray(change(value), value.dtype), "another"))
        node.input[place] = "another"

    return apply


def _turned_weights(graph: onnx.GraphProto) -> None:
    held = [
        tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4
    ]
    values = numpy_helper.to_array(held[3]).copy()
    values[0] *= -1
    held[3].CopyFrom(numpy_helper.from_array(values, held[3].name))


WRONG: dict[str, Wrong] = {
    "a zero point one further": _other(2, lambda zero: zero + 1),
    "steps a tenth wider": _other(1, lambda step: step * 1.1),
    "one channel of weights turned": _turned_weights,
}


def test_the_right_file_is_right_however_far_its_answers_are_off(network: Network) -> None:
    images = torch.randn(300, *SHAPE)
    found = numeric_parity(network, to_onnx(network), [images])
    assert found.max_error > 2e-4
    assert found.ok
    assert found.stepwise


def test_a_bias_that_the_runtime_rounds_by_half_a_step_is_right() -> None:
    """A channel of the image that never changes weighs much, and the bias takes it out again."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 8, 1)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([10.0, 0.05, 0.0]).view(3, 1, 1).expand_as(conv.weight))
        conv.bias.copy_(torch.linspace(-5.01, -4.99, 8))  # type: ignore[union-attr]
    images = torch.randn(64, *SHAPE).clamp(-1, 1)
    images[:, 0] = 0.5
    network = in_integers(nn.Sequential(conv, nn.ReLU(), nn.Conv2d(8, 4, 3)), Evidence([(images, torch.zeros(64))]))
    layer = next(leaf for path, leaf in network.leaves() if path == "0" and isinstance(leaf, Leaf))
    moved = (layer.as_filed(1 / 128).bias - layer.bias).abs().max()  # type: ignore[operator]
    held = [held_step(network, node) for node in network.graph.nodes if held_step(network, node)]
    assert moved > 0.4 * held[1]
    found = numeric_parity(network, to_onnx(network), [images])
    assert found.ok
    assert found.stepwise == (found.max_error > 0)


def test_answers_that_are_held_to_steps_themselves_are_among_the_values() -> None:
    """As of a network that gives features: its last layers do nothing, and its answer has another name."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Hardswish()]
    network = in_integers(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Identity()))
    images = torch.randn(8, *SHAPE)
    found = stepwise(network, to_onnx(network), (images, images), JITTER)
    assert found is not None
    assert found.ok(1e-4)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_wrong_though_the_network_would_allow_it(network: Network, name: str) -> None:
    proto, images = onnx.load_from_string(to_onnx(network)), torch.randn(8, *SHAPE)
    WRONG[name](proto.graph)
    found = numeric_parity(network, proto.SerializeToString(), [images])
    assert not found.ok
    if name == "a zero point one further":
        assert found.max_error < stated_tolerance(network, [images])


def test_a_file_without_these_values_is_not_taken_for_right(network: Network) -> None:
    torch.manual_seed(1)
    other = capture(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval(), SHAPE)
    images = torch.randn(2, *SHAPE)
    assert stepwise(network, to_onnx(other), (images, images), JITTER) is None
    assert not numeric_parity(network, to_onnx(other), [images]).ok
