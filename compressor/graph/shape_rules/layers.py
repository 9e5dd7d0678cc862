"""Shape rules of torch's own layers: what one sample becomes, by arithmetic alone.

A rule takes the layer and the shape of one sample, without the batch dimension, and returns the shape of one output
sample; it raises ``GraphError`` where the layer would not accept the sample. The formulas are those of the
"Shape" sections of torch's documentation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from compressor.errors import GraphError
from compressor.graph.leaf import Shape

Rule = Callable[[Any, Shape], Shape]


def rule_for(module: nn.Module) -> Rule | None:
    """The rule of a layer's class, or of the base class whose ``forward`` it inherits; None when there is none."""
    for base in type(module).__mro__:
        if base in RULES:
            return RULES[base] if type(module).forward is base.forward else None
    return None


def flattened(shape: Shape, start: int, end: int) -> Shape | None:
    """A sample flattened from ``start`` to ``end`` (the batch is dimension 0); None if the batch is in it."""
    rank = len(shape) + 1
    start, end = start % rank, end % rank
    if start == 0 or start > end:
        return None
    return (*shape[: start - 1], math.prod(shape[start - 1 : end]), *shape[end:])


def _per_dimension(value: int | tuple[int, ...], count: int) -> tuple[int, ...]:
    return (value,) * count if isinstance(value, int) else tuple(value)


def _expect(condition: bool, layer: nn.Module, shape: Shape) -> None:
    if not condition:
        raise GraphError(f"{layer} does not take samples of shape {shape}")


