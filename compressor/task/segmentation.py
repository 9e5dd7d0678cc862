"""Segmentation: one class per pixel; mean intersection over union.

Outputs ``(N, K, h, w)`` logits or probabilities, or a dict with them under ``output`` ("out" in torchvision); target
``(N, H, W)`` of class indices, int64. Where the two differ in size the outputs are resized (bilinear), as is usual.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from compressor.errors import DataError
from compressor.graph.nested import first
from compressor.graph.network import Network
from compressor.task.closing import closes_with, logits_of
from compressor.task.grouped import Grouped
from compressor.task.metric import Metric
from compressor.task.task import Guess, Meter, Problem, Samples, Task, targets_of

if TYPE_CHECKING:
    from torchmetrics import Metric as TorchMetric


@dataclass(frozen=True)
class Segmentation(Task):
    """One class per pixel; mean IoU over the classes that occur."""

    metric = Metric("mean IoU")
    ignore_index: int = 255
    """Pixels with this label count nowhere."""
    output: str = ""
    """Which of several named outputs holds the classes; empty: the only one, or the first."""
    probabilities: bool = False
    """Whether the outputs are probabilities; told by the network itself where it closes with a softmax."""

    def fitted(self, network: Network) -> Segmentation:
        return replace(self, probabilities=self.probabilities or closes_with(network, nn.Softmax))

    def logits(self, outputs: Any, size: tuple[int, ...] | None = None) -> Tensor:
        """``(N, K, H, W)``; resized to ``size`` where that is given."""
        maps = outputs[self.output] if self.output else first(outputs)
        maps = logits_of(maps) if self.probabilities else maps
        if size is None or maps.shape[2:] == size:
            return maps
        return F.interpolate(maps, size, mode="bilinear", align_corners=False)

    def loss(self, outputs: Any, target: Tensor) -> Tensor:
        logits = self.logits(outputs, tuple(target.shape[1:]))
        return F.cross_entropy(logits, target.long(), ignore_index=self.ignore_index)

    def scores(self, outputs: Any, target: Tensor) -> Tensor:
        """The share of each image's pixels that are told rightly."""
        right, counted = self._classes(outputs, target) == target, target != self.ignore_index
        return (right & counted).flatten(1).sum(1) / counted.flatten(1).sum(1).clamp_min(1)

    def meter(self) -> Meter:
        def make(arguments: tuple[Any, ...]) -> TorchMetric:
            from torchmetrics.classification import MulticlassJaccardIndex  # takes a second to import

            classes = arguments[0].shape[1]
            return MulticlassJaccardIndex(classes, ignore_index=self.ignore_index, validate_args=False)

        return Grouped(make, self._judged)

    def plain(self, outputs: Any) -> Tensor:
        return self.logits(outputs)

    def distil(self, student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
        """T² · KL between the softened answers, mean over the pixels."""
        ours, theirs = (F.log_softmax(maps / temperature, dim=1) for maps in (student, teacher))
        return F.kl_div(ours, theirs, reduction="none", log_target=True).sum(1).mean() * temperature**2

    def agreement(self, outputs: Any, reference: Any) -> Tensor:
        """The share of pixels of which both say the same."""
        return (self.logits(outputs).argmax(1) == self.logits(reference).argmax(1)).float().flatten(1).mean(1)

    def check(self, network: Network, data: Problem) -> None:
        shape = network.shape(self._node(network))
        if len(shape) != 3:
            raise DataError(
                f"{data.name}: task = segmentation is for a map per class, (classes, height, width); the model gives "
                f"{shape} for one image"
            )
        found: set[int] = set()
        ignored = False
        for split in (data.train, data.validation):
            masks = targets_of(split)
            if not isinstance(masks, Tensor) or masks.ndim != 3:
                raise DataError(f"{data.name}: task = segmentation is for a mask (height, width) per image")
            kinds = set(map(int, torch.unique(masks).tolist()))
            ignored = ignored or self.ignore_index in kinds
            found |= kinds - {self.ignore_index}
        if found and min(found) < 0:
            raise DataError(
                f"{data.name}: {min(found)} occurs in the masks and is no class; where it marks pixels that count "
                f"nowhere, say so: task.options.ignore_index = {min(found)}"
            )
        if found and max(found) >= shape[0]:
            raise DataError(
                f"{data.name}: class {max(found)} occurs in the masks, but the model has {shape[0]} outputs"
            )
        if ignored and len(found) < 2:
            only = f"class {min(found)} alone" if found else "no class"
            raise DataError(
                f"{data.name}: besides {self.ignore_index}, which counts nowhere (task.options.ignore_index), {only} "
                f"occurs in the masks; where {self.ignore_index} means a class, give it as that class's number"
            )

    def guess(self, data: Problem, samples: Samples) -> Guess | None:
        """Calling every pixel what most pixels are."""
        masks = torch.as_tensor(targets_of(samples))
        counts = torch.bincount(masks[masks != self.ignore_index].flatten().long())
        there = counts[counts > 0]
        if not len(there):
            return None
        share, common = float(there.max()) / float(there.sum()), int(counts.argmax())
        name = data.classes[common] if common < len(data.classes) else f"class {common}"
        return Guess(share / len(there), f"calling every pixel {name!r}")

    def _classes(self, outputs: Any, target: Tensor) -> Tensor:
        return self.logits(outputs, tuple(target.shape[1:])).argmax(1)

    def _judged(self, outputs: Any, target: Tensor) -> tuple[Tensor, Tensor]:
        """Maps of scores, from which the metric takes the classes, and the target."""
        return self.logits(outputs, tuple(target.shape[1:])).detach(), target

    def _node(self, network: Network) -> fx.Node:
        outputs = _outputs(network)
        while not isinstance(outputs, fx.Node):
            if self.output and (not isinstance(outputs, dict) or self.output not in outputs):
                raise DataError(f"task.options.output: the model has no output {self.output!r}")
            outputs = (
                outputs[self.output]
                if self.output
                else next(iter(outputs.values() if isinstance(outputs, dict) else outputs))
            )
        return outputs


def _outputs(network: Network) -> Any:
    """The nodes of the outputs, in the owner's form."""
    return network.graph.output_node().args[0]
