"""From a live ``torch.export`` program to the neutral one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument

from compressor.errors import CaptureError
from compressor.graph.raising.program import BATCH, UNKNOWN, Op, Program, Scope, Sizes, Value
from compressor.graph.raising.regions import Detached, Step, flattened

_STATE = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)


def from_exported(exported: ExportedProgram) -> Program:
    """The program as data, with copies of its tensors. Raises ``CaptureError`` for what a network cannot be."""
    state, parameters = _state(exported)
    name = _input(exported)
    nodes = {node.name: node for node in exported.graph.nodes}
    symbol = nodes[name].meta["val"].shape[0] if nodes[name].meta["val"].dim() else None
    flat = flattened(exported.graph_module)
    return Program(
        input=name,
        output=flat.aliases.get(output := _output(exported), output),
        ops=tuple(map(_op, flat.steps)),
        state=state,
        tensors=_copies(exported, state.values()),
        parameters=parameters,
        sizes={key: _sizes(value, symbol) for key, value in flat.values.items()},
        dtypes={key: value.dtype for key, value in flat.values.items()},
    )


def _state(exported: ExportedProgram) -> tuple[dict[str, str], frozenset[str]]:
    specs = [spec for spec in exported.graph_signature.input_specs if spec.kind in _STATE]
    state = {spec.arg.name: spec.target or "" for spec in specs}
    return state, frozenset(spec.target or "" for spec in specs if spec.kind is InputKind.PARAMETER)


def _input(exported: ExportedProgram) -> str:
    others = [spec for spec in exported.graph_signature.input_specs if spec.kind not in _STATE]
    inputs = [spec for spec in others if not isinstance(spec.arg, ConstantArgument)]
    if len(inputs) != 1 or not isinstance(inputs[0].arg, TensorArgument):
        raise CaptureError(f"it takes {len(inputs)} inputs; a network takes one tensor")
    return inputs[0].arg.name


def _output(exported: ExportedProgram) -> str:
    specs = exported.graph_signature.output_specs
    outputs = [spec for spec in specs if spec.kind is OutputKind.USER_OUTPUT]
    changed = [spec.target for spec in specs if spec.kind is OutputKind.BUFFER_MUTATION]
    if changed:
        raise CaptureError(f"it changes its own state {changed[0]!r} in eval mode")
    kind = exported.call_spec.out_spec
    if len(outputs) != 1 or not isinstance(outputs[0].arg, TensorArgument) or (kind and not kind.is_leaf()):
        container = "" if kind is None or kind.is_leaf() else f"a {kind.type.__name__} of "
        raise CaptureError(f"it returns {container}{len(outputs)} values; a network returns one tensor")
    return outputs[0].arg.name


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


def _op(step: Step | Detached) -> Op:
    if isinstance(step, Detached):
        return Op("aten.detach.default", {"self": Value(step.source)}, step.name)
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
    return Op(target, arguments, step.name, _scope(node))


def _argument(value: Any, names: Mapping[fx.Node, str]) -> Any:
    if isinstance(value, fx.Node):
        return Value(names[value])
    if isinstance(value, list | tuple):
        return [_argument(item, names) for item in value]
    return value


def _scope(node: fx.Node) -> Scope:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack or not isinstance(stack[-1][0], str) or stack[-1][0].startswith("_empty_nn_module_stack"):
        return Scope()
    path, kind = stack[-1]
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return Scope(path.partition("@")[0], name.rpartition(".")[2])
