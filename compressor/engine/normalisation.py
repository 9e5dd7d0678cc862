"""Which normalisation was the network trained with?

Whoever says so is believed, in this order: the recipe, the model file, the data themselves (floats are what their owner
made them). For whole-number pixels of which nobody says anything, the network is asked: it is scored with every
plausible scaling, and the one with which it does evidently best is the one it was trained with. Where none is, the
search would optimise another network than its owner has, so it does not begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compressor.data.dataset import Data, Split
from compressor.data.held import HeldSplit
from compressor.data.spec import DataSpec, Scaling
from compressor.data.statistics import IMAGENET, Statistics, scaling
from compressor.engine.chance import chance_of, evidently_better
from compressor.engine.trained import glance, refuse_relabelled
from compressor.errors import DataError
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation
from compressor.train.evaluate import predict

SCALINGS: tuple[Scaling, ...] = ("none", "dataset", "symmetric", "imagenet", "raw")
_STEPS = (128, 512, 2048, 4096)
"""Images that are looked at before the next decision; most are told apart by the first hundred."""
_ADVICE = 512


@dataclass(frozen=True)
class Chosen:
    """The data as the network wants them, how that is known, and what the user should be told."""

    data: Data
    normalisation: Normalisation
    notes: tuple[str, ...] = ()


def choose_normalisation(network: Network, data: Data, spec: DataSpec, *, untrained: bool = False) -> Chosen:
    """The normalisation of ``data`` for ``network``. ``untrained``: the network's answers mean nothing, ask it nothing.

    Raises ``DataError`` where only the network could tell, and cannot.
    """
    known = network.signature.normalisation
    if data.settled:
        return _said(data, _who(spec), known)
    whole = data.train.dtype == torch.uint8
    if known is not None and (known.scale == 255.0) == whole:
        found = replace(data, mean=known.mean, std=known.std)
        return Chosen(found, found.normalisation(known.origin or "kept with the model"))
    if not whole:
        origin = "the data are floats, which are taken as they are"
        return Chosen(data, data.normalisation(origin), () if untrained else tuple(_advice(network, data)))
    if untrained:
        return Chosen(data, data.normalisation("mean and deviation of the training images; the network is untrained"))
    return _asked(network, data)


def _said(data: Data, who: str, known: Normalisation | None) -> Chosen:
    said = data.normalisation(who)
    notes = []
    if known is not None and not known.same_as(said):
        notes.append(f"{who} is followed; the model file itself says {known.describe()}")
    return Chosen(data, said, tuple(notes))


def _who(spec: DataSpec) -> str:
    if spec.mean:
        return "data.mean and data.std"
    return f"data.normalise = {spec.normalise}" if spec.normalise != "auto" else "the data function"


# --- asking the network ------------------------------------------------------------------------------------------


def _asked(network: Network, data: Data) -> Chosen:
    pool = _pool(data)
    right, alive = _compared(network, data, pool)
    best = alive[0]
    told = ", ".join(
        f"{name} {_percent(found)}" for name, found in sorted(right.items(), key=lambda pair: -_mean(pair[1]))
    )
    seen = len(right[best])
    if chance_of(pool.labels[:seen]).holds(_mean(right[best])):
        for name in right:
            mean, std = scaling(name, data.train)
            refuse_relabelled(glance(network, replace(data, mean=mean, std=std)), data)
        raise DataError(
            f"with no scaling of {data.name} does the network score better than by chance ({told}): see to its "
            "weights, the order of the classes, and how its images were prepared (data.mean and data.std, or a "
            "data.function of your own); --allow-untrained goes on all the same"
        )
    if len(alive) > 1:
        ways = " or ".join(f"data.normalise={name}" for name in alive)
        raise DataError(
            f"how the network's images were scaled cannot be told from its answers to {seen:,} of them ({told}): say "
            f"it with --set {ways}, or with data.mean and data.std"
        )
    mean, std = scaling(best, data.train)
    _refuse_reversed(network, data, (mean, std), pool.take(torch.arange(min(seen, _ADVICE))))
    found = replace(data, mean=mean, std=std, settled=True)
    said = found.normalisation(f"found by trying: {told}")
    return Chosen(found, said, (f"the network was evidently trained with {said.describe()}; right answers: {told}",))


def _compared(network: Network, data: Data, pool: Split) -> tuple[dict[Scaling, Tensor], list[Scaling]]:
    """Which samples of the pool are answered rightly with each scaling, and the scalings left, the best first.

    A scaling that is evidently worse than the best is looked at no further.
    """
    alive = _plausible(data)
    ways = {name: scaling(name, data.train) for name in alive}
    right: dict[Scaling, Tensor] = {name: torch.zeros(0, dtype=torch.bool) for name in alive}
    seen = 0
    for step in _STEPS:
        part = pool.take(torch.arange(min(seen, len(pool)), min(step, len(pool))))
        if not len(part):
            break
        for name in alive:
            right[name] = torch.cat([right[name], _right(network, data, ways[name], part)])
        seen += len(part)
        alive.sort(key=lambda name: -_mean(right[name]))
        best = right[alive[0]]
        alive = [name for name in alive if not evidently_better(best, right[name])]
        if len(alive) == 1 and not chance_of(pool.labels[:seen]).holds(_mean(best)):
            break
    return right, alive


def _plausible(data: Data) -> list[Scaling]:
    return [name for name in SCALINGS if name != "imagenet" or data.input_shape[0] == len(IMAGENET[0])]


def _pool(data: Data) -> Split:
    """Validation images in random order; training images behind them where these are few."""
    generator = torch.Generator().manual_seed(0)
    limit = _STEPS[-1]
    first = data.validation.take(torch.randperm(len(data.validation), generator=generator)[:limit])
    more = data.train.take(torch.randperm(len(data.train), generator=generator)[: limit - len(first)])
    return first.joined(more) if len(more) else first


def _right(network: Network, data: Data, way: Statistics, part: Split) -> Tensor:
    """Which of the samples the network answers rightly, scaled that way."""
    scaled = replace(data, mean=way[0], std=way[1])
    return predict(network, scaled, part).argmax(1).cpu() == part.labels


def _refuse_reversed(network: Network, data: Data, way: Statistics, part: Split) -> None:
    """A network of OpenCV's or Caffe's world takes blue first."""
    if data.input_shape[0] != 3:
        return
    plain = _right(network, data, way, part)
    swapped = _right(network, data, way, HeldSplit(part.images.flip(1), part.labels))
    if evidently_better(swapped, plain):
        raise DataError(
            f"{data.name}: the network answers {_percent(swapped)} rightly with the channels in the order blue, green, "
            f"red, and {_percent(plain)} as they are: give it such images by a data.function of your own"
        )


def _advice(network: Network, data: Data) -> Iterator[str]:
    """Floats are fed as they are; where that looks like a mistake, say so."""
    pool = data.validation.take(torch.arange(min(_ADVICE, len(data.validation))))
    plain = _right(network, data, (data.mean, data.std), pool)
    for name in _plausible(data):
        other = _right(network, data, scaling(name, data.train), pool)
        if evidently_better(other, plain):
            yield (
                f"the images are taken as they are: {_percent(plain)} right answers; with data.normalise = {name} "
                f"there are {_percent(other)}"
            )
            return


def _mean(right: Tensor) -> float:
    return float(right.float().mean())


def _percent(right: Tensor) -> str:
    return f"{100 * _mean(right):.1f} %"
