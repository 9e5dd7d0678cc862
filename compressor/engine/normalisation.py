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
from compressor.data.statistics import IMAGENET, scaling
from compressor.engine.trained import glance, refuse_suspicious
from compressor.errors import DataError
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation
from compressor.task.paired import evidently_better, no_better
from compressor.train.evaluate import scores

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
    if data.task.own_answers:
        raise DataError(
            f"how the network's inputs were scaled cannot be told without labels: say it with --set data.normalise="
            f"{' or '.join(_plausible(data))}, or with data.mean and data.std"
        )
    pool = _pool(data)
    found, alive = _compared(network, data, pool)
    best, seen = alive[0], len(found[alive[0]])
    told = ", ".join(f"{name} {_told(data, part)}" for name, part in sorted(found.items(), key=lambda p: -_mean(p[1])))
    looked = glance(network, _scaled(data, best))
    if looked.guess is not None and no_better(data.task.metric, looked.value, looked.guess):
        for name in found:
            refuse_suspicious(glance(network, _scaled(data, name)), data)
        raise DataError(
            f"with no scaling of {data.name} does the network score better than by chance ({told}): see to its "
            "weights, the order of the classes or outputs, and how its inputs were prepared (data.mean and data.std, "
            "or a data.function of your own); --allow-untrained goes on all the same"
        )
    if len(alive) > 1:
        ways = " or ".join(f"data.normalise={name}" for name in alive)
        raise DataError(
            f"how the network's inputs were scaled cannot be told from its answers to {seen:,} of them ({told}): say "
            f"it with --set {ways}, or with data.mean and data.std"
        )
    _refuse_reversed(network, _scaled(data, best), pool.first(min(seen, _ADVICE)))
    chosen = replace(_scaled(data, best), settled=True)
    said = chosen.normalisation(f"found by trying: {told}")
    return Chosen(chosen, said, (f"the network was evidently trained with {said.describe()}; scores: {told}",))


def _compared(network: Network, data: Data, pool: Split) -> tuple[dict[Scaling, Tensor], list[Scaling]]:
    """The scores of samples of the pool with each scaling, and the scalings left, the best first.

    A scaling that is evidently worse than the best is looked at no further.
    """
    alive = _plausible(data)
    ways = {name: _scaled(data, name) for name in alive}
    found: dict[Scaling, Tensor] = {name: torch.zeros(0) for name in alive}
    seen = 0
    for step in _STEPS if pool.indexed else _STEPS[1:2]:
        part = pool.take(torch.arange(min(seen, len(pool)), min(step, len(pool)))) if pool.indexed else pool.first(step)
        if not len(part):
            break
        for name in alive:
            found[name] = torch.cat([found[name], scores(network, ways[name], part)])
        seen += len(part)
        alive.sort(key=lambda name: -_mean(found[name]))
        best = found[alive[0]]
        alive = [name for name in alive if not evidently_better(best, found[name])]
        if len(alive) == 1:
            break
    return found, alive


def _scaled(data: Data, name: Scaling) -> Data:
    mean, std = scaling(name, data.train)
    return replace(data, mean=mean, std=std)


def _plausible(data: Data) -> list[Scaling]:
    return [name for name in SCALINGS if name != "imagenet" or data.input_shape[0] == len(IMAGENET[0])]


def _pool(data: Data) -> Split:
    """Validation images in random order; training images behind them where these are few."""
    limit = _STEPS[-1]
    first = data.validation.some(limit)
    more = data.train.some(limit - len(first), seed=1)
    return first.joined(more) if len(more) else first


def _refuse_reversed(network: Network, data: Data, part: Split) -> None:
    """A network of OpenCV's or Caffe's world takes blue first."""
    if data.input_shape[0] != 3:
        return
    plain = scores(network, data, part)
    swapped = scores(network, data, HeldSplit(part.images.flip(1), part.targets()))
    if evidently_better(swapped, plain):
        raise DataError(
            f"{data.name}: the network scores {_told(data, swapped)} with the channels in the order blue, green, red, "
            f"and {_told(data, plain)} as they are: give it such images by a data.function of your own"
        )


def _advice(network: Network, data: Data) -> Iterator[str]:
    """Floats are fed as they are; where that looks like a mistake, say so."""
    if data.task.own_answers:
        return
    pool = data.validation.first(_ADVICE)
    plain = scores(network, data, pool)
    for name in _plausible(data):
        other = scores(network, _scaled(data, name), pool)
        if evidently_better(other, plain):
            yield (
                f"the images are taken as they are, and score {_told(data, plain)}; with data.normalise = {name} it "
                f"would be {_told(data, other)}"
            )
            return


def _mean(found: Tensor) -> float:
    return float(found.float().mean())


def _told(data: Data, found: Tensor) -> str:
    metric = data.task.metric
    return metric.text(_mean(found) if metric.direction == "higher" else -_mean(found))
