"""One bit per weight for layers of every kind whose input stays floats: tokens, lines, volumes, transposed ones.

    y = α ⊙ (q(V) ∗ x) + b         V latent weights in [−1, 1] (``weight``), α one scale per output channel (``scale``)

What q is, and how it is trained, says ``binary_layers``, whose layers of rows and images can take one-bit inputs too.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.export.packing import pack_bits, unpack_bits
from compressor.graph.leaf import Cost, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.binarize.layers import sign
from compressor_plugins.common.geometry import Geometry
from compressor_plugins.common.weighted import WeightedLayer, output_rows, over_weight


class BinaryWeights(WeightedLayer):
    """A linear or convolutional layer with weights ±α; ``scale`` is (N,)."""

    per_output: ClassVar[tuple[str, ...]] = ("bias", "scale")

    def __init__(
        self, weight: Tensor, scale: Tensor, bias: Tensor | None, geometry: Geometry | None, tokens: bool = False
    ) -> None:
        super().__init__(weight, bias, geometry, tokens)
        self.scale = nn.Parameter(scale.detach().clone())

    def reset_parameters(self) -> None:
        """As a rewrite starts from a new layer: latent weights and scale from weights uniform within ±1/√(inputs)."""
        super().reset_parameters()
        bound = 1 / math.sqrt(self.weight[0].numel())
        with torch.no_grad():
            self.weight.uniform_(-1, 1)
            self.scale.copy_(bound * self.rows(self.weight.abs()).mean(1))

    def effective_weight(self) -> Tensor:
        return sign(self.weight) * self.spread(self.scale)

    def after_step(self) -> None:
        with torch.no_grad():
            self.weight.clamp_(-1, 1)

    def emit_weight(self, builder: OnnxBuilder) -> OnnxValue:
        signs = (self.weight.detach() >= 0).cpu().numpy()
        scale = self.spread(self.scale.detach()).cpu().numpy().astype(np.float32)
        return unpack_bits(builder, pack_bits(signs), list(signs.shape), builder.constant(scale, "a"))

    def cost(self, *inputs: Shape) -> Cost:
        floats = len(self.scale) + (0 if self.bias is None else len(self.bias))
        return Cost({32: floats, 1: self.weight.numel()}, {1: self.mac_count(*inputs)})

    def fold_affine(self, scale: Tensor, shift: Tensor) -> BinaryWeights | None:
        if self.tokens:
            return None
        bias = shift if self.bias is None else self.bias.detach() * scale + shift
        return BinaryWeights(self.weight, self.scale.detach() * scale, bias, self.geometry)


def binary_weights(source: nn.Linear | _ConvNd, *, tokens: bool = False) -> BinaryWeights:
    """The binary form of a trained layer: V = w / max|w| and α = mean|w|, both per output channel.

    A convolution must pad with zeros, equally on both sides.
    """
    weight, geometry = source.weight.detach(), Geometry.of(source)
    magnitude = output_rows(weight, geometry).abs()
    largest = over_weight(magnitude.amax(1).clamp_min(1e-12), weight.shape, geometry)
    layer = BinaryWeights(weight / largest, magnitude.mean(1), source.bias, geometry, tokens)
    return layer.to(weight.device)
