"""The state of reading one ONNX graph, and what rules build with: names become values, constants, or sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.network import InputSpec
from compressor.graph.onnx_in.sizes import Sizes
from compressor.graph.raising.assembly import Assembly, owner_of, safe_path
from compressor.graph.shape_rules.functions import NO_RULE, function_shape
from compressor.graph.shape_rules.probe import probe_node
from compressor.graph.shapes import shape_of

_PLAIN_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)+")


class State:
    """What is known of every name so far: a value (``nodes``), a constant, or sizes; and the network as it grows."""

    def __init__(
        self, graph: onnx.GraphProto, constants: Mapping[str, Tensor], spec: InputSpec, entry: str, source: str
    ) -> None:
        self.constants = dict(constants)
        self.weights = set(constants)
        """Constants that may be trained: initializers, and what is folded from them."""
        self.folded: set[str] = set()
        self.sizes: dict[str, Sizes] = {}
        self.build = Assembly(spec, source)
        self.build.input.meta["shape"] = spec.shape
        self.nodes: dict[str, fx.Node] = {entry: self.build.input}
        self.uses = _count_uses(graph)
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for proto in graph.node:
            for name in proto.input:
                self.readers.setdefault(name, []).append(proto)
        self.leaves: dict[Hashable, str] = {}
        self.parameters: dict[str, nn.Parameter] = {}
        self.operands = nn.Module()
        """The tensors that functions take, for finding the shapes of results."""

    def sizes_in(self, name: str) -> Sizes:
        """Sizes under this name, computed or constant."""
        if name in self.sizes:
            return self.sizes[name]
        tensor = self.constants.get(name)
        if tensor is None or tensor.is_floating_point() or tensor.dim() > 1:
            raise CaptureError(f"its input {name!r} must be sizes")
        found: Sizes = tensor.tolist()
        return found

    def leaf(
        self, names: tuple[str, str], module: nn.Module, inputs: Sequence[fx.Node], tensors: dict[str, str]
    ) -> fx.Node:
        """A call of ``module``, whose attributes ``tensors`` are constants. A layer used twice is one leaf.

        ``names``: what the operator is called, and of which kind it is; the leaf's path is made of them.
        """
        for attribute, name in tensors.items():
            self._hold(module, attribute, name)
        key = (str(module), *sorted(tensors.items()))
        if not tensors or key not in self.leaves:
            self.leaves[key] = self._place(*names, module, tensors)
        call = self.build.call(self.leaves[key], *inputs)
        call.meta["shape"] = shape_of(module, *(value.meta["shape"] for value in inputs))
        return call

    def _hold(self, module: nn.Module, attribute: str, name: str) -> None:
        tensor, wanted = self.constants[name], getattr(module, attribute)
        if tensor.numel() != wanted.numel() or not tensor.is_floating_point():
            raise CaptureError(f"its {attribute} has sizes {tuple(tensor.shape)} instead of {tuple(wanted.shape)}")
        if not isinstance(wanted, nn.Parameter):
            setattr(module, attribute, tensor.reshape(wanted.shape).clone())
            return
        if name not in self.parameters or self.parameters[name].shape != wanted.shape:
            self.parameters[name] = nn.Parameter(self._own(name).reshape(wanted.shape))
        setattr(module, attribute, self.parameters[name])

    def _own(self, name: str) -> Tensor:
        """A constant in memory of its own: a folded one may be a view of another."""
        tensor = self.constants[name]
        return tensor.clone(memory_format=torch.contiguous_format) if name in self.folded else tensor

    def _place(self, name: str, operator: str, module: nn.Module, tensors: dict[str, str]) -> str:
        named = [owner_of(tensor) for tensor in tensors.values() if _PLAIN_PATH.fullmatch(tensor)]
        scope = name.strip("/").split("/")[-2:-1]
        candidates = [*named, name, *scope]
        path = next(
            (
                safe
                for candidate in candidates
                if _PLAIN_PATH.fullmatch(candidate) and self.build.paths.claim(safe := safe_path(candidate))
            ),
            None,
        )
        if path is None:
            parts = name.strip("/").split("/")
            numbered = len(parts) > 1 and parts[-1].isdigit()  # "conv1/3": one of several operators of a layer
            base = parts[-2 if numbered else -1] or operator.lower()
            path = self.build.paths.fresh(safe_path(base.replace(".", "_")))
        self.build.add(path, module)
        return path

    def apply(self, function: Callable[..., Any], arguments: Sequence[Any]) -> fx.Node:
        """A call of a function, with its shape."""
        call = self.build.apply(function, arguments)
        shape = function_shape(call)
        call.meta["shape"] = probe_node(self.operands, call) if shape is NO_RULE else shape
        return call

    def operand(self, name: str) -> fx.Node | float:
        """An operand of arithmetic: a value, a number, or a constant tensor kept in the network."""
        if name in self.nodes:
            return self.nodes[name]
        if name not in self.constants:
            raise CaptureError(f"its input {name!r} is not known")
        tensor = self._own(name)
        if tensor.numel() == 1:
            number: float = tensor.item()
            return number
        if name not in self.parameters and tensor.is_floating_point() and name in self.weights:
            self.parameters[name] = nn.Parameter(tensor)
        held: Tensor = self.parameters.get(name, tensor)
        key = ("constant", name)
        if key not in self.leaves:
            self.leaves[key] = self.build.paths.fresh(safe_path(re.sub(r"\W", "_", name.strip("/"))))
            self.operands.register_buffer(self.leaves[key], held.detach())
        found = self.build.tensor(self.leaves[key], held)
        found.meta["shape"] = None
        return found


def _count_uses(graph: onnx.GraphProto) -> dict[str, int]:
    uses: dict[str, int] = {}
    for name in [name for proto in graph.node for name in proto.input] + [value.name for value in graph.output]:
        uses[name] = uses.get(name, 0) + 1
    return uses
