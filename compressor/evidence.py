"""What a plugin may ask about the data: calibration batches, the loss, the teacher. It never loads data itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from compressor.graph.frozen import Frozen
from compressor.graph.leaf import Leaf
from compressor.graph.nested import Inputs, joined, samples, tensors
from compressor.graph.network import Network

Batch = tuple[Any, Any]
"""What the network takes (images ``(N, C, H, W)``, or a tuple of tensors), and what the loss takes: labels ``(N,)``."""


@dataclass(frozen=True)
class Evidence:
    """Calibration data and what to measure on it. The batches come from the training split."""

    batches: Sequence[Batch]
    loss: Callable[[Any, Any], Tensor] = field(default=torch.nn.functional.cross_entropy)
    teacher: Network | None = None

    def mean_loss(self, network: Network) -> float:
        """Mean loss per sample in eval mode."""
        network.eval()
        total, count = 0.0, 0
        with torch.inference_mode():
            for images, labels in self.batches:
                total += float(self.loss(network.logits(images), labels)) * samples(images)
                count += samples(images)
        return total / max(count, 1)

    def activations(self, network: Network, nodes: Sequence[fx.Node]) -> dict[str, Tensor]:
        """Values of ``nodes`` (by node name) over all batches, concatenated along the batch, in eval mode."""
        wanted = {node.name for node in nodes}
        collected: dict[str, list[Tensor]] = {name: [] for name in wanted}

        class Recorder(fx.Interpreter):
            def run_node(self, n: fx.Node) -> object:
                value: object = super().run_node(n)
                if n.name in wanted and isinstance(value, Tensor):
                    collected[n.name].append(value.detach().clone())
                return value

        network.eval()
        recorder = Recorder(network.module)
        with torch.no_grad():
            for images, _ in self.batches:
                recorder.run(*tensors(images))
        return {name: torch.cat(parts) for name, parts in collected.items()}

    def calibrate(self, network: Network, passes: int = 1) -> None:
        """Learn from the batches what takes no training: BatchNorm statistics anew, then what leaves calibrate."""
        if self.batches:
            self._estimate_norms(network, passes)
            self.calibrate_leaves(network)

    def calibrate_leaves(self, network: Network) -> None:
        """What leaves learn from data without training, from the batches."""

        def run() -> None:
            network.eval()
            with torch.no_grad():
                for images, _ in self.batches:
                    network(images)

        for home, leaves in calibrating(network).items():
            home.calibrate(leaves, run)

    def _estimate_norms(self, network: Network, passes: int) -> None:
        """The running statistics of every BatchNorm anew, each sample counting alike.

        A batch counts as much as it has samples; one image alone, of which there may be no variance, joins the batch
        before, and without another nothing is estimated.
        """
        norms = [m for _, m in network.leaves() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        norms = [norm for norm in norms if norm.track_running_stats and not isinstance(norm, Frozen)]
        if not norms or sum(samples(images) for images, _ in self.batches) < 2:
            return
        momenta = [norm.momentum for norm in norms]
        network.eval()
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
        seen = 0
        with torch.no_grad():
            for _ in range(passes):
                for images in _whole_batches(self.batches):
                    seen += samples(images)
                    for norm in norms:
                        norm.momentum = samples(images) / seen
                    network(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()


def _whole_batches(batches: Sequence[Batch]) -> Iterator[Inputs]:
    """The images of every batch; one image alone, of which a layer may have no variance, comes with those before."""
    waiting: Inputs | None = None
    for images, _ in batches:
        if waiting is not None and samples(images) > 1 and samples(waiting) > 1:
            yield waiting
            waiting = images
        else:
            waiting = images if waiting is None else joined([waiting, images])
    if waiting is not None:
        yield waiting


def calibrating(network: Network) -> dict[type[Leaf], list[Leaf]]:
    """The leaves that learn from data without training, by the class that says how."""
    families: dict[type[Leaf], list[Leaf]] = {}
    for _, leaf in network.leaves():
        if isinstance(leaf, Leaf):
            home = next(base for base in type(leaf).__mro__ if "calibrate" in vars(base))
            families.setdefault(home, []).append(leaf)
    families.pop(Leaf, None)  # type: ignore[type-abstract]
    return families
