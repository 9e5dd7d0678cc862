"""Two convolutions as one: the formula for every geometry, and where layer-removal uses it."""

from __future__ import annotations

import torch
from compressor_plugins.common.replaceable import symmetric_padding
from compressor_plugins.layer_removal.compose import affine_between, composed, composed_window
from compressor_plugins.layer_removal.plugin import LayerRemoval
from hypothesis import given, settings
from hypothesis import strategies as st
from rewriting import apply, chain, correlation, evidence, named, parity, site
from torch import Tensor, nn

from compressor.graph.network import Network
from compressor.graph.verify import difference

COMPOSE = LayerRemoval(repair="compose")


@st.composite
def convolutions(draw: st.DrawFn, inputs: int, outputs: int, *, padded: bool = True) -> nn.Conv2d:
    """Of two different axes; in double precision."""

    def both(low: int, high: int) -> tuple[int, int]:
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    layer = nn.Conv2d(
        inputs, outputs, both(1, 4), both(1, 3), both(0, 2) if padded else 0, both(1, 2), bias=draw(st.booleans())
    )
    torch.manual_seed(draw(st.integers(0, 99)))
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer.double()


def images(first: nn.Conv2d) -> Tensor:
    return torch.randn(2, first.in_channels, 31, 29, dtype=torch.float64)


@settings(max_examples=40, deadline=None)
@given(convolutions(2, 3), convolutions(3, 4, padded=False))
def test_without_padding_of_the_second_the_composition_is_exact(first: nn.Conv2d, second: nn.Conv2d) -> None:
    x = images(first)
    expected = second(first(x))
    assert torch.allclose(composed(first, second)(x), expected, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(convolutions(2, 3), convolutions(3, 4))
def test_with_padding_it_is_exact_but_for_the_rim(first: nn.Conv2d, second: nn.Conv2d) -> None:
    x = images(first)
    expected, found = second(first(x)), composed(first, second)(x)
    assert found.shape == expected.shape
    rim = [-(-wide // step) for wide, step in zip(symmetric_padding(second), second.stride, strict=True)]
    inner = [slice(width, size - width) for width, size in zip(rim, expected.shape[2:], strict=True)]
    assert torch.allclose(found[:, :, *inner], expected[:, :, *inner], atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(convolutions(1, 1), convolutions(1, 1))
def test_the_geometry_is_that_of_the_source(first: nn.Conv2d, second: nn.Conv2d) -> None:
    form = composed_window(first, second)
    for axis in (0, 1):
        if first.dilation[axis] == second.dilation[axis] == 1:
            expected = first.kernel_size[axis] + (second.kernel_size[axis] - 1) * first.stride[axis]
            assert form.kernel[axis] == expected
        assert form.stride[axis] == first.stride[axis] * second.stride[axis]


def test_the_rim_is_another() -> None:
    """The control of the tests above: zeros between the two are not zeros before them."""
    torch.manual_seed(0)
    first, second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
    x = torch.randn(1, 2, 8, 8)
    off = (composed(first, second)(x) - second(first(x))).abs()
    assert float(off[:, :, 0].max()) > 1e-2
    assert float(off[:, :, 1:-1, 1:-1].max()) < 1e-5


def test_the_line_between_is_the_least_squares_one() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 3, 5, 5) + 1
    scale, shift = affine_between(x, x * torch.tensor([2.0, -1, 0])[:, None, None] + 3)
    assert torch.allclose(scale, torch.tensor([2.0, -1, 0]), atol=1e-4)
    assert torch.allclose(shift, torch.full((3,), 3.0), atol=1e-4)
    one, _ = affine_between(x, x.relu())
    fitted = torch.linalg.lstsq(
        torch.stack([x[:, 0].flatten(), torch.ones(200)], 1), x[:, 0].relu().reshape(-1, 1)
    ).solution
    assert torch.allclose(one[0], fitted[0, 0], atol=1e-4)


# --- as a way to remove a layer --------------------------------------------------------------------------------------


def stem(*between: nn.Module, padding: int = 0, inputs: int = 3, outputs: int = 8) -> Network:
    """Two convolutions at the start, as in a VGG: few channels in, so that one is cheaper than two."""
    return chain(
        nn.Conv2d(inputs, 24, 3, padding=1), *between, nn.Conv2d(24, outputs, 3, padding=padding), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * outputs, 5), shape=(inputs, 14, 14),
    )  # fmt: skip


def test_convolutions_with_a_normalisation_between_become_one_exactly_and_without_data() -> None:
    network = stem(nn.BatchNorm2d(24))
    after = apply(LayerRemoval(), network.fork(), "0..1")
    assert after.leaf("2").weight.shape == (8, 3, 5, 5)
    assert difference(network, after, evidence(network).batches) < 1e-5
    assert site(LayerRemoval(), network, "0..1").about.startswith("layer of Conv2d, BatchNorm2d: compose or ")


def test_an_activation_between_is_replaced_by_its_line() -> None:
    network = stem(nn.ReLU())
    data = evidence(network)
    after = apply(COMPOSE, network.fork(), "0..1", data)
    assert [type(leaf).__name__ for _, leaf in after.leaves()][:2] == ["Conv2d", "ReLU"]
    assert correlation(network, after, data) > 0.8
    with torch.no_grad():
        network.leaf("0").bias.fill_(100.0)  # type: ignore[union-attr]
    after = apply(COMPOSE, network.fork(), "0..1", data)
    assert difference(network, after, data.batches) < 5e-3


def test_it_is_the_first_choice_where_nothing_is_missed() -> None:
    linear, padded = stem(nn.BatchNorm2d(24)), stem(nn.BatchNorm2d(24), padding=1)
    assert site(LayerRemoval(), linear, "0..1").about.endswith(": compose or merge or map")
    assert site(LayerRemoval(), padded, "0..1").about.endswith(": compose or merge or map")
    assert site(LayerRemoval(), stem(nn.ReLU()), "0..1").about.endswith(": merge or compose or map")


def test_what_would_not_run_faster_is_not_composed() -> None:
    """24 channels in and out: 25 taps instead of twice nine."""
    assert "compose" not in site(LayerRemoval(), stem(nn.BatchNorm2d(24), inputs=24, outputs=24), "0..1").about


def test_the_bottleneck_of_a_dense_layer() -> None:
    network = named("densenet")
    data = evidence(network)
    after = apply(COMPOSE, network.fork(), "blocks.0.0.conv1..blocks.0.0.relu_1", data)
    assert after.leaf("blocks.0.0.conv2").weight.shape == (6, 8, 3, 3)
    assert parity(after, data).ok
    assert correlation(network, after, data) > 0.8
