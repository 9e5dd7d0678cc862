"""Tracing an owner's module by ``torch.export``: its inputs by position or by name, its outputs flat.

The module is called inside a shell that hands flat inputs to its ``forward`` as these are meant, and takes what it
returns apart. So the outputs may be nested in whatever holds tensors, and every input has the name that the owner gave
it.
"""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from compressor.errors import CaptureError
from compressor.graph.given import Given
from compressor.graph.nesting import TENSOR, Nesting, nesting_of
from compressor.graph.shape_rules.dry_run import in_eval_mode

EXAMPLE_BATCH: Final = 2
"""Batch size of the example input: a size of one would be taken for a constant."""
BATCHES_TRIED: Final = (*range(1, 34), 64, 100, 128, 255, 256, 1000, 4096)
"""Batch sizes for which a condition that the tracer is not sure of has to hold."""
OWNER: Final = "owner"
"""Where the owner's module lies in the shell."""


@dataclass(frozen=True)
class ForwardCall:
    """How an owner's ``forward`` takes the inputs: the first ones by position, the rest by name."""

    names: tuple[str, ...]
    by_position: int

    def __call__(self, module: nn.Module, inputs: Sequence[Tensor]) -> Any:
        named = dict(zip(self.names[self.by_position :], inputs[self.by_position :], strict=True))
        return module(*inputs[: self.by_position], **named)


def call_of(module: nn.Module, given: Sequence[Given]) -> ForwardCall:
    """How ``forward`` takes these inputs. Raises ``CaptureError`` where it does not take them."""
    parameters = _parameters(module)
    positional = [name for name, kind in parameters.items() if kind != inspect.Parameter.KEYWORD_ONLY]
    open_ended = not parameters or any(kind == inspect.Parameter.VAR_POSITIONAL for kind in parameters.values())
    if given and all(one.name in parameters for one in given):
        names = tuple(one.name for one in given)
        return ForwardCall(names, len(names) if list(names) == positional[: len(names)] else 0)
    if not open_ended and len(given) > len(parameters):
        raise CaptureError(f"its forward takes {len(parameters)} inputs ({', '.join(parameters)}), not {len(given)}")
    order = [*parameters] if not open_ended else []
    names = tuple(
        one.name or (order[place] if place < len(order) else _numbered("input", place))
        for place, one in enumerate(given)
    )
    strange = [one.name for one in given if one.name and order and one.name not in order]
    if strange and len(given) > 1:
        raise CaptureError(f"its forward takes no input {strange[0]!r}; its inputs are {', '.join(order)}")
    return ForwardCall(names, len(names) if open_ended else min(len(names), len(positional)))


def _parameters(module: nn.Module) -> Mapping[str, Any]:
    named = _signature(module).items()
    return {name: parameter.kind for name, parameter in named if parameter.kind != parameter.VAR_KEYWORD}


def required_inputs(module: nn.Module) -> list[str]:
    """Names of the arguments of ``forward`` that must be given."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    named = _signature(module).items()
    return [name for name, parameter in named if parameter.default is parameter.empty and parameter.kind not in several]


def _signature(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(module.forward).parameters
    except (TypeError, ValueError):
        return {}


def _numbered(name: str, place: int) -> str:
    return f"{name}_{place}" if place else name


@dataclass
class Seen:
    """What the shell saw of the outputs; beside it, because tracing takes back what a module notes of itself."""

    nesting: Nesting = TENSOR


class Shell(nn.Module):
    """Calls the owner's module and returns its tensors flat; ``seen`` is told how they were nested."""

    def __init__(self, owner: nn.Module, call: ForwardCall, seen: Seen) -> None:
        super().__init__()
        self.owner = owner
        self._call, self._seen = call, seen

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        self._seen.nesting, tensors = nesting_of(self._call(self.owner, inputs))
        return tensors


@dataclass(frozen=True)
class Trace:
    """What tracing found: the program of the shell, how its outputs are nested, the names of its inputs."""

    exported: ExportedProgram
    nesting: Nesting
    names: tuple[str, ...]


