"""From a live ``torch.export`` program to the neutral one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument

from compressor.errors import CaptureError
from compressor.graph.nesting import Nesting
from compressor.graph.raising.regions import Detached, FlatStep, without_regions
from compressor.graph.traced.program import BATCH, UNKNOWN, Op, Program, Scope, Sizes, ValueRef

_STATE = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def from_exported(exported: ExportedProgram, nesting: Nesting, names: tuple[str, ...] = (), under: str = "") -> Program:
    """The program as data, with copies of its tensors. Raises ``CaptureError`` for what a network cannot be.

    ``nesting`` of its outputs, which it returns flat; ``names`` of its inputs; ``under``: where in the traced module
    the network lies.
    """
    state, parameters = _state(exported)
    inputs = _inputs(exported)
    nodes = {node.name: node for node in exported.graph.nodes}
    symbol = _batch_size([nodes[name].meta["val"] for name in inputs])
    flat = without_regions(exported.graph_module)
    inside = {path: path.removeprefix(f"{under}.") for path in state.values()}
    return Program(
        inputs=inputs,
        outputs=tuple(flat.aliases.get(name, name) for name in _outputs(exported)),
        ops=tuple(_op(step, under) for step in flat.steps),
        state={name: inside[path] for name, path in state.items()},
        tensors={inside[path]: tensor for path, tensor in _copies(exported, state.values()).items()},
        parameters=frozenset(inside[path] for path in parameters),
        sizes={key: _sizes(value, symbol) for key, value in flat.values.items()},
        dtypes={key: value.dtype for key, value in flat.values.items()},
        nesting=nesting,
        names=names,
    )


def _state(exported: ExportedProgram) -> tuple[dict[str, str], frozenset[str]]:
    specs = [spec for spec in exported.graph_signature.input_specs if spec.kind in _STATE]
    state = {spec.arg.name: spec.target or "" for spec in specs}
    return state, frozenset(spec.target or "" for spec in specs if spec.kind is InputKind.PARAMETER)


def _inputs(exported: ExportedProgram) -> tuple[str, ...]:
    others = [spec for spec in exported.graph_signature.input_specs if spec.kind not in _STATE]
    inputs = [spec.arg for spec in others if not isinstance(spec.arg, ConstantArgument)]
    if not inputs or not all(isinstance(arg, TensorArgument) for arg in inputs):
        raise CaptureError("it takes inputs that are no tensors" if inputs else "it takes no input")
    return tuple(arg.name for arg in inputs)


def _outputs(exported: ExportedProgram) -> tuple[str, ...]:
    specs = exported.graph_signature.output_specs
    changed = [spec.target for spec in specs if spec.kind is OutputKind.BUFFER_MUTATION]
    if changed:
        raise CaptureError(f"it changes its own state {changed[0]!r} in eval mode")
    moved = [spec.target for spec in specs if spec.kind is OutputKind.USER_INPUT_MUTATION]
    if moved:
        raise CaptureError(f"it changes its input {moved[0]!r} in place")
    outputs = [spec.arg for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
    if not outputs or not all(isinstance(arg, TensorArgument) for arg in outputs):
        raise CaptureError("it returns values that are no tensors" if outputs else "it returns no tensor")
    return tuple(arg.name for arg in outputs)


def _batch_size(inputs: Sequence[Tensor]) -> Any:
    """The size of the first dimension: a symbol where it is free, else a number; None where there is none."""
    sizes = [value.shape[0] for value in inputs if value.dim()]
    return next((size for size in sizes if not isinstance(size, int)), next(iter(sizes), None))


def _copies(exported: ExportedProgram, paths: Any) -> dict[str, Tensor]:
    """Copies of the tensors, tied ones copied once."""
    copies: dict[int, Tensor] = {}
    result: dict[str, Tensor] = {}
    for path in paths:
        tensor = exported.state_dict[path] if path in exported.state_dict else exported.constants[path]
        if not isinstance(tensor, Tensor):
            raise CaptureError(f"its constant {path!r} is no tensor")
        if id(tensor) not in copies:
            copies[id(tensor)] = tensor.detach().clone().requires_grad_(tensor.requires_grad)
        result[path] = copies[id(tensor)]
    return result


def _sizes(value: Tensor, batch: Any) -> Sizes:
    """Sizes of a value. Symbols that have nothing to do with the batch take the value they had in the trace."""

    def size(place: int, dimension: Any) -> int:
        if isinstance(dimension, int):
            return BATCH if place == 0 and isinstance(batch, int) and dimension == batch else dimension
        if str(dimension) == str(batch):
            return BATCH
        hint = dimension.node.hint
        return hint if isinstance(hint, int) and not _symbols(dimension) & _symbols(batch) else UNKNOWN

    return tuple(size(place, dimension) for place, dimension in enumerate(value.shape))


def _symbols(dimension: Any) -> set[Any]:
    return set() if isinstance(dimension, int) else set(dimension.node.expr.free_symbols)


def _op(step: FlatStep | Detached, under: str) -> Op:
    if isinstance(step, Detached):
        return Op("aten.detach.default", {"self": ValueRef(step.source)}, step.name)
    node = step.node
    if node.op != "call_function":
        raise CaptureError(f"{node.name} is control flow, which a network cannot hold")
    if isinstance(node.target, torch._ops.OpOverload):
        names = [argument.name for argument in node.target._schema.arguments]
        given: Mapping[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        target = str(node.target)
    else:
        given = {str(position): value for position, value in enumerate(node.args)}
        module, name = getattr(node.target, "__module__", ""), getattr(node.target, "__name__", str(node.target))
        target = f"{'operator' if module == '_operator' else module}.{name}"
    arguments = {name: _argument(value, step.names) for name, value in given.items()}
    return Op(target, arguments, step.name, _scope(node, under))


def _argument(value: Any, names: Mapping[fx.Node, str]) -> Any:
    if isinstance(value, fx.Node):
        return ValueRef(names[value])
    if isinstance(value, list | tuple):
        return [_argument(item, names) for item in value]
    return value


def _scope(node: fx.Node, under: str) -> Scope:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack or not isinstance(stack[-1][0], str) or stack[-1][0].startswith("_empty_nn_module_stack"):
        return Scope()
    path, kind = stack[-1]
    if under and not path.startswith(under):
        return Scope()
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    inside = path.partition("@")[0][len(under) :].removeprefix(".")
    return Scope(inside, name.rpartition(".")[2])
