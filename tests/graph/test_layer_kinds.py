"""Every kind of layer answers every question, and what it answers is what torch computes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from exporting import network_of, randomise, worst
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from compressor.errors import ExportError, Refusal
from compressor.graph.capture import capture
from compressor.graph.coupling.kinds import channel_dim, is_producer, is_transparent
from compressor.graph.coupling.select import with_inputs, with_outputs
from compressor.graph.layers.kind import Integers, LayerKind
from compressor.graph.layers.table import KINDS, READ, kind_of
from compressor.graph.leaf import Shape
from compressor.graph.onnx_reader import SUPPORTED
from compressor.graph.shapes import shape_of

IMAGE = (6, 8, 8)
EXAMPLES: tuple[tuple[nn.Module, Shape], ...] = (
    (nn.Conv2d(6, 4, 3, 2, 1), IMAGE),
    (nn.ConvTranspose2d(6, 4, 3, 2, 1, 1), IMAGE),
    (nn.Linear(6, 4), (6,)),
    (nn.BatchNorm2d(6), IMAGE),
    (nn.InstanceNorm2d(6, affine=True), IMAGE),
    (nn.GroupNorm(3, 6), IMAGE),
    (nn.LayerNorm(8), IMAGE),
    (nn.RMSNorm(8), IMAGE),
    (nn.PReLU(6), IMAGE),
    (nn.GLU(1), IMAGE),
    (nn.MaxPool2d(3, 2, 1), IMAGE),
    (nn.AvgPool2d(2), IMAGE),
    (nn.LPPool2d(2, 2), IMAGE),
    (nn.AdaptiveAvgPool2d(3), IMAGE),
    (nn.AdaptiveMaxPool2d(3), IMAGE),
    (nn.ZeroPad2d(1), IMAGE),
    (nn.ConstantPad2d(1, 0.5), IMAGE),
    (nn.ReflectionPad2d(1), IMAGE),
    (nn.ReplicationPad2d(1), IMAGE),
    (nn.CircularPad2d(1), IMAGE),
    (nn.Upsample(scale_factor=2), IMAGE),
    (nn.Unflatten(1, (2, 3)), IMAGE),
    (nn.PixelShuffle(2), (8, 3, 3)),
    (nn.PixelUnshuffle(2), IMAGE),
    (nn.ChannelShuffle(3), IMAGE),
    *(
        (layer, IMAGE)
        for layer in (
            nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-0.5, 0.7), nn.LeakyReLU(0.2), nn.RReLU(), nn.ELU(), nn.CELU(),
            nn.SELU(), nn.Threshold(0.1, 0.2), nn.Sigmoid(), nn.Tanh(), nn.Hardsigmoid(), nn.Hardswish(), nn.GELU(),
            nn.SiLU(), nn.Mish(), nn.Softplus(), nn.LogSigmoid(), nn.Softsign(), nn.Tanhshrink(), nn.Softshrink(0.3),
            nn.Hardshrink(0.3), nn.Identity(), nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(),
            nn.FeatureAlphaDropout(), nn.Softmax(1), nn.LogSoftmax(1), nn.Softmin(1), nn.Softmax2d(), nn.Flatten(),
            nn.LocalResponseNorm(3),
        )
    ),
)  # fmt: skip
"""A layer of each kind, and a sample it takes."""


def examples() -> Iterator[object]:
    for layer, shape in EXAMPLES:
        yield pytest.param(randomise(layer).eval(), shape, id=type(layer).__name__)


def batch(shape: Shape) -> Tensor:
    return torch.randn((2, *shape), generator=torch.Generator().manual_seed(0))


def kind(layer: nn.Module) -> LayerKind:
    found = kind_of(layer)
    assert found is not None
    return found


def test_every_kind_has_an_example_here() -> None:
    assert Counter(kind(layer).name for layer, _ in EXAMPLES) == Counter(known.name for known in KINDS)


def test_a_class_belongs_to_one_kind() -> None:
    counts = Counter(of for known in KINDS for of in known.classes)
    assert [of for of, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("what", ["captured", "read"])
def test_an_operator_has_one_rule(what: str) -> None:
    """Which may make several kinds of it, by its arguments."""
    rules = {(name, rule) for known in KINDS for name, rule in getattr(known, what).items()}
    assert [name for name, count in Counter(name for name, _ in rules).items() if count > 1] == []


def test_no_function_takes_an_operator_from_a_kind() -> None:
    assert READ.keys() <= SUPPORTED


def test_a_subclass_is_of_the_kind_whose_forward_it_inherits() -> None:
    class Named(nn.Conv2d):
        pass

    class Standardised(nn.Conv2d):
        def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return super()._conv_forward(input, weight - weight.mean(), bias)

    assert kind_of(Named(3, 4, 3)) is kind_of(nn.Conv2d(3, 4, 3))
    assert kind_of(Standardised(3, 4, 3)) is None
    assert is_producer(Named(3, 4, 3))


@pytest.mark.parametrize(("layer", "shape"), examples())
def test_shape_and_cost_are_those_of_running(layer: nn.Module, shape: Shape) -> None:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = layer(batch(shape))
    rule, macs = kind(layer).shape, kind(layer).macs
    assert shape_of(layer, shape) == tuple(result.shape[1:])
    assert rule is None or rule(layer, shape) == tuple(result.shape[1:])
    assert (0 if macs is None else macs(layer, shape)) == counter.get_total_flops() // 4


@pytest.mark.parametrize(("layer", "shape"), examples())
def test_the_onnx_form_computes_the_same_or_is_refused(layer: nn.Module, shape: Shape) -> None:
    if kind(layer).emit is None:
        with pytest.raises(ExportError, match="no ONNX form"):
            worst(network_of(layer, shape))
    else:
        assert worst(network_of(layer, shape)) < 2e-6


@pytest.mark.parametrize(("layer", "shape"), examples())
def test_what_has_an_operator_is_captured_as_itself(layer: nn.Module, shape: Shape) -> None:
    network, x = capture(nn.Sequential(layer), shape), batch(shape)
    if kind(layer).captured:
        assert [kind_of(leaf) for _, leaf in network.leaves()] == [kind(layer)]
    assert torch.equal(network(x), layer(x))


@pytest.mark.parametrize(("layer", "shape"), examples())
def test_channels_are_treated_as_the_kind_says(layer: nn.Module, shape: Shape) -> None:
    """What is channelwise or transparent computes the same of half the channels, what is a producer half of it."""
    index, share, x = torch.tensor([0, 1, 4, 5]), torch.ones(4), batch(shape)
    y, axis = layer(x), channel_dim(layer)
    if is_transparent(layer):
        assert torch.equal(layer(x[:, index]), y[:, index])
    elif kind(layer).keep_inputs is None and kind(layer).keep_outputs is not None:
        assert torch.allclose(with_outputs(layer, index)(x[:, index]), y[:, index], atol=1e-6)
    elif is_producer(layer):
        rows = torch.tensor([0, 2])
        assert torch.allclose(with_outputs(layer, rows)(x), y.index_select(axis, rows), atol=1e-6)
        rest = torch.zeros_like(x).index_copy(axis, index, x.index_select(axis, index))
        assert torch.allclose(with_inputs(layer, index, share)(x.index_select(axis, index)), layer(rest), atol=1e-6)
    else:
        with pytest.raises(Refusal, match="cannot lose"):
            with_outputs(layer, index)


@pytest.mark.parametrize(("layer", "shape"), examples())
def test_what_moves_values_makes_none(layer: nn.Module, shape: Shape) -> None:
    if kind(layer).integers is Integers.MOVES:
        x = batch(shape)
        assert np.isin(layer(x).numpy(), [0.0, *x.flatten().tolist()]).all()


@pytest.mark.parametrize(("layer", "shape"), examples())
def test_what_vanishes_is_the_identity(layer: nn.Module, shape: Shape) -> None:
    x = batch(shape)
    assert kind(layer).vanishes == torch.equal(layer(x), x) if layer(x).shape == x.shape else not kind(layer).vanishes


@pytest.mark.parametrize(("layer", "shape"), examples())
def test_affine_maps_fold_exactly(layer: nn.Module, shape: Shape) -> None:
    x, y = batch(shape).double(), layer(batch(shape)).double().detach()
    column = (-1, *[1] * (y.dim() - 2))
    if (affine := kind(layer).affine) is not None:
        found = affine(layer)
        assert found is not None
        assert torch.allclose(y, found[0].view(column) * x + found[1].view(column), atol=1e-5)
    if (fold := kind(layer).fold_affine) is not None:
        scale, shift = torch.linspace(0.5, 2, y.shape[1]).double(), torch.linspace(-1, 1, y.shape[1]).double()
        folded = fold(layer, scale, shift, y.dim() - 1)
        assert folded is not None
        assert torch.allclose(folded(batch(shape)).double(), scale.view(column) * y + shift.view(column), atol=1e-4)
