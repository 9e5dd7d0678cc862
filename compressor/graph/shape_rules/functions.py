"""Shape rules of the graph's function and method calls, by the name of the operation.

``relu``, ``F.relu``, ``x.relu_()`` and ``torch.ops.aten.relu.default`` are one operation here. A rule answers
``NO_RULE`` where arithmetic on sample shapes does not settle it; the node is then run on zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import fx

from compressor.errors import GraphError
from compressor.graph.layers.reshape import flattened
from compressor.graph.leaf import Shape


class _NoRule:
    """The answer of a rule that does not know."""


NO_RULE: Final = _NoRule()
Answer = Shape | _NoRule
ShapeFunction = Callable[[fx.Node], Answer]


def operation(node: fx.Node) -> str:
    """Plain name of what a call_function or call_method node does: ``aten.add_.Tensor`` → ``add``."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        name = str(target.overloadpacket.__name__)
    else:
        name = target if isinstance(target, str) else str(getattr(target, "__name__", target))
    return name if name.startswith("__") else name.rstrip("_")


def function_shape(node: fx.Node) -> Answer:
    """Shape of one sample of the value of a call_function or call_method node, whose values are real numbers."""
    rule = RULES.get(operation(node))
    flags = any("dtype" in source.meta for source in node.all_input_nodes)
    return NO_RULE if rule is None or flags else rule(node)


def argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    """An argument given by position or by name."""
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


def _sample(value: Any) -> Shape | None:
    return value.meta.get("shape") if isinstance(value, fx.Node) else None


def _same(node: fx.Node) -> Answer:
    shape = _sample(node.args[0]) if node.args else None
    return NO_RULE if shape is None else shape


def _broadcast(node: fx.Node) -> Answer:
    left, right = argument(node, 0, "input", None), argument(node, 1, "other", None)
    shapes = [_sample(value) for value in (left, right) if not isinstance(value, int | float)]
    if not shapes or any(shape is None for shape in shapes):
        return NO_RULE
    known = [shape for shape in shapes if shape is not None]
    if len({len(shape) for shape in known}) != 1:
        return NO_RULE  # the shorter one would be broadcast over the batch
    if any(len({size for size in sizes if size != 1}) > 1 for sizes in zip(*known, strict=True)):
        raise GraphError(f"samples of shapes {_listed(known)} do not combine")
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*known, strict=True))


def _concatenate(node: fx.Node) -> Answer:
    tensors = argument(node, 0, "tensors", ())
    shapes = [_sample(tensor) for tensor in tensors] if isinstance(tensors, list | tuple) else [None]
    known = [shape for shape in shapes if shape is not None]
    dim = argument(node, 1, "dim", 0)
    if not known or len(known) != len(shapes) or not isinstance(dim, int):
        return NO_RULE
    axis = dim % (len(known[0]) + 1) - 1
    if axis < 0:
        return NO_RULE
    before, after = known[0][:axis], known[0][axis + 1 :]
    if any((shape[:axis], shape[axis + 1 :]) != (before, after) for shape in known):
        raise GraphError(f"samples of shapes {_listed(known)} cannot be concatenated along {dim}")
    return (*before, sum(shape[axis] for shape in known), *after)


def _listed(shapes: list[Shape]) -> str:
    return " and ".join(map(str, shapes))


def _flatten(node: fx.Node) -> Answer:
    shape = _sample(argument(node, 0, "input", None))
    start, end = argument(node, 1, "start_dim", 0), argument(node, 2, "end_dim", -1)
    if shape is None or not isinstance(start, int) or not isinstance(end, int):
        return NO_RULE
    return flattened(shape, start, end) or NO_RULE


UNARY = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "tanh", "hardtanh", "abs",
    "hardsigmoid", "hardswish", "softplus", "logsigmoid", "clamp", "neg", "exp", "sqrt", "rsqrt", "square", "sign",
    "dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout", "softmax", "log_softmax",
    "contiguous", "clone", "detach", "fake_quantize_per_tensor_affine",
)  # fmt: skip
BINARY = ("add", "sub", "mul", "div", "truediv", "true_divide", "maximum", "minimum")
RULES: dict[str, ShapeFunction] = {
    **dict.fromkeys(UNARY, _same),
    **dict.fromkeys(BINARY, _broadcast),
    **dict.fromkeys(["i" + name for name in ("add", "sub", "mul", "truediv")], _broadcast),
    **dict.fromkeys(["cat", "concat", "concatenate"], _concatenate),
    "flatten": _flatten,
}
"""Operation name → rule."""
