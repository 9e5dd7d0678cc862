"""A training function of the user's own, in place of the built-in loop.

def train(network, data, spec, *, teacher=None, seed=0, progress=None):
    ...                       # train network.module in place; return a History, or nothing
"""

from __future__ import annotations

import time
from typing import Protocol

from compressor.apart import at_leisure
from compressor.data.dataset import Data
from compressor.errors import TrialError
from compressor.graph.network import Network
from compressor.imported import call_function, import_function
from compressor.train.evaluate import evaluate
from compressor.train.history import EpochObserver, EpochReport, History
from compressor.train.spec import TrainingSpec


class TrainFunction(Protocol):
    """What ``training.function`` must name.

    Trains ``network`` in place: ``network.module`` is an ordinary module, ``network(x)`` runs it on a batch
    ``(N, C, H, W)``, ``data.normalised(images)`` prepares raw images. After every optimizer step it should call
    ``after_step()`` of each module that is a ``compressor.graph.leaf.Leaf``. It must not change the graph.
    """

    def __call__(
        self,
        network: Network,
        data: Data,
        spec: TrainingSpec,
        *,
        teacher: Network | None,
        seed: int,
        progress: EpochObserver | None,
    ) -> History | None: ...


def fit_with_function(
    network: Network, data: Data, spec: TrainingSpec, teacher: Network | None, seed: int, progress: EpochObserver | None
) -> History:
    """Run the user's function; where it returns nothing, the history is one epoch measured afterwards.

    Raises ``InputError`` for a function that cannot be imported or fails, ``TrialError`` for one that returns something
    else.
    """
    function: TrainFunction = import_function(spec.function, "training.function")
    started = time.perf_counter()
    network.train()
    options = {"teacher": teacher, "seed": seed, "progress": progress}
    with at_leisure():
        result = call_function(function, spec.function, "training.function", network, data, spec, **options)
    if isinstance(result, History):
        return result
    if result is not None:
        raise TrialError(
            f"training.function: {spec.function} returned {type(result).__name__}; it must return a History or nothing"
        )
    return _measured(network, data, time.perf_counter() - started)


def _measured(network: Network, data: Data, seconds: float) -> History:
    train, validation = evaluate(network, data, data.train), evaluate(network, data, data.validation)
    report = EpochReport(
        epoch=1,
        epochs=1,
        train_loss=train.loss,
        train_quality=train.quality,
        validation_loss=validation.loss,
        validation_quality=validation.quality,
        lr=0.0,
        seconds=seconds,
    )
    return History((report,), report, device=str(network.device))
