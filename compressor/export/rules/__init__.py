"""The ONNX form of every function that the toolkit knows, by subject; layers have theirs in ``graph.layers``."""

from compressor.export.rules import (
    arithmetic,
    as_layer,
    movement,
    parametric,
    pick,
    product,
    quantized,
    recurrent,
    reduction,
)
from compressor.export.rules.call import FUNCTIONS

__all__ = [
    "FUNCTIONS",
    "arithmetic",
    "as_layer",
    "movement",
    "parametric",
    "pick",
    "product",
    "quantized",
    "recurrent",
    "reduction",
]
