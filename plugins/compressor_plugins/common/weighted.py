"""The common part of leaves that compute with a weight made from a latent one: a linear or a convolutional layer.

    y = f(W) ∗ x + b            W latent (``weight``), f(W) what the subclass makes of it (``effective_weight``)

Linear layers of rows, tokens and channels-last images, and convolutions of any rank, grouped and transposed ones too.
The latent weight and the bias keep the names and layouts they have in torch's layers, so that a network can be rewound
to first values, and weights be loaded, by name.
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
    """``weight`` is (N, K) for K features, or laid out as ``Geometry`` says; ``bias`` (N,) or None.

    Subclasses name their tensors that follow the channels: ``like_weight`` are shaped as the weight, ``per_output``
    have one entry for each output.
    """

    like_weight: ClassVar[tuple[str, ...]] = ("weight",)
    per_output: ClassVar[tuple[str, ...]] = ("bias",)

    def __init__(self, weight: Tensor, bias: Tensor | None, geometry: Geometry | None, tokens: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.geometry = geometry
        """None: a linear layer."""
        self.tokens = tokens
        """A linear layer whose samples are more than one row: (…, K)."""
        self.channel_dim = -1 if tokens else 1

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
        return self.geometry.apply(x, self.effective_weight(), self.bias)

    def output_shape(self, *inputs: Shape) -> Shape:
        if self.geometry is None:
            outputs, features = self.weight.shape
            if len(inputs) != 1 or inputs[0][-1:] != (features,) or (len(inputs[0]) > 1) > self.tokens:
                raise GraphError(f"a linear layer for {features} features got {inputs}")
            return (*inputs[0][:-1], outputs)
        channels, outputs = self.geometry.channels(self.weight.shape)
        if len(inputs) != 1 or len(inputs[0]) != self.weight.dim() - 1 or inputs[0][0] != channels:
            raise GraphError(f"a convolution for {channels} channels got {inputs}")
        return (outputs, *self.geometry.outputs(inputs[0][1:], self.weight.shape[2:]))

    def mac_count(self, *inputs: Shape) -> int:
        """Multiply-accumulates of the dense layer, which is what runs: zeros and narrow weights are not skipped."""
        if self.geometry is None:
            return self.weight.numel() * math.prod(inputs[0][:-1])
        return self.geometry.macs(self.weight.shape, inputs[0][1:])

    def emit(self, builder: OnnxBuilder, inputs: Sequence[OnnxValue]) -> OnnxValue:
        weight = self.emit_weight(builder)
        bias = [] if self.bias is None else [builder.constant(self.bias.detach().float(), "bias")]
        if self.geometry is not None:
            return self.geometry.emit(builder, [inputs[0], weight, *bias], self.weight.shape[2:])
        if not self.tokens:
            return builder.op("Gemm", [inputs[0], weight, *bias], transB=1)
        product = builder.op("MatMul", [inputs[0], builder.op("Transpose", [weight], perm=[1, 0])])
        return builder.op("Add", [product, *bias]) if bias else product

    def rows(self, values: Tensor) -> Tensor:
        """Values shaped as the weight, as one row for each output."""
        return output_rows(values, self.geometry)

    def spread(self, values: Tensor) -> Tensor:
        """(N,) shaped to broadcast over the weight."""
        return over_weight(values, self.weight.shape, self.geometry)

    def keep_outputs(self, channels: Tensor) -> None:
        self._refuse_groups()
        for name in self.like_weight:
            self._pick(name, channels, 1 if self._transposed else 0)
        for name in self.per_output:
            self._pick(name, channels, 0)

    def keep_inputs(self, channels: Tensor) -> None:
        self._refuse_groups()
        for name in self.like_weight:
            self._pick(name, channels, 0 if self._transposed else 1)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, {'linear' if self.geometry is None else self.geometry}"

    @property
    def _transposed(self) -> bool:
        return self.geometry is not None and self.geometry.transposed

    def _refuse_groups(self) -> None:
        if self.geometry is not None and self.geometry.groups != 1:
            raise NotImplementedError(f"a grouped {type(self).__name__} cannot lose single channels")

    def _pick(self, name: str, channels: Tensor, axis: int) -> None:
        old = getattr(self, name)
        if old is None:
            return
        fresh = old.detach().index_select(axis, channels.to(old.device)).clone()
        setattr(self, name, nn.Parameter(fresh, old.requires_grad) if isinstance(old, nn.Parameter) else fresh)


def output_rows(weight: Tensor, geometry: Geometry | None) -> Tensor:
    """A weight as (N, weights of one output)."""
    if geometry is None or not geometry.transposed:
        return weight.flatten(1)
    return torch.cat([part.transpose(0, 1).flatten(1) for part in weight.chunk(geometry.groups)])


def over_weight(values: Tensor, weight: Sequence[int], geometry: Geometry | None) -> Tensor:
    """One value for each output (N,), shaped to broadcast over a weight of this shape."""
    ones = [1] * (len(weight) - 2)
    if geometry is None or not geometry.transposed:
        return values.view(-1, 1, *ones)
    if geometry.groups == 1:
        return values.view(1, -1, *ones)
    within = weight[0] // geometry.groups
    return values.view(geometry.groups, 1, -1).expand(-1, within, -1).flatten(0, 1).view(weight[0], -1, *ones)
