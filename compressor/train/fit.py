"""Train a network on a data set: the one entry to everything in this folder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.data.dataset import Data, Split
from compressor.data.fit import check_fit
from compressor.errors import InputError, TrialError
from compressor.graph.device import on_device, seeded, working_device
from compressor.graph.nested import Nested, map_tensors
from compressor.graph.network import Network
from compressor.train.batches import Batches
from compressor.train.checkpoint import Checkpoint, training_key
from compressor.train.custom import fit_with_function
from compressor.train.distil import Distiller
from compressor.train.evaluate import predict
from compressor.train.history import EpochObserver, History
from compressor.train.layout import channels_last
from compressor.train.loop import TrainingLoop
from compressor.train.precision import autocast, usable
from compressor.train.spec import Augmentation, Precision, TrainingSpec

_MOST_ANSWERS = 1 << 26
"""Numbers of a teacher's answers that are kept rather than asked for again: 256 MiB."""


def fit(
    network: Network,
    data: Data,
    spec: TrainingSpec,
    *,
    teacher: Network | None = None,
    seed: int = 0,
    progress: EpochObserver | None = None,
    checkpoints: Path | None = None,
) -> History:
    """Train ``network`` in place as ``spec`` says, and leave it in eval mode on the device it came from.

    Uses an accelerator where there is one. The same seed, spec and number of threads give the same weights on the CPU;
    the global random state is left as it was. ``teacher`` is needed, and used, only where ``spec`` distils.
    A network without trainable parameters, or a spec without epochs, is left alone, and the history says so.

    ``checkpoints``: a folder that holds the state of trainings after their epochs. One that was cut off goes on from
    there (``train.checkpoint`` says how exactly), and whoever needs the folder no more removes it. A training function
    of the user's own has none.

    Raises ``DataError`` where the data do not fit the network, ``InputError`` for an impossible spec, ``TrialError``
    when the loss is no longer a number.
    """
    check_fit(network, data)
    if spec.function:
        device = network.device
        with seeded(seed, device):
            history = fit_with_function(network, data, spec, teacher, seed, progress)
        network.to(device).eval()
        return history
    _check(spec)
    if spec.epochs == 0:
        return History(stopped="no epochs were asked for")
    if not any(parameter.requires_grad for parameter in network.module.parameters()):
        return History(stopped="the network has no trainable parameters")
    if spec.batch == 1:
        _refuse_one_value(network)
    with _ready(network, data, spec, teacher, seed, working_device()) as loop:
        checkpoint = None
        if checkpoints is not None:
            heard = teacher if spec.distillation.logits or spec.distillation.features else None
            checkpoint = Checkpoint(checkpoints, training_key(network, data, spec, heard, seed, loop.precision))
        return loop.run(progress, checkpoint)


def first_step(network: Network, data: Data, spec: TrainingSpec, teacher: Network) -> None:
    """One step of what ``fit`` does, on the CPU, without a look at the validation split; raises what that raises."""
    _check(spec)
    if any(parameter.requires_grad for parameter in network.module.parameters()):
        if spec.batch == 1:
            _refuse_one_value(network)
        with _ready(network, data, spec, teacher, 0, torch.device("cpu")) as loop:
            loop.step()


def _refuse_one_value(network: Network) -> None:
    """Raise ``InputError`` where a normalisation sees one value per channel in a batch of one: it has no variance."""
    for node, leaf in network.calls():
        if isinstance(leaf, _BatchNorm) and math.prod(node.meta.get("shape", ())[1:]) == 1:
            raise InputError(
                f"training.batch: {node.target} ({type(leaf).__name__}) sees one value per channel in a batch of one "
                "sample, which has no variance; take batches of two or more"
            )


@contextmanager
def _ready(
    network: Network, data: Data, spec: TrainingSpec, teacher: Network | None, seed: int, device: torch.device
) -> Iterator[TrainingLoop]:
    """Everything in its place; afterwards the network is in eval mode, and where it was."""
    with ExitStack() as stack:
        stack.callback(network.eval)
        stack.enter_context(on_device(network, device))
        stack.enter_context(seeded(seed, device))
        batches = Batches(data, spec.batch, spec.augmentation, seed, device, spec.transform)
        precision = usable(spec.precision, network)
        laid = stack.enter_context(channels_last(network, precision))
        distiller = _distiller(network, teacher, data, spec, precision)
        if distiller is not None:
            stack.enter_context(distiller)
        yield TrainingLoop(network, data, spec, batches, distiller, precision, laid)


def _distiller(
    network: Network, teacher: Network | None, data: Data, spec: TrainingSpec, precision: Precision
) -> Distiller | None:
    wanted = spec.distillation
    if not wanted.logits and not wanted.features:
        return None
    if teacher is None:
        raise TrialError("training.distillation asks for a teacher, and there is none")
    whole_passes = spec.epochs * spec.steps_per_epoch * spec.batch >= len(data.train) if spec.steps_per_epoch else True
    if wanted.once and wanted.features:
        raise InputError("training.distillation.once: features are compared batch by batch; leave it out, or features")
    if wanted.once and not data.train.indexed:
        raise InputError(
            "training.distillation.once: a loader's samples cannot be told apart from pass to pass; leave it out"
        )
    same = data.train.held and spec.augmentation == Augmentation() and not spec.transform
    unchanged = not wanted.features and same and whole_passes
    constant = wanted.once or (unchanged and _few_numbers(teacher, len(data.train)))
    answers = _answers(teacher, data, network.device, precision) if constant else None
    return Distiller(network, teacher, data.task, wanted, answers, precision)


def _answers(teacher: Network, data: Data, device: torch.device, precision: Precision) -> Nested:
    """What the teacher says about every training sample as it is, where it has not said so already."""
    state = tuple((tensor.data_ptr(), tensor._version) for tensor in teacher.module.state_dict().values())
    said = _SAID.get(teacher)
    if said is None or said.of is not data.train or said.how != (device, precision, state):
        said = _SAID[teacher] = _Said(data.train, (device, precision, state), _asked(teacher, data, device, precision))
    return said.answers


def _asked(teacher: Network, data: Data, device: torch.device, precision: Precision) -> Nested:
    copy = teacher.fork().to(device)
    with channels_last(copy, precision), autocast(device, precision):
        return map_tensors(Tensor.float, predict(copy, data, data.train))


class _Said(NamedTuple):
    """Answers of a teacher, and what they were given of and how."""

    of: Split
    how: tuple[object, ...]
    answers: Nested


_SAID: WeakKeyDictionary[Network, _Said] = WeakKeyDictionary()
"""The phases of a trial have one teacher, which needs as long to answer as it takes to train a third of an epoch."""


def _few_numbers(teacher: Network, count: int) -> bool:
    """Whether all answers of the teacher are kept without a thought."""
    return count * sum(math.prod(teacher.shape(node)) for node in teacher.output_nodes) <= _MOST_ANSWERS


def _check(spec: TrainingSpec) -> None:
    """Raises ``InputError`` for values no training can have."""
    limits = {"epochs": 0, "batch": 1, "lr": 0, "weight_decay": 0, "clip_norm": 0, "patience": 0, "steps_per_epoch": 0}
    for name, least in limits.items():
        if getattr(spec, name) < least:
            raise InputError(f"training.{name}: {getattr(spec, name)} is less than {least}")
    if not 0 <= spec.label_smoothing < 1:
        raise InputError(f"training.label_smoothing: {spec.label_smoothing} is not in 0…1")
    if spec.distillation.temperature <= 0:
        raise InputError(f"training.distillation.temperature: {spec.distillation.temperature} is not positive")
