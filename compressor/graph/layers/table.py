"""Every kind of layer that is known, by class and by the operators that become it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Final

from torch import nn

from compressor.graph.layers import (
    activation,
    adaptive_pool,
    batch_norm,
    conv,
    conv_transpose,
    dropout,
    gate,
    linear,
    norm,
    pad,
    pool,
    prelu,
    rectifier,
    resample,
    reshape,
    response_norm,
    rms_norm,
    shuffle,
    softmax,
)
from compressor.graph.layers.kind import Capture, LayerKind, Read

KINDS: Final[tuple[LayerKind, ...]] = (
    *conv.KINDS, *conv_transpose.KINDS, *linear.KINDS, *batch_norm.KINDS, *norm.KINDS, *rms_norm.KINDS,
    *response_norm.KINDS, *rectifier.KINDS, *prelu.KINDS, *activation.KINDS, *gate.KINDS, *softmax.KINDS, *pool.KINDS,
    *adaptive_pool.KINDS, *pad.KINDS, *resample.KINDS, *reshape.KINDS, *shuffle.KINDS, *dropout.KINDS,
)  # fmt: skip
_BY_CLASS: Final = {of: kind for kind in KINDS for of in kind.classes}
_COMPUTING: Final = ("forward", "_conv_forward")
"""A subclass that overrides one of these computes something of its own."""

CAPTURED: Final[Mapping[str, Capture]] = dict(chain.from_iterable(kind.captured.items() for kind in KINDS))
"""Operator of ``torch.export``, without its overload and the underscore of in-place → the layer that it becomes."""
WITH_TENSORS: Final = frozenset(operator for kind in KINDS if kind.tensors for operator in kind.captured)
"""Those of them that become layers with weights."""
READ: Final[Mapping[str, Read]] = dict(chain.from_iterable(kind.read.items() for kind in KINDS))
"""ONNX operator → what it becomes."""


def kind_of(layer: nn.Module) -> LayerKind | None:
    """The kind of a layer's class, or of the class whose ``forward`` it inherits; None for what is no known layer."""
    own = type(layer)
    for base in own.__mro__:
        if base in _BY_CLASS:
            same = all(getattr(own, name, None) is getattr(base, name, None) for name in _COMPUTING)
            return _BY_CLASS[base] if same else None
    return None


def vanishes(layer: nn.Module | None) -> bool:
    """Whether it is a layer that is the identity in eval mode."""
    kind = None if layer is None else kind_of(layer)
    return kind is not None and kind.vanishes
