"""Linear and convolutional layers in G equal groups, whose results a Meta layer mixes into M.

    h[v] = φ(W[v] ∗ x[g] + b[v])                 v = g·R + r: R results of L channels from each group g of the inputs
    y[m] = Σ_v A[v, m] · h[v]                    M·L outputs, counted m·L + l

A is a matrix or its softmax over v; φ is the identity or a PReLU with one slope for each v. With the identity the layer
is a linear one whose weight is a sum of Kronecker products, Σ_v A[v]ᵀ ⊗ W[v] in the columns of group g.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.errors import GraphError
from compressor.graph.leaf import Cost, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.common.affine_leaf import AffineLeaf
from compressor_plugins.common.geometry import Geometry

Normalise = Literal["none", "softmax"]
FOLD_BELOW = 150_000
"""Weights saved, below which a linear layer runs as one dense product, put together at load: 512→512 in 16 groups was
1.6× faster in groups, 784→120 0.93×."""
SMALL_CONVOLUTION = 1_000_000
"""Multiply-accumulates below which a convolution stays dense."""
KRONECKER_UP_TO = 8192
"""Values of the mix as a matrix up to which it is one product behind a grouped one (PReLU between) …"""
NARROW = 10
"""… for groups no wider than this: of 16 channels each they were as slow for one image, and half as fast for 64."""
GROUPED_PAYS_FROM = 80_000
"""Weights of the dense layer from which PReLU in such groups is no slower than that layer, for one image: 1024→64 was
0.92×, 1152→64 0.95×; 2048→40 in 4 groups 1.1–1.3×, 3072→32 1.0×, 4096→64 1.7×."""
BATCHED_PAYS_FROM = 190_000
"""Weights saved from which PReLU in wider groups is not: 784→120 by quarters (71,000) was 0.8×, 1024→128 (98,000)
0.93×, 512→512 by halves (131,000) 0.76×, by quarters (197,000) 1.0–1.3×."""
WIDE = 64
"""Width of a group's result from which PReLU is written as two ReLU parts: ONNX Runtime's own was 4× slower there."""


class MetaLayer(AffineLeaf):
    """What both kinds share. ``weight`` (V, L, …), ``bias`` (V, L) or None, ``mix`` (V, M), ``slope`` (V,) or None."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        mix: Tensor,
        groups: int,
        *,
        normalise: Normalise = "none",
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.mix = nn.Parameter(mix.detach().clone())
        self.groups, self.normalise = groups, normalise

    @property
    def outputs(self) -> int:
        return self.mix.shape[1] * self.weight.shape[1]

    def mixing(self) -> Tensor:
        """The matrix that mixes: (V, M)."""
        return self.mix.softmax(0) if self.normalise == "softmax" else self.mix

    def reset_parameters(self) -> None:
        """Weights and biases uniform within ±1/√(values each output reads), the mix from N(0, 1), slopes 1/4."""
        bound = 1 / math.sqrt(self.weight[0, 0].numel())
        for name, parameter in self.named_parameters():
            if name == "mix":
                nn.init.normal_(parameter)
            elif name == "slope":
                nn.init.constant_(parameter, 0.25)
            else:
                nn.init.uniform_(parameter, -bound, bound)

    def _parameter_cost(self) -> dict[int, int]:
        return {32: sum(parameter.numel() for parameter in self.parameters())}

    # --- the file ------------------------------------------------------------------------------------------------

    def _dense_bias(self) -> Tensor | None:
        """The bias of the equal dense layer (φ the identity): (outputs,)."""
        bias = None if self.bias is None else (self.mixing().detach().t() @ self.bias.detach()).flatten()
        return self.affine_bias(bias)

    def _emit_dense_weight(self, builder: OnnxBuilder) -> OnnxValue:
        """Weight of the equal dense layer (φ the identity), (outputs, inputs · taps), from the groups' own."""
        results, width = self.weight.shape[:2]
        mixed, reads = self.mix.shape[1], self.weight[0, 0].numel()
        ranks = results // self.groups
        mixing = self.mixing().detach().view(self.groups, ranks, mixed).transpose(1, 2).contiguous()
        own = self.weight.detach().reshape(self.groups, ranks, width * reads)
        product = builder.op("MatMul", [builder.constant(mixing, "a"), builder.constant(own, "w")])
        parts = builder.op("Reshape", [product, integers(builder, self.groups, self.outputs, reads)])
        ordered = builder.op("Transpose", [parts], perm=[1, 0, 2])
        return self._scaled(builder, ordered, (self.outputs, 1, 1))

    def _scaled(self, builder: OnnxBuilder, value: OnnxValue, shape: Sequence[int]) -> OnnxValue:
        if self.scale is None:
            return value
        return builder.op("Mul", [value, builder.constant(self.scale.view(*shape), "s")])

    def _emit_kronecker(self, builder: OnnxBuilder) -> OnnxValue:
        """The mix as a matrix on all results: (M, L, V, L), zero but for equal channels, times the scale."""
        results, width = self.weight.shape[:2]
        mixing = builder.constant(self.mixing().detach().t().reshape(-1, 1, results, 1).contiguous(), "a")
        zeros = builder.op("ConstantOfShape", [integers(builder, width, width)])
        eye = builder.op("Reshape", [builder.op("EyeLike", [zeros]), integers(builder, 1, width, 1, width)])
        return self._scaled(builder, builder.op("Mul", [mixing, eye]), (self.mix.shape[1], width, 1, 1))

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor: ...


class MetaLinear(MetaLayer):
    """Linear layer on feature rows (K,) → (M·L,); ``weight`` is (V, L, K / G)."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        mix: Tensor,
        groups: int,
        *,
        slope: Tensor | None = None,
        dropout: float = 0.0,
        normalise: Normalise = "none",
    ) -> None:
        super().__init__(weight, bias, mix, groups, normalise=normalise)
        self.slope = None if slope is None else nn.Parameter(slope.detach().clone())
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        results, width, reads = self.weight.shape
        by_group = x.view(-1, self.groups, reads).transpose(0, 1)
        h = by_group @ self.weight.view(self.groups, -1, reads).transpose(1, 2)
        h = h.transpose(0, 1).reshape(-1, results, width)
        h = h if self.bias is None else h + self.bias
        h = h if self.slope is None else F.prelu(h, self.slope)
        h = F.dropout(h, self.dropout, self.training)
        return self.affine((self.mixing().t() @ h).flatten(1))

    def output_shape(self, *inputs: Shape) -> Shape:
        wanted = (self.groups * self.weight.shape[2],)
        if inputs != (wanted,):
            raise GraphError(f"a linear layer in groups for {wanted[0]} features got {inputs}")
        return (self.outputs,)

    def cost(self, *inputs: Shape) -> Cost:
        return Cost(self._parameter_cost(), {32: self.weight.numel() + self.weight.shape[1] * self.mix.numel()})

    # --- the file ------------------------------------------------------------------------------------------------

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        if self.slope is not None and prelu_form(self.outputs, *self.weight.shape[:2]) == "grouped":
            return self._emit_grouped(builder, inputs[0], self.slope.detach())
        dense = self.groups * self.weight.shape[2] * self.outputs
        if self.slope is None and dense - self.weight.numel() < FOLD_BELOW:
            return self._emit_folded(builder, inputs[0])
        return self._emit_batched(builder, inputs[0])

    def _emit_folded(self, builder: OnnxBuilder, x: OnnxValue) -> OnnxValue:
        shape = integers(builder, self.outputs, self.groups * self.weight.shape[2])
        operands = [x, builder.op("Reshape", [self._emit_dense_weight(builder), shape])]
        bias = self._dense_bias()
        if bias is not None:
            operands.append(builder.constant(bias, "b"))
        return builder.op("Gemm", operands, transB=1)

    def _emit_batched(self, builder: OnnxBuilder, x: OnnxValue) -> OnnxValue:
        """Groups as a batch of products; rows of samples inside."""
        results, width, reads = self.weight.shape
        rows = builder.op("Reshape", [x, integers(builder, 0, self.groups, reads)])
        by_group = builder.op("Transpose", [rows], perm=[1, 0, 2])
        own = self.weight.detach().view(self.groups, -1, reads).transpose(1, 2).contiguous()
        product = builder.op("MatMul", [by_group, builder.constant(own, "w")])
        h = builder.op("Transpose", [product], perm=[1, 0, 2])
        if results > self.groups:
            h = builder.op("Reshape", [h, integers(builder, 0, results, width)])
        if self.slope is None:
            y = self._emit_mixed(builder, h, self.mixing().detach())
            return self._emit_affine(builder, y, self._dense_bias())
        if self.bias is not None:
            h = builder.op("Add", [h, builder.constant(self.bias.detach(), "b")])
        h, mixing = self._emit_prelu(builder, h, self.slope.detach())
        return self._emit_affine(builder, self._emit_mixed(builder, h, mixing), self.shift)

    def _emit_prelu(self, builder: OnnxBuilder, h: OnnxValue, slope: Tensor) -> tuple[OnnxValue, Tensor]:
        """φ(h) and the matrix that mixes it. Wide ones as φ(h) = a·h + (1 − a)·ReLU(h), the factors in the matrix."""
        mixing = self.mixing().detach()
        if self.weight.shape[1] < WIDE:
            return builder.op("PRelu", [h, builder.constant(slope.view(-1, 1), "a")]), mixing
        both = builder.op("Concat", [h, builder.op("Relu", [h])], axis=1)
        return both, torch.cat([mixing * slope[:, None], mixing * (1 - slope[:, None])])

    def _emit_mixed(self, builder: OnnxBuilder, h: OnnxValue, mixing: Tensor) -> OnnxValue:
        mixed = builder.op("MatMul", [builder.constant(mixing.t().contiguous(), "m"), h])
        return builder.op("Reshape", [mixed, integers(builder, 0, self.outputs)])

    def _emit_affine(self, builder: OnnxBuilder, y: OnnxValue, shift: Tensor | None) -> OnnxValue:
        y = self._scaled(builder, y, (-1,))
        return y if shift is None else builder.op("Add", [y, builder.constant(shift, "t")])

    def _emit_grouped(self, builder: OnnxBuilder, x: OnnxValue, slope: Tensor) -> OnnxValue:
        """Small ones: a grouped 1×1 convolution, PReLU, and the mix as one product."""
        results, width, reads = self.weight.shape
        images = builder.op("Reshape", [x, integers(builder, 0, self.groups * reads, 1, 1)])
        operands = [images, builder.constant(self.weight.detach().view(results * width, reads, 1, 1), "w")]
        if self.bias is not None:
            operands.append(builder.constant(self.bias.detach().flatten(), "b"))
        h = builder.op("Conv", operands, group=self.groups)
        h = builder.op("Reshape", [h, integers(builder, 0, results * width)])
        h = builder.op("PRelu", [h, builder.constant(slope.repeat_interleave(width), "a")])
        matrix = builder.op("Reshape", [self._emit_kronecker(builder), integers(builder, self.outputs, -1)])
        operands = [h, matrix] if self.shift is None else [h, matrix, builder.constant(self.shift, "t")]
        return builder.op("Gemm", operands, transB=1)


def prelu_form(outputs: int, results: int, width: int) -> Literal["grouped", "batched"]:
    """How a linear layer with PReLU between groups and mix runs in the file."""
    small = results * width * outputs <= KRONECKER_UP_TO and width <= NARROW
    return "grouped" if small else "batched"


def prelu_pays(inputs: int, outputs: int, groups: int, mixed: int, ranks: int = 1) -> bool:
    """Whether a linear layer with PReLU is no slower than the dense one in its place."""
    dense = inputs * outputs
    if prelu_form(outputs, groups * ranks, outputs // mixed) == "grouped":
        return dense >= GROUPED_PAYS_FROM
    return dense - ranks * dense // mixed >= BATCHED_PAYS_FROM


class MetaConv(MetaLayer):
    """Convolution of lines, images or volumes (C, …) → (M·L, …), φ the identity; ``weight`` is (V, L, C / G, k…)."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None,
        mix: Tensor,
        groups: int,
        *,
        geometry: Geometry,
        positions: int = 0,
        normalise: Normalise = "none",
    ) -> None:
        """``geometry`` with the groups; ``positions``: of an output image, by which the file chooses its form."""
        super().__init__(weight, bias, mix, groups, normalise=normalise)
        self.positions, self.geometry = positions, geometry

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.flatten()
        h = self.geometry.apply(x, self.weight.flatten(0, 1), bias)
        mixed = self.mixing().t() @ h.reshape(h.shape[0], self.weight.shape[0], -1)
        return self.affine(mixed.view(h.shape[0], self.outputs, *h.shape[2:]))

    def output_shape(self, *inputs: Shape) -> Shape:
        channels = self.groups * self.weight.shape[2]
        if len(inputs) != 1 or len(inputs[0]) != self.weight.dim() - 2 or inputs[0][0] != channels:
            raise GraphError(f"a convolution in groups for {channels} channels got {inputs}")
        return (self.outputs, *self.geometry.outputs(inputs[0][1:], self.weight.shape[3:]))

    def cost(self, *inputs: Shape) -> Cost:
        positions = math.prod(self.output_shape(*inputs)[1:])
        macs = (self.weight.numel() + self.weight.shape[1] * self.mix.numel()) * positions
        return Cost(self._parameter_cost(), {32: macs})

    # --- the file ------------------------------------------------------------------------------------------------

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        form = self.form()
        if form == "dense":
            return self._emit_dense(builder, inputs[0])
        return self._emit_grouped(builder, inputs[0], form)

    def form(self) -> Literal["dense", "product", "reshape"]:
        """How the file computes it: one dense convolution, or a grouped one and the mix.

        The mix is a 1×1 convolution with a Kronecker product as its weight, or, where that would cost more than the
        grouped convolution, one over the results with everything else as pixels. Measured on 4² to 32²: 1.2× to 4×
        faster than dense, but only where the runtime's blocks of 16 channels fit the groups (32→32 in 4 groups 0.9×,
        in 2 groups 1.25×; 64→64 in 16 groups 0.86×). For lines and volumes nothing was measured, and dense it is.
        """
        if self.weight.dim() != 5:
            return "dense"
        results, width, reads = self.weight.shape[:3]
        wide = results // self.groups * width
        own, product = self.weight.numel(), results * width * self.outputs
        dense = self.outputs * self.groups * reads * self.weight[0, 0, 0].numel()
        fits = 16 if min(self.groups * reads, self.outputs) < 64 else 8
        if reads % fits or wide % fits or dense * self.positions < SMALL_CONVOLUTION:
            return "dense"
        if product > own and own + width * self.mix.numel() <= 0.3 * dense:
            return "reshape"
        return "product" if own + product <= 0.73 * dense else "dense"

    def _emit_dense(self, builder: OnnxBuilder, x: OnnxValue) -> OnnxValue:
        _, _, channels, *kernel = self.weight.shape
        shape = integers(builder, self.outputs, self.groups * channels, *kernel)
        weight = builder.op("Reshape", [self._emit_dense_weight(builder), shape])
        return self._conv(builder, x, weight, self._dense_bias(), 1)

    def _emit_grouped(self, builder: OnnxBuilder, x: OnnxValue, form: Literal["product", "reshape"]) -> OnnxValue:
        """Grouped convolution, then the mix; as a product it takes bias and scale along."""
        results, width = self.weight.shape[:2]
        h = self._conv(builder, x, builder.constant(self.weight.detach().flatten(0, 1), "w"), None, self.groups)
        if form == "product":
            shape = integers(builder, self.outputs, results * width, 1, 1)
            operands = [h, builder.op("Reshape", [self._emit_kronecker(builder), shape])]
            bias = self._dense_bias()
            return builder.op("Conv", operands if bias is None else [*operands, builder.constant(bias, "b")])
        h = builder.op("Reshape", [h, integers(builder, 0, results, -1, 0)])
        h = builder.op("Conv", [h, builder.constant(self.mixing().detach().t().contiguous().view(-1, results, 1, 1))])
        y = self._scaled(builder, builder.op("Reshape", [h, integers(builder, 0, self.outputs, -1, 0)]), (-1, 1, 1))
        bias = self._dense_bias()
        return y if bias is None else builder.op("Add", [y, builder.constant(bias.view(-1, 1, 1), "b")])

    def _conv(
        self, builder: OnnxBuilder, x: OnnxValue, weight: OnnxValue, bias: Tensor | None, groups: int
    ) -> OnnxValue:
        operands = [x, weight] if bias is None else [x, weight, builder.constant(bias, "b")]
        return replace(self.geometry, groups=groups).emit(builder, operands, self.weight.shape[3:])


def integers(builder: OnnxBuilder, *values: int) -> OnnxValue:
    """An int64 vector in the file."""
    return builder.constant(np.array(values, dtype=np.int64), "i")