def trace(module: nn.Module, given: Sequence[Given]) -> Trace:
    """The module traced in eval mode with a free batch size. Raises ``CaptureError`` with the tracer's reason."""
    call = call_of(module, given)
    bound = {*[*_parameters(module)][: call.by_position], *call.names[call.by_position :]}
    if missing := [name for name in required_inputs(module) if name not in bound]:
        count = "one tensor" if len(given) == 1 else f"{len(given)} tensors"
        needed = ", ".join(required_inputs(module))
        raise CaptureError(f"its forward does not take {count}: it takes {needed}; {missing[0]} is not given")
    seen = Seen()
    shell = Shell(module, call, seen)
    shell.training = module.training
    exported = export(shell, examples(module, given), module)
    return Trace(exported, seen.nesting, call.names)


def examples(module: nn.Module, given: Sequence[Given]) -> tuple[Tensor, ...]:
    """Zeros as the module takes them; where no type was given, of the type of its parameters."""
    reference = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    return tuple(
        torch.zeros((EXAMPLE_BATCH, *one.shape), dtype=one.dtype or reference.dtype, device=reference.device)
        for one in given
    )


def export(module: nn.Module, inputs: Sequence[Tensor], owner: nn.Module | None = None) -> ExportedProgram:
    """``torch.export`` in eval mode, the first dimension of all inputs one free batch size."""
    batch = Dim("batch")
    sizes: Any = tuple({0: batch} for _ in inputs)
    if isinstance(module, Shell):
        sizes = (sizes,)
    with in_eval_mode(module), _quiet():
        try:
            return torch.export.export(module, tuple(inputs), dynamic_shapes=sizes, strict=False)
        except CaptureError:
            raise
        except Exception as error:  # the user's forward runs in there: anything may come out
            if _of_one_batch_size(error) and (found := _tried_out(module, tuple(inputs), sizes)) is not None:
                return found
            title = type(owner or module).__name__
            raise CaptureError(f"{title} cannot be captured: {_reason(error, inputs)}") from error


def _tried_out(module: nn.Module, inputs: tuple[Tensor, ...], sizes: Any) -> ExportedProgram | None:
    """The program whose conditions on the batch size hold, as trying them shows; None where one does not.

    The tracer writes conditions like ``B * min(12, 12 * B) == 12 * B`` and cannot see that they are always true.
    """
    try:
        exported = torch.export.export(
            module, inputs, dynamic_shapes=sizes, strict=False, prefer_deferred_runtime_asserts_over_guards=True
        )
    except Exception:  # the reason of the first attempt is told
        return None
    asserted = [node for node in exported.graph.nodes if node.target is torch.ops.aten._assert_scalar.default]
    if not all(_always(node.args[0]) for node in asserted):
        return None
    _erase(exported.graph, asserted)
    exported.graph_module.recompile()
    return exported


def _always(condition: Any) -> bool:
    """Whether a condition on the batch size alone holds for every one of those tried."""
    known = condition.meta["val"] if isinstance(condition, fx.Node) else condition
    if isinstance(known, bool):
        return known
    expression = known.node.expr
    symbols = expression.free_symbols
    return len(symbols) <= 1 and all(bool(expression.subs(dict.fromkeys(symbols, batch))) for batch in BATCHES_TRIED)


def _erase(graph: fx.Graph, asserted: Sequence[fx.Node]) -> None:
    """Remove the conditions, and what was computed for them alone."""
    unread = {*asserted}
    for node in reversed(graph.nodes):
        if node in unread and not node.users:
            unread.update(source for source in node.all_input_nodes if source.op == "call_function")
            graph.erase_node(node)


def _of_one_batch_size(error: Exception) -> bool:
    return "Constraint" in type(error).__name__ or "constraint" in str(error).lower()


def _reason(error: Exception, inputs: Sequence[Tensor]) -> str:
    """One line for the many ways in which tracing fails."""
    text = str(error).strip()
    first = text.partition("\n")[0][:300] or type(error).__name__
    kind = type(error).__name__
    if "DataDependent" in kind or "data-dependent" in text or "data dependent" in text:
        return "its forward decides by the values in a tensor, or makes tensors whose size depends on them"
    if _of_one_batch_size(error):
        return "it works for one batch size only; write x.size(0) or -1 instead of a number"
    if "dynamic_shapes" in text or ("missing" in text and "argument" in text) or "positional argument" in text:
        count = f"{len(inputs)} tensors" if len(inputs) > 1 else "one tensor"
        return f"its forward does not take {count} ({first})"
    shapes = " and ".join(str(tuple(tensor.shape[1:])) for tensor in inputs)
    return f"{kind} on a batch of samples of shape {shapes}: {first}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the tracer's own warnings: what matters is raised."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
