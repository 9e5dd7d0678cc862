"""Building a network node by node, and the book of its paths."""

from __future__ import annotations

import keyword
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from torch import Tensor, fx, nn

from compressor.errors import CaptureError, GraphError
from compressor.graph.nesting import TENSOR, Nesting
from compressor.graph.network import Network
from compressor.graph.shapes import describe_input, describe_outputs, propagate
from compressor.graph.signature import Signature, TensorSpec, unique

RESERVED = frozenset([*dir(fx.GraphModule), *dir(nn.Module()), "meta", "self", *keyword.kwlist])
"""Names that modules use themselves, and words of Python; a layer of such a name would hide them or be hidden."""
MAX_SAMPLE: Final = 2**27
"""Numbers in the largest value of one sample: 512 MiB in single precision."""
MAX_PART: Final = 100
"""Letters of one part of a path, which other names are made of."""
_SPECIAL = re.compile(r"[^A-Za-z0-9_.-]")
_DUNDER = re.compile(r"^__+|__+$")


def safe_path(path: str) -> str:
    """``path`` as a network may use it, whatever it was called in the source; safe paths stay as they are.

    Special characters become underscores, parts that Python or modules have a meaning for get one behind them, and
    long parts are cut and told apart by a checksum.
    """
    return ".".join(map(_safe_part, _SPECIAL.sub("_", path).split("."))) if path else ""


def _safe_part(part: str) -> str:
    if len(part) > MAX_PART:
        part = f"{part[: MAX_PART - 9]}_{zlib.crc32(part.encode()):08x}"
    part = _DUNDER.sub("_", part)
    return f"{part}_" if part in RESERVED else part


def owner_of(path: str) -> str:
    """Path of the module that holds the tensor or module at ``path``."""
    return path.rpartition(".")[0]


class PathBook:
    """Which paths are taken. A leaf holds no other leaf, and nobody else's tensors.

    ``tensors`` are paths of tensors, ``layers`` paths of modules that will be leaves with tensors.
    """

    def __init__(self, tensors: Iterable[str] = (), layers: Iterable[str] = ()) -> None:
        self._tensors = set(tensors)
        self._leaves: set[str] = set()
        self._owned: dict[str, set[str]] = {}
        self._containers: set[str] = set()
        self._counts: dict[str, int] = {}
        for path in self._tensors:
            self._owned.setdefault(owner_of(path), set()).add(path)
            self._contain(owner_of(path))
        self._expected = set(layers) - self._containers

    def claim(self, path: str, tensors: Sequence[str] = ()) -> bool:
        """Take ``path`` for a leaf that holds ``tensors``; False where something else is in the way."""
        free = path and not self._taken(path) and self._leaf_above(path) is None
        if not free or not self._owned.get(path, set()) <= set(tensors):
            return False
        self._leaves.add(path)
        self._contain(path)
        return True

    def fresh(self, name: str, scope: str = "") -> str:
        """Take a path for a leaf without tensors, called ``name`` in ``scope``, with a number where that is taken.

        It lies below ``scope``, or beside the leaf that ``scope`` is or lies in: a leaf holds no other.
        """
        base = self._within(name, scope)
        taken = len(self._leaves) + len(self._containers) + len(self._owned) + len(self._tensors)
        first = self._counts.get(base, 0)
        for count in range(first, first + taken + 1):  # so many names cannot all be taken
            path = f"{base}_{count}" if count else base
            if self.claim(path):
                self._counts[base] = count + 1
                return path
        raise CaptureError(f"there is no free name for {name!r} in {scope or 'the network'!r}")

    def _within(self, name: str, scope: str) -> str:
        holder = self._leaf_above(f"{scope}.") or (scope if self._owned.get(scope) else "")
        if not scope or not holder:
            return f"{scope}.{name}" if scope else name
        inner = scope[len(holder) + 1 :].replace(".", "_")
        return "_".join(part for part in (holder, inner, name) if part)

    def _taken(self, path: str) -> bool:
        return path in self._leaves or path in self._containers or path in self._tensors

    def _contain(self, path: str) -> None:
        while path := owner_of(path):
            if path in self._containers:
                return
            self._containers.add(path)

    def _leaf_above(self, path: str) -> str | None:
        """The leaf that would hold what lies at ``path``."""
        while path := owner_of(path):
            if path in self._leaves or path in self._expected:
                return path
        return None


class Assembly:
    """A network under construction. Nodes are added in execution order; ``finish`` checks and compiles it once."""

    def __init__(
        self, inputs: Sequence[TensorSpec], source: str, tensors: Iterable[str] = (), layers: Iterable[str] = ()
    ) -> None:
        names = list(unique([spec.name for spec in inputs]))
        self._specs = tuple(replace(spec, name=name) for spec, name in zip(inputs, names, strict=True))
        self.source = source
        self.paths = PathBook(tensors, layers)
        self._graph = fx.Graph()
        self._held: dict[str, nn.Module | Tensor] = {}
        self.inputs = [self._graph.placeholder(_identifier(name)) for name in names]
        for node, spec in zip(self.inputs, self._specs, strict=True):
            describe_input(node, spec)
            if len(names) > 1:
                node.target = node.name  # an argument called as another's value is would be overwritten by it

    def add(self, path: str, module: nn.Module) -> None:
        """Put a leaf at a path that ``paths`` gave out."""
        self._held[path] = module

    def call(self, path: str, *inputs: fx.Node) -> fx.Node:
        """A call of the leaf at ``path``."""
        return self._graph.call_module(path, inputs)

    def tensor(self, path: str, tensor: Tensor) -> fx.Node:
        """A read of the tensor kept at ``path``."""
        self._held[path] = tensor
        return self._graph.get_attr(path)

    def apply(
        self, function: Callable[..., Any], arguments: Sequence[Any], named: Mapping[str, Any] | None = None
    ) -> fx.Node:
        """A call of a function."""
        return self._graph.call_function(function, tuple(arguments), dict(named or {}))

    def finish(
        self, outputs: Sequence[fx.Node], nesting: Nesting = TENSOR, names: Sequence[str] | None = None
    ) -> Network:
        """The network, in eval mode, with its shapes. Raises ``CaptureError`` where these do not work out.

        ``names`` of the outputs, where it is not ``nesting`` that names them.
        """
        if not outputs:
            raise CaptureError("it returns no tensor")
        self._graph.output(nesting.build(iter(outputs), records=False))
        for node in reversed(self._graph.nodes):
            if not node.users and node.op not in ("placeholder", "output"):
                self._graph.erase_node(node)
        reads = {str(node.target) for node in self._graph.nodes if node.op in ("call_module", "get_attr")}
        module = fx.GraphModule({path: held for path, held in self._held.items() if path in reads}, self._graph)
        module.graph.lint()
        network = Network(module.eval(), Signature(self._specs, nesting=nesting), self.source)
        try:
            propagate(network)
        except GraphError as error:
            raise CaptureError(f"its shapes do not work out at any batch size: {error}") from None
        for node in network.graph.nodes:
            if math.prod(node.meta.get("shape") or ()) > MAX_SAMPLE:
                raise CaptureError(f"one sample of {node.name} would hold more than {MAX_SAMPLE} numbers")
        taken = [spec.name for spec in self._specs]
        for output, name in zip(outputs, unique(names or list(nesting.names()), taken), strict=True):
            if output.meta.get("shape") is None:
                which = "its output" if len(outputs) == 1 else f"its output {name!r}"
                raise CaptureError(f"{which} does not hold one row per sample of the batch")
        describe_outputs(network, names)
        return network


def _identifier(name: str) -> str:
    """A name for a placeholder, whatever its owner calls the input."""
    safe = safe_path(re.sub(r"[^A-Za-z0-9_]", "_", name) or "input")
    return f"_{safe}" if safe[0].isdigit() else safe
