"""Linear and convolutional leaves some of whose weights are pruned: a mask says which ones survive.

    ŵ = w where the mask is set, else 0          backward: pruned weights get no gradient

After every optimizer step pruned weights are zeroed, lest weight decay, momentum or a schedule move them; and so is the
bias of a filter that has none left, since a BatchNorm behind it would divide that constant's rounding errors by a
standard deviation of zero. The mask is a buffer: rewinding the weights to first values by name leaves it alone.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from compressor.graph.leaf import Cost, OnnxBuilder, OnnxValue, Shape
from compressor_plugins.common.geometry import Geometry
from compressor_plugins.common.weighted import WeightedLayer
from compressor_plugins.magnitude_prune.sparse_weights import emit_sparse


class MaskedLayer(WeightedLayer):
    """A linear or convolutional layer with a mask (bool, shaped as the weight) and the number of prunings so far."""

    like_weight: ClassVar[tuple[str, ...]] = ("weight", "mask")
    mask: Tensor
    rounds: Tensor

    def __init__(
        self,
        weight: Tensor,
        mask: Tensor,
        bias: Tensor | None,
        geometry: Geometry | None,
        rounds: int = 1,
        tokens: bool = False,
    ) -> None:
        super().__init__(weight, bias, geometry, tokens)
        self.register_buffer("mask", mask.detach().clone())
        self.register_buffer("rounds", torch.tensor(rounds))

    @property
    def survivors(self) -> int:
        return int(self.mask.sum())

    def reset_parameters(self) -> None:
        """Weight and bias anew under the same mask."""
        super().reset_parameters()
        self.after_step()

    def effective_weight(self) -> Tensor:
        return torch.where(self.mask, self.weight, 0.0)

    def after_step(self) -> None:
        with torch.no_grad():
            self.weight.mul_(self.mask)
            if self.bias is not None:
                self.bias.mul_(self.rows(self.mask).any(1))

    def emit_weight(self, builder: OnnxBuilder) -> OnnxValue:
        return emit_sparse(builder, self.effective_weight().detach().float().cpu().numpy())

    def cost(self, *inputs: Shape) -> Cost:
        """Surviving weights alone are parameters; all multiply-accumulates remain, since no kernel skips zeros."""
        biases = 0 if self.bias is None else len(self.bias)
        return Cost({32: self.survivors + biases}, {32: self.mac_count(*inputs)})

    def fold_affine(self, scale: Tensor, shift: Tensor) -> MaskedLayer | None:
        if self.tokens:
            return None
        weight = self.weight.detach() * self.spread(scale)
        bias = shift if self.bias is None else self.bias.detach() * scale + shift
        return MaskedLayer(weight, self.mask, bias, self.geometry, int(self.rounds))


def masked_layer(source: nn.Linear | _ConvNd | MaskedLayer, mask: Tensor, *, tokens: bool = False) -> MaskedLayer:
    """The layer with the weights outside ``mask`` pruned; of a masked one, in another round."""
    if isinstance(source, MaskedLayer):
        rounds, geometry, tokens = int(source.rounds), source.geometry, source.tokens
    else:
        rounds, geometry = 0, Geometry.of(source)
    layer = MaskedLayer(source.weight, mask, source.bias, geometry, rounds + 1, tokens)
    layer.after_step()
    return layer
