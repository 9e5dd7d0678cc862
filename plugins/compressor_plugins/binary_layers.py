"""Linear and convolutional leaves with one bit per weight.

    q(v) = +1 where v ≥ 0, else −1          backward: dq/dv := 1 where |v| ≤ 1, else 0  (straight-through estimator)
    y    = α ⊙ (q(V) ∗ x) + b               V latent weights in [−1, 1], α one scale per output channel
    y    = α ⊙ (q(V) ∗ q(x)) + b            with binary input

Sources: Courbariaux et al., BinaryNet (arXiv:1602.02830) for q and the clipping of V; Rastegari et al., XNOR-Net
(arXiv:1603.05279) for α = mean|w|, the least-squares scale of q(w).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.errors import GraphError
from compressor.export.packing import pack_bits, unpack_bits
from compressor.graph.leaf import Cost, Leaf, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.replaceable import pair, symmetric_padding

_FLOAT, _UINT8 = 1, 2
"""ONNX ``TensorProto`` element types."""


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


class BinaryLayer(Leaf):
    """What the two kinds share: latent weights, scale, bias, and all that follows from them.

    ``scale`` and ``bias`` are trainable, of shape (outputs,), or None where a following BatchNorm takes their place.
    """

    def __init__(self, latent: Tensor, scale: Tensor | None, bias: Tensor | None, binary_input: bool = False) -> None:
        super().__init__()
        self.latent = nn.Parameter(latent.detach().clone())
        self.scale = _parameter(scale)
        self.bias = _parameter(bias)
        self.binary_input = binary_input

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
        return self._like(own * scale, bias)

    def _like(self, scale: Tensor, bias: Tensor) -> BinaryLayer:
        """The same layer with another scale and bias."""
        raise NotImplementedError

    def _bits(self) -> Any:
        return (self.latent.detach() >= 0).cpu().numpy()

    def _emit_weight(self, builder: OnnxBuilder) -> OnnxValue:
        """±α as a float tensor, stored at one bit per weight."""
        outputs, *rest = self.latent.shape
        alpha = torch.ones(outputs) if self.scale is None else self.scale.detach().cpu()
        positive = builder.constant(alpha.float().view(outputs, *[1] * len(rest)), "scale")
        return unpack_bits(builder, pack_bits(self._bits()), list(self.latent.shape), positive)


class BinaryLinear(BinaryLayer):
    """Linear layer on feature rows (K,) → (N,); ``latent`` is (N, K)."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(sign(x) if self.binary_input else x, self.weight(), self.bias)

    def output_shape(self, *inputs: Shape) -> Shape:
        outputs, features = self.latent.shape
        if inputs != ((features,),):
            raise GraphError(f"a binary linear layer for {features} features got {inputs}")
        return (outputs,)

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        if self.binary_input:
            return self._emit_integer(builder, inputs[0])
        operands = [inputs[0], self._emit_weight(builder)]
        if self.bias is not None:
            operands.append(builder.constant(self.bias.detach(), "bias"))
        return builder.op("Gemm", operands, transB=1)

    def _emit_integer(self, builder: OnnxBuilder, x: OnnxValue) -> OnnxValue:
        """With u = (q(x) + 1) / 2 in {0, 1}: y = 2α · (u Sᵀ) + (b − α ΣS), the product in exact integer arithmetic."""
        bits = self._bits().T
        signs = np.where(bits, 1.0, -1.0)
        positive, negative = (builder.constant(np.array(value, np.int8), "one") for value in (1, -1))
        weight = unpack_bits(builder, pack_bits(bits), bits.shape, positive, negative)
        flags = builder.op("GreaterOrEqual", [x, builder.constant(np.array(0, np.float32), "zero")])
        product = builder.op("MatMulInteger", [builder.op("Cast", [flags], to=_UINT8), weight])
        alpha = np.ones(bits.shape[1]) if self.scale is None else self.scale.detach().double().cpu().numpy()
        bias = 0.0 if self.bias is None else self.bias.detach().double().cpu().numpy()
        scaled = builder.op(
            "Mul", [builder.op("Cast", [product], to=_FLOAT), builder.constant((2 * alpha).astype(np.float32), "scale")]
        )
        shift = (bias - alpha * signs.sum(0)).astype(np.float32)
        return builder.op("Add", [scaled, builder.constant(shift, "shift")])

    def _like(self, scale: Tensor, bias: Tensor) -> BinaryLinear:
        return BinaryLinear(self.latent, scale, bias, self.binary_input)


class BinaryConv2d(BinaryLayer):
    """2-D convolution (C, H, W) → (N, H′, W′); ``latent`` is (N, C / groups, kh, kw). Zeros are padded after q(x)."""

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
        if self.binary_input:
            zero, one, minus = (builder.constant(np.array(value, np.float32), "c") for value in (0, 1, -1))
            x = builder.op("Where", [builder.op("GreaterOrEqual", [x, zero]), one, minus])
        operands = [x, self._emit_weight(builder)]
        if self.bias is not None:
            operands.append(builder.constant(self.bias.detach(), "bias"))
        return builder.op(
            "Conv",
            operands,
            kernel_shape=list(self.latent.shape[2:]),
            strides=list(self.stride),
            pads=[*self.padding, *self.padding],
            dilations=list(self.dilation),
            group=self.groups,
        )

    def keep_outputs(self, channels: Tensor) -> None:
        self._refuse_groups()
        super().keep_outputs(channels)

    def keep_inputs(self, channels: Tensor) -> None:
        self._refuse_groups()
        super().keep_inputs(channels)

    def _refuse_groups(self) -> None:
        if self.groups != 1:
            raise NotImplementedError("a grouped binary convolution cannot lose single channels")

    def _like(self, scale: Tensor, bias: Tensor) -> BinaryConv2d:
        return BinaryConv2d(
            self.latent,
            scale,
            bias,
            self.binary_input,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )


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
        padding=symmetric_padding(source),
        dilation=pair(source.dilation),
        groups=source.groups,
    )


def _parameter(values: Tensor | None) -> nn.Parameter | None:
    return None if values is None else nn.Parameter(values.detach().clone())
