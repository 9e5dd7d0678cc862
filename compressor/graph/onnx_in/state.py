"""The state of reading one ONNX graph, and what rules build with: names become values, constants, or sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, fx, nn

from compressor.errors import CaptureError
from compressor.graph.onnx_in.entry import FileInput
from compressor.graph.onnx_node.quantities import Quantity
from compressor.graph.onnx_node.sizes import Size, SizeVector, is_known
from compressor.graph.raising.assembly import Assembly, owner_of, safe_path
from compressor.graph.shape_rules.dry_run import dry_run_node
from compressor.graph.shape_rules.functions import NO_RULE, function_shape
from compressor.graph.shapes import shape_of

_PLAIN_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)+")


class State:
    """What is known of every name so far: a value (``nodes``), a constant, or sizes; and the network as it grows."""

    def __init__(
        self, graph: onnx.GraphProto, constants: Mapping[str, Tensor], entries: Sequence[FileInput], source: str
    ) -> None:
        self.constants = dict(constants)
        self.weights = set(constants)
        """Constants that may be trained: initializers, and what is folded from them."""
        self.folded: set[str] = set()
        self.sizes: dict[str, SizeVector] = {}
        """Sizes that hold the batch size, or what is calculated from it."""
        self.build = Assembly([entry.spec for entry in entries], source)
        self.batch = next((entry.batch for entry in entries if entry.batch is not None), None)
        """The batch size that the file fixes."""
        self.operands = nn.Module()
        """The tensors that functions take, for finding the shapes of results."""
        self.nodes: dict[str, fx.Node] = {
            entry.name: self._numbers(entry, node) for entry, node in zip(entries, self.build.inputs, strict=True)
        }
        self.quantities: dict[str, Quantity] = {}
        """How values are quantized; their nodes hold what the bytes stand for."""
        self.batch_axes: dict[str, int] = {}
        """Which dimension of a value is the batch in the file, where it is not the first."""
        self.joined: dict[str, tuple[Size, ...]] = {}
        """The sizes that a value has joined into the dimension of its batch in the file, the batch among them."""
        self.uses = _count_uses(graph)
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        for proto in graph.node:
            for name in proto.input:
                self.readers.setdefault(name, []).append(proto)
        self.leaves: dict[Hashable, str] = {}
        self.parameters: dict[str, nn.Parameter] = {}

    def _numbers(self, entry: FileInput, node: fx.Node) -> fx.Node:
        """An input as rules take it: real numbers, of which some are whole, or flags."""
        if entry.dtype.startswith("float"):
            return node
        if entry.dtype == "bool":
            node.meta["flags"] = True
            return node
        value = self.apply(torch.ops.aten.to.dtype, [node, torch.float32])
        value.meta["whole"] = True
        return value

    def sizes_in(self, name: str) -> SizeVector:
        """Sizes under this name, computed or constant."""
        if name in self.sizes:
            return self.sizes[name]
        tensor = self.constants.get(name)
        if tensor is None or tensor.dim() > 1:
            raise CaptureError(f"its input {name!r} must be sizes")
        found: SizeVector = tensor.tolist()
        return found

    def keep_sizes(self, name: str, sizes: SizeVector) -> None:
        """Sizes under a name; a constant like any other where the batch size is not in them."""
        if not is_known(sizes):
            self.sizes[name] = sizes
            return
        numbers: Any = sizes
        whole = all(isinstance(size, int) for size in (numbers if isinstance(numbers, list) else [numbers]))
        self.constants[name] = torch.tensor(numbers, dtype=torch.int64 if whole else torch.float32)

    def knows(self, name: str) -> bool:
        return name in self.nodes or name in self.constants or name in self.sizes

    def place_as(self, name: str, other: str) -> None:
        """A value has the batch where another has it."""
        if other in self.batch_axes:
            self.batch_axes[name] = self.batch_axes[other]
        if other in self.joined:
            self.joined[name] = self.joined[other]

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
        call.meta["shape"] = dry_run_node(self.operands, call) if shape is NO_RULE else shape
        if call.meta["shape"] is None:
            raise CaptureError("its result holds no batch of samples, one row for each")
        return call

    def operand(self, name: str, *, tensor: bool = False) -> fx.Node | float:
        """An operand of arithmetic: a value, a number, or a constant tensor kept in the network.

        A constant of one value is a number, unless it must be a ``tensor``.
        """
        if name in self.nodes:
            return self.nodes[name]
        if name not in self.constants:
            raise CaptureError(f"its input {name!r} is not known")
        constant = self._own(name)
        if not tensor and not constant.is_floating_point() and constant.dtype is not torch.bool:
            constant = constant.float()  # all numbers of a network are
        if constant.numel() == 1 and not tensor:
            number: float = constant.item()
            return number
        if name not in self.parameters and constant.is_floating_point() and name in self.weights:
            self.parameters[name] = nn.Parameter(constant)
        held: Tensor = self.parameters.get(name, constant)
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
