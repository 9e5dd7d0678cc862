"""Agreement: no labels at all. The network is held to the answers of the baseline on unlabelled inputs.

Outputs: any. Target: the baseline's outputs for the same inputs. The metric is 100 % for the baseline itself. Of
several outputs each is held to the baseline's by itself, and the one that agrees least is the metric: an output whose
numbers are few or small counts as much as any other. What agreement means is ``like``'s to say: of two classifiers, the
share of equal answers; by default a distance on the scale of the output (``likeness``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

import torch
from torch import Tensor, fx, nn

from compressor.errors import DataError, InputError, did_you_mean
from compressor.graph.nested import tensors
from compressor.graph.network import Network
from compressor.graph.signature import TensorSpec
from compressor.task.binary import Binary
from compressor.task.classification import Classification
from compressor.task.closing import ends_with
from compressor.task.embedding import Embedding
from compressor.task.likeness import Answers, Equal, Likeness, RealNumbers
from compressor.task.metric import Metric
from compressor.task.multilabel import MultiLabel
from compressor.task.segmentation import Segmentation
from compressor.task.task import Meter, Problem, Task

Like = Literal["numbers", "classification", "binary", "multi-label", "segmentation", "embedding"]


_NUMBERS_DROP = 0.05


@dataclass(frozen=True)
class Agreement(Task):
    """The baseline's own answers, without labels."""

    metric = Metric("agreement")
    own_answers: ClassVar[bool] = True
    like: Like | Mapping[str, Like] = "numbers"
    """What the answers are: classes to be named alike, vectors to point alike, or just numbers to be near; of outputs
    that differ, by name (the others are numbers)."""
    temperature: float = 1.0
    """Of the distillation that training makes small, where answers are classes."""
    probabilities: bool = False
    """Whether the answers are probabilities; told by the network itself where it closes with a softmax or sigmoid."""

    def usual_drop(self, before: float) -> float:
        """Numbers in eight bits are off by some hundredths of their size: of them five points, of answers one.

        Outputs that ``like`` does not name are numbers, which a task that is fitted to its network knows.
        """
        return _NUMBERS_DROP if self._of_numbers else super().usual_drop(before)

    @property
    def _of_numbers(self) -> bool:
        return not isinstance(self.like, str) or self.like == "numbers"

    def fitted(self, network: Network) -> Agreement:
        specs = network.signature.outputs
        self._refuse_unknown([spec.name for spec in specs])
        known = {
            spec.name: self._likeness(spec, network, node)
            for spec, node in zip(specs, network.output_nodes, strict=True)
        }
        return _Fitted(self.like, self.temperature, self.probabilities, known)

    def check(self, network: Network, data: Problem) -> None:
        specs = network.signature.outputs
        self._refuse_unknown([spec.name for spec in specs])
        if not any(spec.dtype.is_floating_point for spec in specs):
            raise DataError(f"{data.name}: no output is of real numbers: there is nothing to learn answers by")
        for spec, node in zip(specs, network.output_nodes, strict=True):
            kind, shape = self._kind(spec.name), tuple(network.shape(node))
            if spec.dtype.is_floating_point and kind in _FITS and not _FITS[kind](shape):
                raise DataError(
                    f"{data.name}: task.options.like: {kind!r} is for {_WANTED[kind]}, and output {spec.name} is "
                    f'{shape} per sample; of outputs that differ say it by name: like = {{ {spec.name} = "numbers" }}'
                )

    # --- training ------------------------------------------------------------------------------------------------

    def loss(self, outputs: Any, target: Any) -> Tensor:
        """What each output loses: the distillation of its ``like``, for numbers ½ · mean((a − b)²) / mean(b²); mean
        over the outputs.
        """
        lost = self.distil(self.plain(outputs), self.plain(target), self.temperature)
        assert lost is not None
        return lost

    def plain(self, outputs: Any) -> tuple[Tensor, ...]:
        flat = list(tensors(outputs))
        return tuple(kind.plain(output) for kind, output in zip(self.kinds(flat).values(), flat, strict=True))

    def distil(self, student: Any, teacher: Any, temperature: float) -> Tensor | None:
        kinds = self.kinds(student).values()
        each = [kind.lost(a, b, temperature) for kind, a, b in zip(kinds, student, teacher, strict=True)]
        lost = [one for one in each if one is not None]
        return torch.stack(lost).mean() if lost else None

    # --- agreement -----------------------------------------------------------------------------------------------

    def scores(self, outputs: Any, target: Any) -> Tensor:
        return self.agreement(outputs, target)

    def agreement(self, outputs: Any, reference: Any) -> Tensor:
        """That of the output that agrees least, for each sample."""
        flat = list(tensors(outputs))
        kinds = self.kinds(flat).values()
        each = [kind.agreement(a, b) for kind, a, b in zip(kinds, flat, tensors(reference), strict=True)]
        return torch.stack(each).amin(0)

    def meter(self) -> Meter:
        return _Worst(self)

    # --- outputs -------------------------------------------------------------------------------------------------

    def kinds(self, flat: Sequence[Tensor]) -> Mapping[str, Likeness]:
        """How each output is compared, by its name; by its place, as long as the network is not known."""
        if not isinstance(self.like, str):
            raise InputError("task.options.like: outputs by name are those of a network; take task.fitted(network)")
        return {str(place): self._made(self.like, output.dtype) for place, output in enumerate(flat)}

    def _refuse_unknown(self, names: Sequence[str]) -> None:
        for name in () if isinstance(self.like, str) else self.like:
            if name not in names:
                raise InputError(f"task.options.like: the network has no output {name!r}{did_you_mean(name, names)}")

    def _kind(self, name: str) -> Like:
        return self.like if isinstance(self.like, str) else self.like.get(name, "numbers")

    def _likeness(self, spec: TensorSpec, network: Network, node: fx.Node) -> Likeness:
        kind = self._kind(spec.name)
        closes = kind in _CLOSING and ends_with(network, node, _CLOSING[kind])
        return self._made(kind, spec.dtype, closes)

    def _made(self, like: Like, dtype: torch.dtype, closes: bool = False) -> Likeness:
        if not dtype.is_floating_point:
            return Equal()
        if like == "numbers":
            return RealNumbers()
        kind: Any = _TASKS[like]
        return Answers(kind(probabilities=self.probabilities or closes) if like in _CLOSING else kind())


