"""Raising: from a program of operators to a network of modules that computes the same bit for bit, also in training.

What one module can say becomes that module, at the path it had in the source where there was one; the rest stays a
function call if it is on an allow-list, and is refused otherwise. Modules that were shared stay shared, weights that
were tied stay tied. Time grows linearly with the number of operations.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.layers.adaptive_pool import over_image
from compressor.graph.layers.table import CAPTURED, WITH_TENSORS
from compressor.graph.network import Network
from compressor.graph.raising.aliasing import without_writes
from compressor.graph.raising.allowed import refuse_unknown, source_place
from compressor.graph.raising.assembly import Assembly, owner_of, safe_path
from compressor.graph.raising.batch_first import batch_first
from compressor.graph.raising.canonical import canonical
from compressor.graph.raising.constants import with_constants
from compressor.graph.raising.functions import (
    ARITHMETIC,
    ARITHMETIC_OVERLOADS,
    CASTS,
    DROPPED,
    SAME,
    SIZE_ARITHMETIC,
)
from compressor.graph.raising.precision import in_single_precision
from compressor.graph.raising.pure import pure
from compressor.graph.signature import TensorSpec
from compressor.graph.traced.call import Call
from compressor.graph.traced.layer import Layer
from compressor.graph.traced.program import BATCH, Op, Program, ValueRef, sample_sizes, split_target


def raise_program(program: Program, source: str = "") -> Network:
    """The network, in eval mode, with shapes. Raises ``CaptureError`` naming what has no place in a network."""
    program, notes = in_single_precision(program)
    inputs = tuple(_inputs(program))
    program = with_constants(canonical(program))
    for op in program.ops:
        refuse_unknown(op, program)
    network = _Raising(batch_first(without_writes(program)), inputs, source).network()
    network.notes = notes
    return network


def _inputs(program: Program) -> Iterator[TensorSpec]:
    for value, name in zip(program.inputs, program.names or program.inputs, strict=True):
        shape = sample_sizes(program.sizes.get(value))
        if shape is None:
            raise CaptureError(f"its input {name!r} must have the batch as first dimension, and fixed sizes otherwise")
        yield TensorSpec(name, shape, program.dtypes.get(value, torch.float32))


class _Raising:
    def __init__(self, program: Program, inputs: tuple[TensorSpec, ...], source: str) -> None:
        self.program = program
        self.varying = _of_the_input(program)
        self.paths = {path: safe_path(path) for path in program.tensors}
        if len(set(self.paths.values())) != len(self.paths):
            raise CaptureError("two of its tensors have names that differ in special characters only")
        self.build = Assembly(inputs, source, map(self.paths.__getitem__, sorted(self.tensors_read())), self.layers())
        self.nodes: dict[str, fx.Node] = dict(zip(program.inputs, self.build.inputs, strict=True))
        self.leaves: dict[Hashable, str] = {}
        self.held: dict[int, Tensor] = {}

    def network(self) -> Network:
        for op in self.program.ops:
            self.raise_op(op)
        return self.build.finish([self.node(name) for name in self.program.outputs], self.program.nesting)

    def tensors_read(self) -> set[str]:
        """Paths of the tensors that operations read, but for the counters of BatchNorm."""
        state = self.program.state
        read = {state[value.name] for op in self.program.ops for value in op.values if value.name in state}
        return {path for path in read if not path.endswith("num_batches_tracked")}

    def layers(self) -> set[str]:
        """Paths of the modules that hold the weights of a layer, and so will be that layer."""
        ops = [op for op in self.program.ops if split_target(op.target)[0] in WITH_TENSORS]
        held = [self.program.state[value.name] for op in ops for value in op.values if value.name in self.program.state]
        return {owner_of(self.paths[path]) for path in held if path.endswith((".weight", ".running_mean"))}

    # --- values --------------------------------------------------------------------------------------------------

    def node(self, name: str) -> fx.Node:
        if name not in self.nodes:
            if name not in self.program.state:
                raise CaptureError(f"value {name!r} is used before it is made")
            path = self.program.state[name]
            self.nodes[name] = self.build.tensor(self.paths[path], self.tensor(path))
        return self.nodes[name]

    def tensor(self, path: str) -> Tensor:
        """The tensor at ``path`` as the network holds it: parameters as such, tied ones as one."""
        tensor = self.program.tensors[path]
        if id(tensor) not in self.held:
            trained = path in self.program.parameters
            self.held[id(tensor)] = nn.Parameter(tensor.detach(), tensor.requires_grad) if trained else tensor.detach()
        return self.held[id(tensor)]

    def resolved(self, argument: Any) -> Any:
        if isinstance(argument, ValueRef):
            return self.node(argument.name)
        if isinstance(argument, list | tuple):
            return [self.resolved(item) for item in argument]
        return argument

    # --- operations ----------------------------------------------------------------------------------------------

    def raise_op(self, op: Op) -> None:
        if op.target in DROPPED or self.counts_batches(op):
            return
        call = Call(op, self.program)
        node = self.handed_through(call) or self.as_layer(call) or self.as_plain(call) or self.as_function(call)
        self.nodes[op.result] = node

    def counts_batches(self, op: Op) -> bool:
        """The counter that BatchNorm keeps in training; the module has its own."""
        path = self.program.path_of(next(iter(op.arguments.values()), None)) or ""
        return op.target in ("aten.add_.Tensor", "aten.add.Tensor") and path.endswith("num_batches_tracked")

    def handed_through(self, call: Call) -> fx.Node | None:
        source, target = call.source, call.op.target
        if source is None:
            return None
        dtypes = self.program.dtypes
        same_type = source.name in dtypes and dtypes.get(source.name) == dtypes.get(call.op.result)
        return self.node(source.name) if target in SAME or (target in CASTS and same_type) else None

    def as_layer(self, call: Call) -> fx.Node | None:
        base, _, _ = split_target(call.op.target)
        layer = CAPTURED[base](call) if base in WITH_TENSORS else None
        if layer is None or call.source is None or not self.holds_samples(call.source):
            return None
        settings = (str(layer.module), *sorted(layer.tensors.items()))
        key = (settings, "" if layer.tensors else call.op.scope.path)
        if key not in self.leaves:
            self.leaves[key] = self.add_layer(call, layer, base)
        return self.build.call(self.leaves[key], self.node(call.source.name))

    def holds_samples(self, value: ValueRef) -> bool:
        """Whether a layer may take the value: one that depends on the input, with the batch as first dimension."""
        sizes = self.program.sizes.get(value.name) or (BATCH,)
        return value.name in self.varying and sizes[0] == BATCH

    def add_layer(self, call: Call, layer: Layer, base: str) -> str:
        module = layer.module
        for name, path in layer.tensors.items():
            held = self.tensor(path)
            if held.shape != getattr(module, name).shape:
                raise CaptureError(
                    f"{path} has {tuple(held.shape)} values, which does not suit a {type(module).__name__}"
                )
            holders: dict[str, Any] = module._parameters if isinstance(held, nn.Parameter) else module._buffers
            holders[name] = held
        if module._buffers.get("num_batches_tracked") is not None:
            counter = f"{owner_of(layer.tensors['running_mean'])}.num_batches_tracked"
            tensor = self.program.tensors.get(counter)
            module._buffers["num_batches_tracked"] = torch.tensor(0) if tensor is None else tensor.detach()
        path = self.layer_path(call, layer) or self.fresh_path(call, base)
        self.build.add(path, module)
        return path

    def layer_path(self, call: Call, layer: Layer) -> str | None:
        """Where the module was in the source, or else where its tensors are, if that is one place of its own."""
        tensors = {name: self.paths[path] for name, path in layer.tensors.items()}
        scope = safe_path(call.op.scope.path)
        if call.op.scope.kind == type(layer.module).__name__ and self.build.paths.claim(scope, list(tensors.values())):
            return scope
        owners = {owner_of(path) for name, path in tensors.items() if path == f"{owner_of(path)}.{name}"}
        if len(owners) == 1 and all(path.endswith(f".{name}") for name, path in tensors.items()):
            owner = owners.pop()
            return owner if self.build.paths.claim(owner, list(tensors.values())) else None
        return None

    def as_plain(self, call: Call) -> fx.Node | None:
        base, variant, plain = split_target(call.op.target)
        if base == "aten.mean" and (node := self.as_pooling(call)) is not None:
            return node
        rows = base in ("aten.view", "aten.reshape", "aten.squeeze")
        if (
            base not in CAPTURED
            or base in WITH_TENSORS
            or variant == "Dimname"
            or not (call.is_plain or rows)
            or call.source is None
        ):
            return None
        layer = CAPTURED[base](call)
        if layer is None or not self.holds_samples(call.source):
            return None
        name = "flatten" if isinstance(layer.module, nn.Flatten) else plain.split(".")[1]
        return self.build.call(self.plain_path(call, layer.module, name), self.node(call.source.name))

    def plain_path(self, call: Call, module: nn.Module, name: str) -> str:
        """One leaf for all calls of one module of the source; a leaf of its own for every function call."""
        scope = call.op.scope
        if scope.kind == type(module).__name__:
            key = (scope.path, str(module))
            if key not in self.leaves and self.build.paths.claim(safe_path(scope.path)):
                self.leaves[key] = safe_path(scope.path)
                self.build.add(self.leaves[key], module)
            if key in self.leaves:
                return self.leaves[key]
        path = self.fresh_path(call, f"aten.{name}")
        self.build.add(path, module)
        return path

    def fresh_path(self, call: Call, base: str) -> str:
        return self.build.paths.fresh(safe_path(base.partition(".")[2]), safe_path(call.op.scope.path))

    def as_pooling(self, call: Call) -> fx.Node | None:
        """A mean over height and width is a global average pooling; torch computes one by the other."""
        dims = call.get("dim")
        if call.rank != 4 or not isinstance(dims, list | tuple) or call.has("dtype") or call.source is None:
            return None
        if not self.holds_samples(call.source):
            return None
        if sorted(dim % 4 for dim in dims) != [2, 3]:
            return None
        path = self.plain_path(call, over_image(), "mean")
        node = self.build.call(path, self.node(call.source.name))
        if call.get("keepdim"):
            return node
        return self.build.call(self.plain_path(call, nn.Flatten(1), "flatten"), node)

    # --- functions -----------------------------------------------------------------------------------------------

    def as_function(self, call: Call) -> fx.Node:
        op = call.op
        base, variant, plain = split_target(op.target)
        if op.target in SIZE_ARITHMETIC:
            if op.target == "operator.mul" and len(list(op.values)) > 1:
                raise CaptureError("it multiplies sizes that depend on the batch with each other")
            return self.build.apply(SIZE_ARITHMETIC[op.target], self.resolved(list(op.arguments.values())))
        if base in ARITHMETIC and variant in ARITHMETIC_OVERLOADS and call.get("alpha", 1) == 1:
            return self.build.apply(ARITHMETIC[base], self.resolved([call.get("self"), call.get("other")]))
        if plain == "aten.cat.default":
            return self.build.apply(torch.cat, [self.resolved(call.get("tensors")), call.get("dim", 0)])
        if plain == "aten.sym_size.int":
            return self.build.apply(torch.ops.aten.sym_size.int, [self.resolved(call.get("self")), call.get("dim")])
        if base in ("aten.view", "aten.reshape") and (sizes := self.batch_free(call)) is not None:
            return self.build.apply(torch.reshape, [self.resolved(call.source), sizes])
        if plain == "aten.view.default":  # the same function, for whatever layout in memory
            return self.build.apply(torch.reshape, [self.resolved(call.source), self.resolved(call.get("size"))])
        return self.opaque(op, plain)

    @staticmethod
    def batch_free(call: Call) -> tuple[int, ...] | None:
        """Sizes of a change of shape within each sample, with -1 for the batch."""
        before, after = call.sample, call.result_sample
        if before is None or after is None or math.prod(before) != math.prod(after):
            return None
        return (BATCH, *after)

    def opaque(self, op: Op, plain: str) -> fx.Node:
        operator = pure(plain)
        if operator is None:
            raise CaptureError(
                f"operator {op.target}{source_place(op)} is used in a way that has no place in a network"
            )
        named = {name: self.resolved(value) for name, value in op.arguments.items()}
        leading = []
        for argument in operator._schema.arguments:
            if argument.kwarg_only or argument.name not in named:
                break
            leading.append(named.pop(argument.name))
        return self.build.apply(operator, leading, named)


def _of_the_input(program: Program) -> set[str]:
    """Values that depend on an input. What is computed from weights alone is no place for a layer."""
    varying = set(program.inputs)
    for op in program.ops:
        if any(value.name in varying for value in op.values):
            varying.add(op.result)
    return varying
