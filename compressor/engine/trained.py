"""A first look at the network's answers, before anything is searched: is it trained for these data at all?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compressor.data.dataset import Data
from compressor.engine.chance import Chance, chance_of, evidently_better
from compressor.errors import DataError
from compressor.graph.network import Network
from compressor.train.evaluate import predict

LOOKED_AT = 2000
"""Validation images that are looked at; the baseline is scored on all of them later."""
_FEW = 100
_RELABELLED = 0.2
"""Share of answers that another order of the classes must put right before it is named as the cause."""


@dataclass(frozen=True)
class Glance:
    """Answers to some validation images, and their labels: ``(N,)`` each."""

    answers: Tensor
    labels: Tensor

    @property
    def accuracy(self) -> float:
        return float((self.answers == self.labels).float().mean())

    @property
    def chance(self) -> Chance:
        return chance_of(self.labels)


def glance(network: Network, data: Data) -> Glance:
    """The network's answers to up to ``LOOKED_AT`` validation images, always the same ones."""
    chosen = torch.randperm(len(data.validation), generator=torch.Generator().manual_seed(0))[:LOOKED_AT]
    part = data.validation.take(chosen)
    return Glance(predict(network, data, part).argmax(1).cpu(), part.labels)


def refuse_untrained(seen: Glance, data: Data, *, weights: str = "its weights") -> None:
    """Raises ``DataError`` where the answers are no better than chance, or fit another order of the classes.

    ``weights``: what to look at there, for people.
    """
    refuse_relabelled(seen, data)
    if not seen.chance.holds(seen.accuracy):
        return
    count = len(seen.labels)
    few = f"; {count} images are few to tell by: data.validation takes more" if count < _FEW else ""
    always = f"answering {data.classes[seen.chance.label]!r} always: {100 * seen.chance.share:.1f} %"
    raise DataError(
        f"{data.name}: the network is right for {100 * seen.accuracy:.1f} % of {count:,} validation images, no better "
        f"than chance ({always}){few}; see to {weights}, the order of the classes and the scale of the images "
        "(data.normalise); a network that is to be trained first goes with --allow-untrained"
    )


def refuse_relabelled(seen: Glance, data: Data) -> None:
    """Raises ``DataError`` where the answers fit another order of the classes."""
    other = relabelling(seen)
    if other is not None:
        wrong = [
            f"its output {answer} is {data.classes[label]!r}" for answer, label in other.items() if answer != label
        ]
        raise DataError(
            f"{data.name}: the network's classes are in another order: {', '.join(wrong[:3])} in these data "
            f"({100 * seen.accuracy:.1f} % right answers as it is); give the labels in the network's order"
        )


def relabelling(seen: Glance) -> dict[int, int] | None:
    """Output → label, one to one, where that puts many more answers right than taking outputs for labels does."""
    size = int(max(seen.answers.max(), seen.labels.max())) + 1
    table = torch.bincount(seen.answers * size + seen.labels, minlength=size * size).view(size, size)
    given = [answer for answer in range(size) if table[answer].any()]
    found = {answer: int(table[answer].argmax()) for answer in given}
    if len(set(found.values())) < len(found) or all(answer == label for answer, label in found.items()):
        return None
    right = torch.tensor([found[answer] for answer in seen.answers.tolist()]) == seen.labels
    plain = seen.answers == seen.labels
    gained = float(right.float().mean() - plain.float().mean())
    good = not seen.chance.holds(float(right.float().mean()))
    return found if good and gained >= _RELABELLED and evidently_better(right, plain) else None