@dataclass(frozen=True)
class _Fitted(Agreement):
    """To a network, whose outputs have names."""

    known: Mapping[str, Likeness] = field(default_factory=dict)

    def kinds(self, flat: Sequence[Tensor]) -> Mapping[str, Likeness]:
        return self.known

    @property
    def _of_numbers(self) -> bool:
        return any(isinstance(kind, RealNumbers) for kind in self.known.values())


_TASKS: Final[Mapping[str, type[Task]]] = {
    "classification": Classification,
    "binary": Binary,
    "multi-label": MultiLabel,
    "segmentation": Segmentation,
    "embedding": Embedding,
}
_CLOSING: Final[Mapping[str, type[nn.Module]]] = {
    "classification": nn.Softmax,
    "segmentation": nn.Softmax,
    "binary": nn.Sigmoid,
    "multi-label": nn.Sigmoid,
}


_FITS: Final[Mapping[str, Callable[[tuple[int, ...]], bool]]] = {
    "classification": lambda shape: len(shape) > 0 and math.prod(shape) == shape[0] > 1,
    "binary": lambda shape: math.prod(shape) == 1,
    "multi-label": lambda shape: len(shape) > 0,
    "segmentation": lambda shape: len(shape) == 3,
    "embedding": lambda shape: math.prod(shape) > 1,
}
_WANTED: Final = {
    "classification": "one score per class",
    "binary": "one number per sample",
    "multi-label": "a row of numbers",
    "segmentation": "a map per class (classes, height, width)",
    "embedding": "a vector",
}


class _Worst:
    """Every output's agreement, and of these the least."""

    def __init__(self, task: Agreement) -> None:
        self._task = task
        self._meters: dict[str, Meter] = {}

    def update(self, outputs: Any, target: Any) -> None:
        flat = list(tensors(outputs))
        kinds = self._task.kinds(flat)
        self._meters = self._meters or {name: kind.meter() for name, kind in kinds.items()}
        for meter, ours, theirs in zip(self._meters.values(), flat, tensors(target), strict=True):
            meter.update(ours, theirs)

    def value(self) -> float:
        return min(self.parts().values(), key=_least, default=math.nan)

    def error(self) -> float | None:
        """Of the output that agrees least."""
        least = min(self._meters.values(), key=lambda meter: _least(meter.value()), default=None)
        return None if least is None else least.error()

    def parts(self) -> Mapping[str, float]:
        return {name: meter.value() for name, meter in self._meters.items()}


def _least(value: float) -> float:
    """What is no number is the least."""
    return -math.inf if math.isnan(value) else value
