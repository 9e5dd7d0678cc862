"""The ONNX form of every torch layer and function that the toolkit knows, by subject."""

from compressor.export.rules import (
    activation,
    arithmetic,
    as_layer,
    conv,
    movement,
    norm,
    pad,
    parametric,
    pick,
    pool,
    product,
    quantized,
    recurrent,
    reduction,
    shape,
)
from compressor.export.rules.call import FUNCTIONS
from compressor.export.rules.registry import rule_for

__all__ = [
    "FUNCTIONS",
    "activation",
    "arithmetic",
    "as_layer",
    "conv",
    "movement",
    "norm",
    "pad",
    "parametric",
    "pick",
    "pool",
    "product",
    "quantized",
    "recurrent",
    "reduction",
    "rule_for",
    "shape",
]
