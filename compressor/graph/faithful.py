"""What a trace in eval mode cannot know of training: kept where it can be, refused or said where it cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from compressor.errors import CaptureError
from compressor.graph.frozen import freeze
from compressor.graph.given import Given
from compressor.graph.nesting import nesting_of
from compressor.graph.network import Network
from compressor.graph.shape_rules.dry_run import in_eval_mode, in_mode
from compressor.graph.signature import TensorSpec
from compressor.graph.tracing import ForwardCall

_STATISTICS = ("running_mean", "running_var")
_ANSWER = 1e-3
"""Largest difference between two answers, relative to the largest number, that is put down to arithmetic."""


def keep_frozen(module: nn.Module, network: Network) -> None:
    """Normalisations that ``module.train()`` leaves in eval mode stay so in the network."""
    with in_mode(module, training=True):
        modes = {path: part.training for path, part in module.named_modules(remove_duplicate=False)}
    for path, leaf in network.leaves():
        if modes.get(path) is False:
            freeze(leaf)


@dataclass(frozen=True)
class Owner:
    """The owner's module and how it takes its inputs."""

    module: nn.Module
    call: ForwardCall
    given: tuple[Given, ...]

    def __call__(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """The tensors it returns, in order."""
        return nesting_of(self.call(self.module, inputs))[1]

    def inputs(self) -> list[Tensor]:
        """Two samples, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        reference = next((p for p in self.module.parameters() if p.is_floating_point()), torch.empty(0))
        specs = [TensorSpec(one.name, one.shape, one.dtype or reference.dtype) for one in self.given]
        return [spec.random(2, generator, reference.device) for spec in specs]


def check_backwards(owner: Owner, network: Network) -> None:
    """Raise ``CaptureError`` where a backward of the module's own is not what autograd computes.

    Many custom functions save memory only, and their gradients are the plain ones.
    """
    x = owner.inputs()
    with in_eval_mode(owner.module), _random_state():
        with torch.enable_grad():
            functions = _custom_functions(owner(x))
        if not functions:
            return
        theirs = _gradients(owner.module, lambda: owner(x))
        with in_eval_mode(network.module):
            ours = _gradients(network.module, lambda: _answers(network, x))
    largest = max((float(gradient.abs().max()) for gradient in theirs.values()), default=0.0)
    for name, gradient in theirs.items():
        other = ours.get(name)
        gap = gradient if other is None or other.shape != gradient.shape else gradient - other
        if float(gap.abs().max()) > _tolerance(x) * largest:
            raise CaptureError(
                f"{', '.join(functions)} (torch.autograd.Function) has a backward of its own, which a network cannot "
                f"keep: {name} would be trained otherwise; write it with torch's operations, such as "
                "y = x + (f(x) - x).detach(), or as a layer derived from compressor.graph.leaf.Leaf"
            )


def differences_in_training(owner: Owner, network: Network) -> tuple[str, ...]:
    """What the module does in training mode and the network does not, for people."""
    notes, module = [], owner.module
    hooks = [path for path, part in module.named_modules() if part._backward_hooks or part._backward_pre_hooks]
    hooks += [name for name, parameter in module.named_parameters() if parameter._backward_hooks]
    if hooks:
        notes.append(f"hooks on gradients are not kept ({', '.join(hooks[:3])})")
    state = {name: buffer.detach().clone() for name, buffer in module.named_buffers()}
    trial = network.fork().train()
    try:
        x = owner.inputs()
        with torch.no_grad(), _random_state():
            with in_mode(module, training=True):
                torch.manual_seed(0)
                theirs = owner(x)
            torch.manual_seed(0)
            ours = _answers(trial, x)
        changed = {name for name, buffer in module.named_buffers() if not torch.equal(buffer, state[name])}
        otherwise = sorted(_other_statistics(module, trial, x))
    except Exception:  # the user's code, which nobody asked to run in training mode here
        return tuple(notes)
    finally:
        with torch.no_grad():
            for name, buffer in module.named_buffers():
                if name in state:
                    buffer.copy_(state[name])
    if len(theirs) != len(ours):
        notes.append("in training mode its forward returns more than in eval mode: the network trains the answer alone")
    elif any(_differ(one, other, x) for one, other in zip(theirs, ours, strict=True)):
        notes.append(
            "in training mode its forward computes something else than in eval mode: the network trains the latter"
        )
    elif otherwise:
        notes.append(
            f"in training mode it updates the statistics of {', '.join(otherwise[:3])} otherwise, as by a call whose "
            "value nothing uses: the network updates them by what it computes with"
        )
    counted = (*_STATISTICS, "num_batches_tracked")
    if own := sorted(name for name in changed if not name.endswith(counted)):
        notes.append(
            f"in training mode it changes its buffers {', '.join(own[:3])}: the network leaves them as they are"
        )
    return tuple(notes)


def _other_statistics(module: nn.Module, network: Network, inputs: Sequence[Tensor]) -> Iterator[str]:
    """Normalisations of both whose running statistics came out differently."""
    ours = dict(network.module.named_buffers(remove_duplicate=False))
    for name, theirs in module.named_buffers():
        owner, _, last = name.rpartition(".")
        if last == _STATISTICS[0] and name in ours and _differ(theirs, ours[name], inputs):
            yield owner


def _tolerance(inputs: Sequence[Tensor]) -> float:
    half = any(x.dtype in (torch.float16, torch.bfloat16) for x in inputs)
    return 0.1 if half else _ANSWER


def _differ(theirs: Tensor, ours: Tensor, inputs: Sequence[Tensor]) -> bool:
    if theirs.shape != ours.shape:
        return True
    gap = float((theirs.double() - ours.double()).abs().max())
    return gap > _tolerance(inputs) * float(theirs.double().abs().max()) + 1e-12


def _answers(network: Network, inputs: Sequence[Tensor]) -> list[Tensor]:
    specs = network.signature.inputs
    taken = [x.to(network.device, spec.dtype) for x, spec in zip(inputs, specs, strict=True)]
    return list(network.signature.flatten(network(network.signature.inputs_of(taken))))


def _custom_functions(answers: Sequence[Tensor]) -> list[str]:
    """Names of the ``torch.autograd.Function`` s, other than torch's own, that answers were computed with."""
    seen: set[object] = set()
    waiting: list[Any] = [answer.grad_fn for answer in answers]
    names: set[str] = set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        waiting += [source for source, _ in node.next_functions]
        kind = getattr(type(node), "_forward_cls", None)
        if kind is not None and not kind.__module__.startswith("torch."):
            names.add(kind.__name__)
    return sorted(names)


def _gradients(module: nn.Module, run: Callable[[], Sequence[Tensor]]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    with torch.enable_grad():
        answers = [answer for answer in run() if answer.requires_grad]
        weights = [torch.linspace(-1, 1, a.numel(), device=a.device, dtype=a.dtype).view_as(a) for a in answers]
        found = torch.autograd.grad(answers, list(named.values()), weights, allow_unused=True)
    return {name: gradient for name, gradient in zip(named, found, strict=True) if gradient is not None}


@contextmanager
def _random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield
