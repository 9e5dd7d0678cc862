"""Learning from a teacher: its answers, and the values of leaves that teacher and student share.

What the answers lose is the task's to say (``Task.distil``). Features: mean over the shared leaves of
½ · mean((s − t)²) / mean(t²).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from compressor.errors import TrialError
from compressor.graph.nested import Nested, first, map_tensors, rows
from compressor.graph.network import Network
from compressor.task import Task
from compressor.task.likeness import relative_squares
from compressor.train.batches import TrainingBatch
from compressor.train.precision import autocast
from compressor.train.spec import Distillation, Precision


def shared_leaves(student: Network, teacher: Network) -> list[str]:
    """Paths of leaves with parameters that both networks have, with values of the same shape."""
    theirs = _weighted_shapes(teacher)
    return [path for path, shape in _weighted_shapes(student).items() if theirs.get(path) == shape]


def _weighted_shapes(network: Network) -> dict[str, Any]:
    weighted = [path for path, leaf in network.leaves() if next(leaf.parameters(), None) is not None]
    return {path: [node.meta.get("shape") for node in network.calls_of(path)] for path in weighted}


class _Recorder:
    """The values of some leaves during the latest forward pass, of those with gradients or of those without.

    A student is recorded with gradients: what it says while it is being evaluated is not kept.
    """

    def __init__(self, network: Network, paths: Sequence[str], gradients: bool) -> None:
        self._gradients = gradients
        self.values: dict[str, list[Tensor]] = {path: [] for path in paths}
        self._handles: list[RemovableHandle] = [
            network.leaf(path).register_forward_hook(self._keep(path)) for path in paths
        ]

    def _keep(self, path: str) -> Any:
        def hook(module: nn.Module, inputs: Any, value: Tensor) -> None:
            if torch.is_grad_enabled() == self._gradients:
                self.values[path].append(value)

        return hook

    def take(self) -> dict[str, list[Tensor]]:
        taken = self.values
        self.values = {path: [] for path in taken}
        return taken

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()


class Distiller:
    """The teacher's part of the loss. A context: its hooks on the student are gone afterwards.

    The teacher is a copy in eval mode on the student's device; the network passed in is left as it was.
    """

    def __init__(
        self,
        student: Network,
        teacher: Network,
        task: Task,
        spec: Distillation,
        answers: Nested = None,
        precision: Precision = "float32",
    ) -> None:
        """``answers``: the teacher's outputs for all training samples, where they stay the same all the time."""
        self._precision: Precision = precision
        self._spec = spec
        self._ours_said, self._theirs_said = task.fitted(student), task.fitted(teacher)
        self._answers = answers
        self._teacher = teacher.fork().eval().to(student.device)
        self._paths = shared_leaves(student, teacher) if spec.features else []
        if spec.features and not self._paths:
            raise TrialError("distillation.features: teacher and student share no leaf of the same path and shape")
        self._ours = _Recorder(student, self._paths, gradients=True)
        self._theirs = _Recorder(self._teacher, self._paths, gradients=False)

    def loss(self, batch: TrainingBatch, outputs: Nested) -> Tensor:
        """The weighted terms for the student's ``outputs`` on ``batch``, right after its forward pass."""
        ours, device = self._ours.take(), first(outputs).device
        if self._answers is not None and batch.indices is not None:
            answers = rows(self._answers, batch.indices.to(device))
        else:
            with torch.no_grad(), autocast(device, self._precision):
                answers = map_tensors(Tensor.float, self._teacher(batch.inputs))
        theirs = self._theirs.take()
        total = torch.zeros((), device=device)
        if self._spec.logits:
            said, heard = self._ours_said.plain(outputs), self._theirs_said.plain(answers)
            lost = self._ours_said.distil(said, heard, self._spec.temperature)
            if lost is None:
                raise TrialError("training.distillation.logits: the task does not say what answers lose; use features")
            total = total + self._spec.logits * lost
        if self._paths:
            pairs = [pair for path in self._paths for pair in zip(ours[path], theirs[path], strict=True)]
            distances = [relative_squares(s.float(), t.float()) for s, t in pairs]
            total = total + self._spec.features * torch.stack(distances).mean()
        return total

    def __enter__(self) -> Distiller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._theirs.close()
