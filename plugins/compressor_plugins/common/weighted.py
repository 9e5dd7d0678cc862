"""The common part of leaves that compute with a weight made from a latent one: a linear or a convolutional layer.

    y = f(W) ∗ x + b            W latent (``weight``), f(W) what the subclass makes of it (``effective_weight``)

The latent weight and the bias keep the names they have in ``nn.Linear`` and ``nn.Conv2d``, so that a network can be
rewound to first values, and weights be loaded, by name.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.errors import GraphError
from compressor.graph.leaf import Leaf, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.common.geometry import Geometry


class WeightedLayer(Leaf):
    """``weight`` is (N, K) for rows of K features, or (N, C / groups, kh, kw) for images; ``bias`` (N,) or None.

    Subclasses name their tensors that follow the channels: ``like_weight`` are shaped as the weight, ``per_output``
    have one entry for each output.
    """

    like_weight: ClassVar[tuple[str, ...]] = ("weight",)
    per_output: ClassVar[tuple[str, ...]] = ("bias",)

    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.geometry = geometry
        """None: a linear layer."""

    def reset_parameters(self) -> None:
        """Weight and bias as ``nn.Linear`` and ``nn.Conv2d`` draw theirs."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        with torch.no_grad():
            for values in (self.weight, self.bias):
                if values is not None:
                    values.uniform_(-bound, bound)

    @abstractmethod
    def effective_weight(self) -> Tensor:
        """The weight the layer computes with, shaped as the latent one; gradients reach the latent one."""

    @abstractmethod
    def emit_weight(self, builder: OnnxBuilder) -> OnnxValue:
        """The effective weight as a float tensor in the file, bit for bit."""

    def forward(self, x: Tensor) -> Tensor:
        if self.geometry is None:
            return F.linear(x, self.effective_weight(), self.bias)
        g = self.geometry
        return F.conv2d(x, self.effective_weight(), self.bias, g.stride, g.padding, g.dilation, g.groups)

    def output_shape(self, *inputs: Shape) -> Shape:
        outputs, channels, *kernel = self.weight.shape
        if self.geometry is None:
            if inputs != ((channels,),):
                raise GraphError(f"a linear layer for {channels} features got {inputs}")
            return (outputs,)
        g = self.geometry
        if len(inputs) != 1 or len(inputs[0]) != 3 or inputs[0][0] != channels * g.groups:
            raise GraphError(f"a convolution for {channels * g.groups} channels got {inputs}")
        return (outputs, *g.outputs(inputs[0][1:], kernel))

    def mac_count(self, *inputs: Shape) -> int:
        """Multiply-accumulates of the dense layer, which is what runs: zeros and narrow weights are not skipped."""
        return self.weight.numel() * math.prod(self.output_shape(*inputs)[1:])

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        operands = [inputs[0], self.emit_weight(builder)]
        if self.bias is not None:
            operands.append(builder.constant(self.bias.detach().float(), "bias"))
        if self.geometry is None:
            return builder.op("Gemm", operands, transB=1)
        return self.geometry.emit(builder, operands, self.weight.shape[2:])

    def keep_outputs(self, channels: Tensor) -> None:
        self._refuse_groups()
        for name in (*self.like_weight, *self.per_output):
            self._pick(name, channels, 0)

    def keep_inputs(self, channels: Tensor) -> None:
        self._refuse_groups()
        for name in self.like_weight:
            self._pick(name, channels, 1)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {'linear' if self.geometry is None else self.geometry}"

    def _refuse_groups(self) -> None:
        if self.geometry is not None and self.geometry.groups != 1:
            raise NotImplementedError(f"a grouped {type(self).__name__} cannot lose single channels")

    def _pick(self, name: str, channels: Tensor, axis: int) -> None:
        old = getattr(self, name)
        if old is None:
            return
        fresh = old.detach().index_select(axis, channels.to(old.device)).clone()
        setattr(self, name, nn.Parameter(fresh, old.requires_grad) if isinstance(old, nn.Parameter) else fresh)
