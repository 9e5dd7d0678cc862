"""What stays a function call in the graph under Python's own name, and what vanishes from it."""

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
