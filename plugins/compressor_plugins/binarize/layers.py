"""Linear and convolutional leaves with one bit per weight.

    q(v) = +1 where v ≥ 0, else −1          backward: dq/dv := 1 where |v| ≤ 1, else 0  (straight-through estimator)
    y    = α ⊙ (q(V) ∗ x) + b               V latent weights in [−1, 1], α one scale per output channel
    y    = α ⊙ (q(V) ∗ q(x)) + b            with binary input

With binary input the file computes in integers (``integer``), and between two such layers it computes no floats
(``chain``).

Sources: Courbariaux et al., BinaryNet (arXiv:1602.02830) for q and the clipping of V; Rastegari et al., XNOR-Net
(arXiv:1603.05279) for α = mean|w|, the least-squares scale of q(w).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from compressor.errors import GraphError
from compressor.export.packing import pack_bits, unpack_bits
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.binarize.chain import SignLeaf
from compressor_plugins.binarize.integer import (
    Signs,
    emit_bytes,
    emit_convolution,
    emit_convolution_signs,
    emit_floats,
    emit_product,
    emit_product_signs,
    emit_signs,
    parts_of,
)
from compressor_plugins.common.replaceable import pair, symmetric_padding

FEWEST_CHANNELS = 8
"""On either side of a convolution, for integers to be faster than signs as floats."""


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        ctx.save_for_backward(v)
        return torch.where(v >= 0, 1.0, -1.0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        v: Tensor = ctx.saved_tensors[0]
        return grad * (v.abs() <= 1)


def sign(v: Tensor) -> Tensor:
    """±1, with sign(0) = +1; its gradient is passed straight through where ``|v| ≤ 1``."""
    result: Tensor = _Sign.apply(v)  # type: ignore[no-untyped-call]
    return result


class BinaryLayer(SignLeaf):
    """What the two kinds share: latent weights, scale, bias, and all that follows from them.

    ``scale`` and ``bias`` are trainable, of shape (outputs,), or None where a following BatchNorm takes their place.
    """

    entry: Tensor | None = None
    """Set in what is deployed: thresholds (C,) on its input where that is floats; None: zeros."""

    def __init__(self, latent: Tensor, scale: Tensor | None, bias: Tensor | None, binary_input: bool = False) -> None:
        super().__init__()
        self.latent = nn.Parameter(latent.detach().clone())
        self.scale: nn.Parameter | None
        self.bias: nn.Parameter | None
        self.register_parameter("scale", _parameter(scale))
        self.register_parameter("bias", _parameter(bias))
        self.binary_input = binary_input

    def reset_parameters(self) -> None:
        """As a rewrite starts from a new layer: latent weights and scale from weights uniform within ±1/√(inputs)."""
        bound = 1 / math.sqrt(self.reach())
        with torch.no_grad():
            nn.init.uniform_(self.latent, -1.0, 1.0)
            if self.scale is not None:
                self.scale.copy_(bound * self.latent.abs().flatten(1).mean(1))
            if self.bias is not None:
                nn.init.uniform_(self.bias, -bound, bound)

    def weight(self) -> Tensor:
        """The weights the layer computes with: ±α, shaped as the latent ones."""
        bits = sign(self.latent)
        return bits if self.scale is None else bits * self.scale.view(-1, *[1] * (bits.dim() - 1))

    def after_step(self) -> None:
        with torch.no_grad():
            self.latent.clamp_(-1, 1)

    def cost(self, *inputs: Shape) -> Cost:
        floats = sum(len(values) for values in (self.scale, self.bias) if values is not None)
        positions = int(np.prod(self.output_shape(*inputs)[1:]))
        parameters = {32: floats, 1: self.latent.numel()} if floats else {1: self.latent.numel()}
        return Cost(parameters, {1: self.latent.numel() * positions})

    def keep_outputs(self, channels: Tensor) -> None:
        self.latent = nn.Parameter(self.latent.detach()[channels].clone())
        self.scale = _parameter(None if self.scale is None else self.scale[channels])
        self.bias = _parameter(None if self.bias is None else self.bias[channels])

    def keep_inputs(self, channels: Tensor) -> None:
        self.latent = nn.Parameter(self.latent.detach()[:, channels].clone())

    def fold_affine(self, scale: Tensor, shift: Tensor) -> BinaryLayer:
        own = torch.ones_like(scale) if self.scale is None else self.scale.detach()
        bias = shift if self.bias is None else self.bias.detach() * scale + shift
        return self._like(self.latent, own * scale, bias)

    # --- in a chain ----------------------------------------------------------------------------------------------

    @property
    def takes_signs(self) -> bool:
        return self.binary_input

    def outputs(self) -> int:
        return len(self.latent)

    def reach(self) -> int:
        return math.prod(self.latent.shape[1:])

    def affine(self, sums: Tensor) -> Tensor:
        shape = (1, -1, *[1] * (sums.dim() - 2))
        scaled = sums if self.scale is None else sums * self.scale.view(shape)
        return scaled if self.bias is None else scaled + self.bias.view(shape)

    def entry_thresholds(self, rank: int) -> NDArray[np.float32]:
        """What a sample of this rank is compared with."""
        if self.entry is None:
            return np.zeros((), np.float32)
        thresholds: NDArray[np.float32] = self.entry.numpy().reshape(-1, *[1] * (rank - 1))
        return thresholds

    def turned_outputs(self, turned: Tensor) -> Tensor:
        """Latent weights, those of the outputs in ``turned`` with the other sign."""
        signs = sign(self.latent.detach())
        return torch.where(turned.to(signs.device).view(-1, *[1] * (signs.dim() - 1)), -signs, signs)

    def _reading(self, high: int, latent: Tensor, entry: Tensor | None) -> Self:
        fresh = self._like(latent, self.scale, self.bias)
        fresh.high, fresh.entry = high, entry
        return fresh

    def _like(self, latent: Tensor, scale: Tensor | None, bias: Tensor | None) -> Self:
        """The same layer with other parameters."""
        fresh = copy.copy(self)
        fresh._parameters = {
            "latent": nn.Parameter(latent.detach(), requires_grad=False),
            "scale": _parameter(scale),
            "bias": _parameter(bias),
        }
        return fresh

    # --- for the file --------------------------------------------------------------------------------------------

    def _signs(self) -> Signs:
        signs: Signs = (self.latent.detach() >= 0).cpu().numpy()
        return signs

    def _scale(self) -> NDArray[np.float64]:
        return np.ones(len(self.latent)) if self.scale is None else _array(self.scale)

    def _emit_weight(self, builder: OnnxBuilder) -> OnnxValue:
        """±α as a float tensor, stored at one bit per weight."""
        shape = list(self.latent.shape)
        alpha = self._scale().astype(np.float32).reshape(-1, *[1] * (len(shape) - 1))
        return unpack_bits(builder, pack_bits(self._signs()), shape, builder.constant(alpha, "a"))

    def _operands(self, builder: OnnxBuilder, x: OnnxValue) -> list[OnnxValue]:
        weight = self._emit_weight(builder)
        return [x, weight] if self.bias is None else [x, weight, builder.constant(self.bias.detach(), "b")]


class BinaryLinear(BinaryLayer):
    """Rows (K,) → (N,); ``latent`` is (N, K)."""

    byte = 1

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(sign(x) if self.binary_input else x, self.weight(), self.bias)

    def output_shape(self, *inputs: Shape) -> Shape:
        outputs, features = self.latent.shape
        if inputs != ((features,),):
            raise GraphError(f"a binary linear layer for {features} features got {inputs}")
        return (outputs,)

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        if not self.binary_input:
            return builder.op("Gemm", self._operands(builder, inputs[0]), transB=1)
        bias = np.zeros(len(self.latent)) if self.bias is None else _array(self.bias)
        return emit_product(builder, *self.bytes_of(builder, inputs[0]), self._signs(), self._scale(), bias)

    def bytes_of(self, builder: OnnxBuilder, x: OnnxValue) -> tuple[OnnxValue, int]:
        """The layer's input as bytes, and the byte that stands for +1."""
        return (x, self.high) if self.high else (emit_bytes(builder, x, 1, self.entry_thresholds(1)), 1)

    def with_threshold(self, turned: Tensor, threshold: Tensor) -> Leaf:
        return ThresholdLinear(self._like(self.turned_outputs(turned), None, None), threshold)

    def reading(self, high: int, turned: Tensor, entry: Tensor | None = None) -> BinaryLinear:
        signs = sign(self.latent.detach())
        columns = turned.to(signs.device).repeat_interleave(signs.shape[1] // len(turned))
        return self._reading(high, torch.where(columns, -signs, signs), entry)


class BinaryConv2d(BinaryLayer):
    """2-D convolution (C, H, W) → (N, H′, W′); ``latent`` is (N, C / groups, kh, kw). Zeros are padded after q(x)."""

    byte = 2

    def __init__(
        self,
        latent: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        binary_input: bool = False,
        *,
        stride: tuple[int, int] = (1, 1),
        padding: tuple[int, int] = (0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> None:
        super().__init__(latent, scale, bias, binary_input)
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Tensor) -> Tensor:
        x = sign(x) if self.binary_input else x
        return F.conv2d(x, self.weight(), self.bias, self.stride, self.padding, self.dilation, self.groups)

    def output_shape(self, *inputs: Shape) -> Shape:
        outputs, channels, *kernel = self.latent.shape
        if len(inputs) != 1 or len(inputs[0]) != 3 or inputs[0][0] != channels * self.groups:
            raise GraphError(f"a binary convolution for {channels * self.groups} channels got {inputs}")
        sizes = zip(inputs[0][1:], kernel, self.stride, self.padding, self.dilation, strict=True)
        return (outputs, *((size + 2 * pad - dil * (k - 1) - 1) // step + 1 for size, k, step, pad, dil in sizes))

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        x = inputs[0]
        if self.binary_input and self._adds_up_in_bytes():
            bias = None if self.bias is None else _array(self.bias)
            return emit_convolution(
                builder, self.bytes_of(builder, x), self._signs(), self._scale(), bias, self.settings()
            )
        if self.binary_input:
            x = emit_floats(builder, x) if self.high else emit_signs(builder, x, self.entry_thresholds(3))
        return builder.op("Conv", self._operands(builder, x), **self.settings())

    def bytes_of(self, builder: OnnxBuilder, x: OnnxValue) -> OnnxValue:
        """The layer's input as bytes 0 and 2."""
        return x if self.high else emit_bytes(builder, x, 2, self.entry_thresholds(3))

    def settings(self) -> dict[str, Any]:
        """The attributes of the ONNX operator, less those that say what holds anyway: they are bytes of the file."""
        settings: dict[str, tuple[Any, Any]] = {
            "strides": ([*self.stride], [1, 1]),
            "pads": ([*self.padding, *self.padding], [0, 0, 0, 0]),
            "dilations": ([*self.dilation], [1, 1]),
            "group": (self.groups, 1),
        }
        return {name: value for name, (value, default) in settings.items() if value != default}

    def _adds_up_in_bytes(self) -> bool:
        """Whether sums of a part of the channels fit into bytes, and integers pay."""
        outputs, channels, *kernel = self.latent.shape
        wide = self.groups == 1 and min(outputs, channels) >= FEWEST_CHANNELS
        return wide and bool(parts_of(channels, math.prod(kernel)))

    def with_threshold(self, turned: Tensor, threshold: Tensor) -> Leaf | None:
        if min(len(self.latent), self.latent.shape[1] * self.groups) < FEWEST_CHANNELS:
            return None
        return ThresholdConv2d(self._like(self.turned_outputs(turned), None, None), threshold)

    def reading(self, high: int, turned: Tensor, entry: Tensor | None = None) -> BinaryConv2d | None:
        if high not in (0, self.byte):
            return None
        signs = sign(self.latent.detach())
        grouped = signs.view(self.groups, -1, *signs.shape[1:])
        flags = turned.to(signs.device).view(self.groups, 1, -1, 1, 1)
        return self._reading(high, torch.where(flags, -grouped, grouped).flatten(0, 1), entry)

    def keep_outputs(self, channels: Tensor) -> None:
        self._refuse_groups()
        super().keep_outputs(channels)

    def keep_inputs(self, channels: Tensor) -> None:
        self._refuse_groups()
        super().keep_inputs(channels)

    def _refuse_groups(self) -> None:
        if self.groups != 1:
            raise NotImplementedError("a grouped binary convolution cannot lose single channels")


# --- what stands in a chain, in the file -----------------------------------------------------------------------------


class _Threshold(Leaf):
    """Signs of sums of signs plus a whole number, as bytes: what a layer of a chain is deployed as."""

    def __init__(self, layer: BinaryLayer, threshold: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.register_buffer("threshold", threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Of floats whose signs count, or of bytes where the layer reads bytes."""
        entry = self.layer.entry_thresholds(x.dim() - 1)
        sums = self.layer(
            2 * x - self.layer.high if self.layer.high else torch.where(x >= torch.tensor(entry), 1.0, -1.0)
        )
        result: Tensor = (sums + self.get_buffer("threshold").view(-1, *[1] * (sums.dim() - 2)) >= 0) * self.layer.byte
        return result.to(sums)

    def output_shape(self, *inputs: Shape) -> Shape:
        return self.layer.output_shape(*inputs)

    def cost(self, *inputs: Shape) -> Cost:
        return self.layer.cost(*inputs)


class ThresholdLinear(_Threshold):
    """Bytes 0 and 1."""

    layer: BinaryLinear

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        operand = self.layer.bytes_of(builder, inputs[0])
        return emit_product_signs(builder, *operand, self.layer._signs(), self.get_buffer("threshold").numpy())


class ThresholdConv2d(_Threshold):
    """Bytes 0 and 2."""

    layer: BinaryConv2d

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        u, threshold = self.layer.bytes_of(builder, inputs[0]), self.get_buffer("threshold").numpy()
        return emit_convolution_signs(builder, u, self.layer._signs(), threshold, self.layer.settings())


def binary_layer(
    source: nn.Linear | nn.Conv2d, *, binary_input: bool = False, scaled: bool = True, bias: bool = True
) -> BinaryLinear | BinaryConv2d:
    """The binary form of a trained layer: V = w / max|w| and α = mean|w|, both per output channel.

    Without ``scaled`` or ``bias`` the layer has neither, for a BatchNorm that follows. A convolution must pad with
    zeros, equally on both sides.
    """
    weight = source.weight.detach()
    magnitude = weight.flatten(1).abs()
    largest = magnitude.amax(1).clamp_min(1e-12).view(-1, *[1] * (weight.dim() - 1))
    scale = magnitude.mean(1) if scaled else None
    offset = source.bias if bias else None
    if isinstance(source, nn.Linear):
        return BinaryLinear(weight / largest, scale, offset, binary_input)
    return BinaryConv2d(
        weight / largest,
        scale,
        offset,
        binary_input,
        stride=pair(source.stride),
        padding=pair(symmetric_padding(source)),
        dilation=pair(source.dilation),
        groups=source.groups,
    )


def _parameter(values: Tensor | None) -> nn.Parameter | None:
    return None if values is None else nn.Parameter(values.detach().clone())


def _array(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.detach().double().cpu().numpy()
    return array
