"""What stays a function call in the graph: arithmetic, concatenation, and an allow-list of opaque operators.

An operator that is on no list is refused: some of torch's read files, depend on values, or make tensors of any size.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, Final

DROPPED: Final = frozenset(
    {
        "aten._assert_tensor_metadata.default",
        "aten._assert_scalar.default",
        "aten.sym_constrain_range_for_size.default",
        "aten.sym_constrain_range.default",
    }
)
"""Checks of the tracer, without a result that is used."""

SAME: Final = frozenset(
    {
        "aten.alias.default",
        "aten.clone.default",
        "aten.contiguous.default",
        "aten.lift_fresh_copy.default",
    }
)
"""Operators whose result holds the same values, and passes gradients on."""

CASTS: Final = frozenset({"aten.to.dtype", "aten.to.dtype_layout", "aten._to_copy.default", "aten.type_as.default"})
"""Changes of precision: the same values where the precision stays."""

ARITHMETIC: Final[dict[str, Callable[..., Any]]] = {
    "aten.add": operator.add,
    "aten.sub": operator.sub,
    "aten.mul": operator.mul,
    "aten.div": operator.truediv,
}
ARITHMETIC_OVERLOADS: Final = frozenset({"Tensor", "Scalar"})

SIZE_ARITHMETIC: Final[dict[str, Callable[..., Any]]] = {
    "operator.add": operator.add,
    "operator.sub": operator.sub,
    "operator.mul": operator.mul,
    "operator.floordiv": operator.floordiv,
    "operator.mod": operator.mod,
    "operator.neg": operator.neg,
    "operator.getitem": operator.getitem,
}
"""Python's own operators on sizes, and picking one of several results."""

_OPAQUE_NAMES = (
    "abs.default", "add.Scalar", "add.Tensor", "alpha_dropout.default", "amax.default", "amin.default",
    "avg_pool1d.default", "avg_pool2d.default", "avg_pool3d.default", "bmm.default",
    "channel_shuffle.default", "chunk.default", "clamp.Tensor", "clamp.default", "clamp_max.default",
    "clamp_min.default", "constant_pad_nd.default", "conv1d.default", "conv1d.padding", "conv2d.default",
    "conv2d.padding", "conv3d.default", "conv3d.padding", "conv_transpose1d.default", "conv_transpose2d.input",
    "conv_transpose3d.input", "cos.default", "detach.default", "div.Scalar", "div.Tensor", "div.Tensor_mode",
    "dropout.default", "elu.default", "eq.Scalar", "eq.Tensor", "erf.default", "exp.default", "expand.default",
    "expand_as.default", "feature_alpha_dropout.default", "feature_dropout.default", "flatten.using_ints",
    "flip.default", "floor.default", "ge.Scalar", "ge.Tensor", "glu.default", "group_norm.default", "gt.Scalar",
    "gt.Tensor", "index_select.default", "layer_norm.default", "le.Scalar", "le.Tensor",
    "linalg_vector_norm.default", "linear.default", "log.default", "log1p.default", "log_softmax.int",
    "logsumexp.default", "lt.Scalar", "lt.Tensor", "masked_fill.Scalar", "matmul.default", "max.dim",
    "maximum.default", "mean.default", "mean.dim", "min.dim", "minimum.default", "mm.default", "movedim.int",
    "movedim.intlist", "mul.Scalar", "mul.Tensor", "narrow.default", "ne.Scalar", "ne.Tensor", "neg.default",
    "pad.default", "permute.default", "pixel_shuffle.default", "pixel_unshuffle.default", "pow.Scalar",
    "pow.Tensor_Scalar", "pow.Tensor_Tensor", "prelu.default", "prod.dim_int", "reciprocal.default",
    "repeat_interleave.self_int", "reshape.default", "roll.default", "round.default", "rsqrt.default", "rsub.Scalar",
    "rsub.Tensor", "scaled_dot_product_attention.default", "select.int", "sign.default", "sin.default",
    "slice.Tensor", "softmax.int", "split.Tensor", "split_with_sizes.default", "sqrt.default", "square.default",
    "squeeze.default", "squeeze.dim", "squeeze.dims", "stack.default", "std.correction", "std.dim", "sub.Scalar",
    "sub.Tensor", "sum.dim_IntList", "swapaxes.default", "t.default", "to.dtype", "_to_copy.default", "transpose.int",
    "true_divide.Tensor", "type_as.default", "unbind.int", "unflatten.int", "unsafe_chunk.default",
    "unsafe_split.Tensor", "unsqueeze.default", "upsample_bicubic2d.vec", "upsample_bilinear2d.vec",
    "upsample_linear1d.vec", "upsample_nearest1d.vec", "upsample_nearest2d.vec", "upsample_nearest3d.vec",
    "_upsample_nearest_exact2d.vec", "upsample_trilinear3d.vec", "var.correction", "var.dim", "view.default",
    "where.self",
)  # fmt: skip
OPAQUE: Final = frozenset(f"aten.{name}" for name in _OPAQUE_NAMES)
"""Operators that may stay in the graph as they are: pure functions of tensors and numbers."""
