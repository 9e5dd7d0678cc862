"""Learning from a teacher: softened logits, and the values of leaves that teacher and student share.

Logits (Hinton et al., arXiv:1503.02531): T² · KL(softmax(t/T) ‖ softmax(s/T)), mean over the batch.
Features: mean over the shared leaves of ½ · mean((s − t)²) / mean(t²).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from compressor.errors import TrialError
from compressor.graph.network import Network
from compressor.train.batches import TrainingBatch
from compressor.train.precision import autocast
from compressor.train.spec import Distillation, Precision


def softened_divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² · KL between softened logits ``(N, K)``, mean over the batch."""
    soft_student = F.log_softmax(student / temperature, dim=1)
    soft_teacher = F.log_softmax(teacher / temperature, dim=1)
    divergence = F.kl_div(soft_student, soft_teacher, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def feature_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """½ · mean((s − t)²) / mean(t²)."""
    return 0.5 * F.mse_loss(student, teacher) / teacher.square().mean().clamp_min(1e-12)


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
        spec: Distillation,
        logits: Tensor | None = None,
        precision: Precision = "float32",
    ) -> None:
        """``logits``: the teacher's answers to all training samples, where they stay the same all the time."""
        self._precision: Precision = precision
        self._spec = spec
        self._logits = logits
        self._teacher = teacher.fork().eval().to(student.device)
        self._paths = shared_leaves(student, teacher) if spec.features else []
        if spec.features and not self._paths:
            raise TrialError("distillation.features: teacher and student share no leaf of the same path and shape")
        self._ours = _Recorder(student, self._paths, gradients=True)
        self._theirs = _Recorder(self._teacher, self._paths, gradients=False)

    def loss(self, batch: TrainingBatch, logits: Tensor) -> Tensor:
        """The weighted terms for the student's ``logits`` on ``batch``, right after its forward pass."""
        ours = self._ours.take()
        if self._logits is not None and batch.indices is not None:
            answers = self._logits[batch.indices.to(self._logits.device)]
        else:
            with torch.no_grad(), autocast(logits.device, self._precision):
                answers = self._teacher.logits(batch.inputs).float()
        theirs = self._theirs.take()
        total = torch.zeros((), device=logits.device)
        if self._spec.logits:
            total = total + self._spec.logits * softened_divergence(logits, answers, self._spec.temperature)
        if self._paths:
            pairs = [pair for path in self._paths for pair in zip(ours[path], theirs[path], strict=True)]
            distances = [feature_distance(s.float(), t.float()) for s, t in pairs]
            total = total + self._spec.features * torch.stack(distances).mean()
        return total

    def __enter__(self) -> Distiller:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ours.close()
        self._theirs.close()
