"""What a plugin may ask about the data: calibration batches, the loss, the teacher. It never loads data itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.device import at_work
from compressor.graph.leaf import Leaf
from compressor.graph.nested import Nested, rows, samples, tensors, to_device
from compressor.graph.network import Network
from compressor.graph.norm_statistics import estimate_norms
from compressor.graph.recording import ValueRecorder
from compressor.graph.unaffected import unaffected
from compressor.task import Task, usual_task

Batch = tuple[Nested, Any]
"""What one call of the network takes, ``(N, …)``, and what the task wants of the outputs."""

_FOR_TRAINING, _LEAST_FOR_TRAINING = 1 << 20, 8
"""Values of all images from which BatchNorm begins where training follows: 341 of 3×32×32, eight of 3×224×224."""
_FOLLOWED, _LEAST_FOLLOWED, _AT_A_TIME = 1 << 20, 8, 1 << 18
"""Values of all images that are passed with gradients: as many; so many of them at once, for the memory."""


@dataclass(frozen=True)
class Evidence:
    """Calibration data and what to measure on it. The batches come from the training split."""

    batches: Sequence[Batch]
    task: Task = field(default_factory=usual_task)
    teacher: Network | None = None

    def loss(self, outputs: Any, target: Any) -> Tensor:
        """The task's loss on what a network returned for a batch: a scalar, the mean over its samples."""
        return self.task.loss(outputs, target)

    @property
    def count(self) -> int:
        """Samples in all batches."""
        return sum(samples(inputs) for inputs, _ in self.batches)

    def first(self, count: int) -> Evidence:
        """The first ``count`` samples alone; all where there are no more."""
        batches: list[Batch] = []
        for inputs, target in self.batches:
            if count <= 0:
                break
            batches.append((rows(inputs, slice(count)), rows(target, slice(count))))
            count -= samples(inputs)
        return replace(self, batches=batches)

    def within(self, values: int, *, least: int) -> Evidence:
        """The first samples, so many that their inputs together hold so many values, but at least ``least``: a pass
        over them costs about the same at any size of image.
        """
        return self.first(max(values // self.values_of_one, least))

    @property
    def values_of_one(self) -> int:
        """Values in the inputs of one sample, at least 1."""
        inputs = tensors(self.batches[0][0]) if self.batches else ()
        return max(sum(tensor[0].numel() for tensor in inputs), 1)

    @contextmanager
    def at_work(self, network: Network) -> Iterator[Iterator[Batch]]:
        """The batches, and meanwhile the network, on the accelerator where there is one; the network then is back."""
        with at_work(network) as device:
            yield ((to_device(inputs, device), to_device(target, device)) for inputs, target in self.batches)

    def mean_loss(self, network: Network) -> float:
        """Mean loss per sample in eval mode."""
        network.eval()
        total, task = 0.0, self.task.fitted(network)
        with self.at_work(network) as batches, torch.inference_mode():
            for inputs, target in batches:
                total += float(task.loss(network(inputs), target)) * samples(inputs)
        return total / max(self.count, 1)

    def activations(self, network: Network, nodes: Sequence[fx.Node]) -> dict[str, Tensor]:
        """Values of ``nodes`` (by node name) over all batches, concatenated along the batch, in eval mode, where the
        network is. What comes behind the last of them is not run.
        """
        if not nodes:
            return {}
        home = network.device
        collected: dict[str, list[Tensor]] = {node.name: [] for node in nodes}
        network.eval()
        with self.at_work(network) as batches, torch.no_grad():
            recorder = ValueRecorder(network, max(nodes))
            for inputs, _ in batches:
                for name, value in recorder.values(inputs, collected):
                    collected[name].append(value.to(home, copy=True))
        return {name: torch.cat(parts) for name, parts in collected.items()}

    def calibrate(
        self, network: Network, passes: int = 1, *, since: Network | None = None, for_training: bool = False
    ) -> bool:
        """Learn from the batches what takes no training: BatchNorm statistics anew, then what leaves calibrate.

        ``since``: the network as it was before it was edited. A BatchNorm that no edit reaches keeps its statistics,
        which stem from all training images and not from these few. ``for_training``: training follows, which forgets
        these statistics step by step; a few images do for a start. Returns whether they are such a start, and not to be
        kept.
        """
        if not self.batches:
            return False
        some = self.within(_FOR_TRAINING, least=_LEAST_FOR_TRAINING) if for_training else self
        kept = frozenset() if since is None else unaffected(since, network)
        estimated = estimate_norms(network, [inputs for inputs, _ in some.batches], passes, kept)
        self.calibrate_leaves(network)
        return estimated and some.count < self.count

    def calibrate_leaves(self, network: Network) -> None:
        """What leaves learn from data without training, from the batches."""
        with at_work(network):
            for home, leaves in calibrating(network).items():
                home.calibrate(leaves, _Passes(self, network))


@dataclass(frozen=True)
class _Passes:
    """The batches on their way through a network, as leaves that calibrate ask for them."""

    evidence: Evidence
    network: Network

    def __call__(self) -> None:
        self.network.eval()
        with self.evidence.at_work(self.network) as batches, torch.no_grad():
            for inputs, _ in batches:
                self.network(inputs)

    def followed(self) -> Iterator[Nested]:
        """Of the first samples, in bounded memory; what cuDNN runs forward alone in eval mode, it does not run."""
        self.network.eval()
        some = self.evidence.within(_FOLLOWED, least=_LEAST_FOLLOWED)
        with some.at_work(self.network) as batches, torch.inference_mode(False), torch.enable_grad():
            for inputs, _ in batches:
                values = sum(tensor[0].numel() for tensor in tensors(inputs))
                size = max(_AT_A_TIME // max(values, 1), 1)
                for start in range(0, samples(inputs), size):
                    with torch.backends.cudnn.flags(enabled=False, allow_tf32=False):
                        yield self.network(rows(inputs, slice(start, start + size)))


def calibrating(network: Network) -> dict[type[Leaf], list[Leaf]]:
    """The leaves that learn from data without training, by the class that says how."""
    families: dict[type[Leaf], list[Leaf]] = {}
    for _, leaf in network.leaves():
        if isinstance(leaf, Leaf):
            home = next(base for base in type(leaf).__mro__ if "calibrate" in vars(base))
            families.setdefault(home, []).append(leaf)
    families.pop(Leaf, None)  # type: ignore[type-abstract]
    return families