def _windows(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil: bool = False) -> int:
    """How many windows fit; ``padding`` is that of one side. The last must start in the input or the left pad."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    count = -(-span // stride) + 1 if ceil else span // stride + 1
    return count - 1 if ceil and (count - 1) * stride >= size + padding else count


def _sliding(layer: Any, shape: Shape, channels: int, padding: tuple[int, ...], ceil: bool = False) -> Shape:
    rank = len(shape) - 1
    kernel = _per_dimension(layer.kernel_size, rank)
    stride = _per_dimension(layer.stride, rank)
    dilation = _per_dimension(getattr(layer, "dilation", 1), rank)
    windows = zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    result = tuple(_windows(*window, ceil) for window in windows)
    _expect(min(result) > 0, layer, shape)
    return (channels, *result)


def _convolution(layer: _ConvNd, shape: Shape) -> Shape:
    rank = len(layer.kernel_size)
    _expect(len(shape) == rank + 1 and shape[0] == layer.in_channels, layer, shape)
    if layer.padding == "same":
        return (layer.out_channels, *shape[1:])
    padding = (0,) * rank if isinstance(layer.padding, str) else tuple(layer.padding)
    return _sliding(layer, shape, layer.out_channels, padding)


def _transposed(layer: _ConvTransposeNd, shape: Shape) -> Shape:
    rank = len(layer.kernel_size)
    _expect(len(shape) == rank + 1 and shape[0] == layer.in_channels, layer, shape)
    sizes = (
        (size - 1) * stride - 2 * int(padding) + dilation * (kernel - 1) + extra + 1
        for size, kernel, stride, padding, dilation, extra in zip(
            shape[1:], layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding, strict=True
        )
    )
    return (layer.out_channels, *sizes)


def _pooling(rank: int) -> Rule:
    def rule(layer: Any, shape: Shape) -> Shape:
        _expect(len(shape) == rank + 1, layer, shape)
        if isinstance(layer, nn.AvgPool3d):  # which does not count padding when it compares image and kernel
            kernel = _per_dimension(layer.kernel_size, rank)
            _expect(all(size >= window for size, window in zip(shape[1:], kernel, strict=True)), layer, shape)
        return _sliding(layer, shape, shape[0], _per_dimension(layer.padding, rank), layer.ceil_mode)

    return rule


def _adaptive(rank: int) -> Rule:
    def rule(layer: Any, shape: Shape) -> Shape:
        _expect(len(shape) == rank + 1, layer, shape)
        wanted = layer.output_size if isinstance(layer.output_size, tuple) else (layer.output_size,) * rank
        return (shape[0], *(size if want is None else want for size, want in zip(shape[1:], wanted, strict=True)))

    return rule


def _padding(rank: int) -> Rule:
    def rule(layer: Any, shape: Shape) -> Shape:
        _expect(len(shape) == rank + 1, layer, shape)
        pads = _per_dimension(layer.padding, 2 * rank)  # last dimension first: left, right, top, bottom, …
        grown = (size + pads[2 * i] + pads[2 * i + 1] for i, size in enumerate(reversed(shape[1:])))
        return (shape[0], *reversed(tuple(grown)))

    return rule


def _linear(layer: nn.Linear, shape: Shape) -> Shape:
    _expect(bool(shape) and shape[-1] == layer.in_features, layer, shape)
    return (*shape[:-1], layer.out_features)


def _batch_norm(rank: tuple[int, ...]) -> Rule:
    def rule(layer: _BatchNorm, shape: Shape) -> Shape:
        _expect(len(shape) in rank and shape[0] == layer.num_features, layer, shape)
        return shape

    return rule


def _group_norm(layer: nn.GroupNorm, shape: Shape) -> Shape:
    _expect(bool(shape) and shape[0] == layer.num_channels, layer, shape)
    return shape


def _layer_norm(layer: nn.LayerNorm, shape: Shape) -> Shape:
    normalised = tuple(layer.normalized_shape)
    _expect(shape[-len(normalised) :] == normalised, layer, shape)
    return shape


def _prelu(layer: nn.PReLU, shape: Shape) -> Shape:
    _expect(layer.num_parameters in (1, shape[0]), layer, shape)
    return shape


def _flatten(layer: nn.Flatten, shape: Shape) -> Shape:
    result = flattened(shape, layer.start_dim, layer.end_dim)
    if result is None:
        raise GraphError(f"{layer} mixes samples of a batch")
    return result


def _same(_: nn.Module, shape: Shape) -> Shape:
    return shape


ELEMENTWISE: tuple[type[nn.Module], ...] = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold, nn.Softplus,
    nn.Softsign, nn.LogSigmoid,
)  # fmt: skip
"""Layers that treat every value alone."""

RULES: dict[type[nn.Module], Rule] = {
    **dict.fromkeys(ELEMENTWISE, _same),
    **dict.fromkeys((nn.Softmax, nn.LogSoftmax, nn.Softmax2d, nn.Softmin, nn.LocalResponseNorm), _same),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, nn.Conv3d), _convolution),
    **dict.fromkeys((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), _transposed),
    **dict.fromkeys((nn.MaxPool1d, nn.AvgPool1d), _pooling(1)),
    **dict.fromkeys((nn.MaxPool2d, nn.AvgPool2d), _pooling(2)),
    **dict.fromkeys((nn.MaxPool3d, nn.AvgPool3d), _pooling(3)),
    **dict.fromkeys((nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d), _adaptive(1)),
    **dict.fromkeys((nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d), _adaptive(2)),
    **dict.fromkeys((nn.AdaptiveAvgPool3d, nn.AdaptiveMaxPool3d), _adaptive(3)),
    **dict.fromkeys((nn.ZeroPad1d, nn.ConstantPad1d, nn.ReflectionPad1d, nn.ReplicationPad1d), _padding(1)),
    **dict.fromkeys((nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d), _padding(2)),
    **dict.fromkeys((nn.ZeroPad3d, nn.ConstantPad3d, nn.ReflectionPad3d, nn.ReplicationPad3d), _padding(3)),
    nn.Linear: _linear,
    nn.BatchNorm1d: _batch_norm((1, 2)),
    nn.BatchNorm2d: _batch_norm((3,)),
    nn.BatchNorm3d: _batch_norm((4,)),
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.PReLU: _prelu,
    nn.Flatten: _flatten,
}
"""Layer class → rule. Everything else is run on zeros."""
