"""Operators that may stay in a network as they are: pure functions of tensors and numbers, by torch's own account.

What torch declares to be element-wise, and what is on the list, is admitted if it writes nowhere and draws no random
numbers. All else is refused, and nothing of it is ever run: some operators read files, depend on values, make tensors
of any size, or trust their arguments blindly. The same holds for live modules as for files, so that a network that
was captured can always be written and read again.
"""

from __future__ import annotations

import functools
from typing import Final

import torch

from compressor.graph.raising.aliasing import overload

_NAMES: Final = frozenset({
    # products
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bilinear", "bmm", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "convolution", "cosine_similarity", "dot", "einsum", "gru", "inner",
    "linalg_matmul", "linalg_matrix_exp", "linalg_multi_dot", "linalg_vecdot", "linear", "lstm", "matmul", "matrix_exp",
    "mm", "mv", "outer", "pairwise_distance", "rnn_relu", "rnn_tanh", "scaled_dot_product_attention", "tensordot",
    "vdot", "_weight_norm",
    # reductions and normalisation
    "all", "alpha_dropout", "amax", "amin", "aminmax", "any", "argmax", "argmin", "argsort", "batch_norm",
    "count_nonzero", "cummax", "cummin", "cumprod", "cumsum", "dropout", "feature_alpha_dropout", "feature_dropout",
    "group_norm", "instance_norm", "layer_norm", "linalg_cross", "linalg_matrix_norm", "linalg_norm",
    "linalg_vector_norm", "log_softmax", "logcumsumexp", "logsumexp", "max", "mean", "median", "min", "msort", "nansum",
    "norm", "prod", "rms_norm", "softmax", "sort", "std", "std_mean", "sum", "topk", "trace", "var", "var_mean",
    # pooling, padding, sampling
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "adaptive_max_pool3d", "affine_grid_generator", "avg_pool1d", "avg_pool2d", "avg_pool3d", "col2im",
    "constant_pad_nd", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "im2col", "max_pool1d",
    "max_pool1d_with_indices", "max_pool2d", "max_pool2d_with_indices", "max_pool3d", "max_pool3d_with_indices", "pad",
    "upsample_bicubic2d", "upsample_bilinear2d", "upsample_linear1d", "upsample_nearest1d", "upsample_nearest2d",
    "upsample_nearest3d", "upsample_trilinear3d", "_upsample_bicubic2d_aa", "_upsample_bilinear2d_aa",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
    # movement
    "bucketize", "cat", "cdist", "channel_shuffle", "chunk", "column_stack", "detach", "diag", "diag_embed", "diagonal",
    "diff", "dstack", "embedding", "expand", "expand_as", "flatten", "flip", "fliplr", "flipud", "gather", "hsplit",
    "hstack", "index", "index_select", "meshgrid", "movedim", "narrow", "permute", "pixel_shuffle", "pixel_unshuffle",
    "prelu",
    "repeat", "repeat_interleave", "reshape", "reshape_as", "roll", "rot90", "scatter", "scatter_add", "select",
    "select_scatter", "slice", "slice_scatter", "split", "split_with_sizes", "squeeze", "stack", "t", "take_along_dim",
    "tensor_split", "tile", "to", "_to_copy", "transpose", "tril", "triu", "type_as", "unbind", "unflatten", "unfold",
    "unsafe_chunk", "unsafe_split", "unsqueeze", "view", "view_as", "where",
    # elementwise ones that torch does not declare so
    "celu", "clamp", "floor_divide", "glu", "isclose", "log_sigmoid", "masked_fill", "nan_to_num", "rsub", "softplus",
})  # fmt: skip
_REFUSED_OVERLOADS: Final = frozenset({"aten.repeat_interleave.Tensor", "aten.all.default", "aten.any.default"})
_TAGS: Final = frozenset({torch.Tag.nondeterministic_seeded, torch.Tag.data_dependent_output})
_RANDOM_IN_TRAINING: Final = frozenset({
    "alpha_dropout", "dropout", "feature_alpha_dropout", "feature_dropout", "gru", "lstm", "rnn_relu", "rnn_tanh",
    "scaled_dot_product_attention",
})  # fmt: skip


@functools.cache
def pure(target: str) -> torch._ops.OpOverload | None:
    """The operator ``aten.name.overload`` if it may stay in a network, otherwise None."""
    space, _, rest = target.partition(".")
    name, _, _ = rest.partition(".")
    if space != "aten" or not name.isidentifier() or name.startswith("__") or name.endswith("_backward"):
        return None
    operator = overload(target)
    if operator is None:
        return None
    admitted = name in _NAMES or torch.Tag.pointwise in operator.tags
    return operator if admitted and _is_function(operator, name) and target not in _REFUSED_OVERLOADS else None


def _is_function(operator: torch._ops.OpOverload, name: str) -> bool:
    """Whether it writes into none of its arguments, and draws no random numbers but in dropout."""
    schema = operator._schema
    if any(argument.alias_info is not None and argument.alias_info.is_write for argument in schema.arguments):
        return False
    if any("Generator" in str(argument.type) for argument in schema.arguments):
        return False
    return name in _RANDOM_IN_TRAINING or not _TAGS & set(operator.tags)
