"""What is trained and timed for the page of ``conv3d_meta.py``: the document's networks, and their rewritten forms."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edits
from compressor.engine.plan import Edit
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.measure.latency import FULL as FULL_PROTOCOL
from compressor.measure.latency import Protocol, compare
from compressor.measure.quality import onnx_quality
from compressor.models import find
from compressor.train.spec import Distillation, TrainingSpec
from papers.arms import Budget, Figure, Figures
from papers.resumed import fit
from papers.weights import trained

TRAINING = TrainingSpec(batch=128, lr=1e-3, precision="bfloat16")
"""The document's: Adam, cross entropy, no augmentation. Ours: bfloat16 where there is some, and validation chooses."""
REWRITTEN = replace(TRAINING, schedule="cosine", distillation=Distillation(logits=0.5))
PROTOCOLS = {1: FULL_PROTOCOL, 64: Protocol(min_rounds=1, max_rounds=1)}
"""How long to time at which batch: 64 images take T3 half a second."""
STRUCTURE = Budget("structure", 0)
LABELS = {"conv2d": "Conv2d", "conv3d": "Conv3d", "meta": "Meta", "meta-head": "Meta head"}


@dataclass(frozen=True)
class Theirs:
    """What the document says about a network: parameters, accuracy in percent, and the cut of parameters in percent."""

    parameters: int
    accuracy: float
    cut: float = 0.0


THEIRS: Mapping[str, Theirs] = {
    "t1-conv2d": Theirs(88_170, 72.80),
    "t1-conv3d": Theirs(83_526, 68.82, 5.3),
    "t1-meta": Theirs(84_126, 70.39, 4.6),
    "t1-meta-head": Theirs(26_750, 71.98, 69.7),
    "t2-conv2d": Theirs(357_265, 83.40),
    "t2-conv3d": Theirs(176_761, 80.93, 50.5),
    "t2-meta": Theirs(187_433, 78.34, 47.5),
    "t2-meta-head": Theirs(292_961, 84.25, 18.0),
    "t3-conv2d": Theirs(1_573_902, 84.23),
    "t3-conv3d": Theirs(846_222, 82.99, 46.2),
    "t3-meta": Theirs(931_086, 82.96, 40.8),
    "t3-meta-head": Theirs(1_516_766, 84.27, 3.6),
}


def _volumes(path: str, count: int) -> Edit:
    return Edit("conv3d", path, {"volumes": count}, {"mode": "same"})


def _groups(path: str, groups: int, mixed: int) -> Edit:
    return Edit("meta-head", path, {"groups": groups, "mixed": mixed}, {"layers": "conv"})


DOCUMENT_HEAD = {"layers": "linear", "activation": "prelu", "allow_slower": True}
"""Its heads of T2 and T3 run slower than the layers they replace, which the plugin refuses by itself."""


def _head(path: str, groups: int, mixed: int) -> Edit:
    return Edit("meta-head", path, {"groups": groups, "mixed": mixed}, DOCUMENT_HEAD)


_BLOCKS = [f"{index}.branch.0.0" for index in (*range(4, 20), *range(22, 38))]
"""The first convolutions of T3's residual blocks."""
EDITS: Mapping[str, Sequence[Edit]] = {
    "t1-conv3d": [_volumes("4.0", 1)],
    "t1-meta": [_groups("4.0", 4, 8)],
    "t1-meta-head": [_head("8", 4, 4)],
    "t2-conv3d": [_volumes("5.0", 4), _volumes("9.0", 8)],
    "t2-meta": [_groups("5.0", 8, 8), _groups("9.0", 16, 16)],
    "t2-meta-head": [_head("13", 16, 8)],
    "t3-conv3d": [_volumes(path, 4) for path in _BLOCKS],
    "t3-meta": [_groups(path, 8, 8) for path in _BLOCKS],
    "t3-meta-head": [_head("40", 16, 8)],
}
"""Network → what turns its family's Conv2d network into it, or into the nearest one."""


def measure_structure(name: str, *, rewritten: bool) -> Figures:
    """Size and speed of an untrained network; speed beside its family's Conv2d network."""
    reference = to_onnx(_new(conv2d_of(name), 0))
    network = _new(conv2d_of(name) if rewritten else name, 0)
    if rewritten:
        apply_edits(network, EDITS[name], None)
    cost, model = network_cost(network), to_onnx(network)
    figures: dict[str, Figure] = {
        "parameters": cost.parameter_count,
        "macs": cost.mac_count,
        "bytes": len(model),
    }
    for batch, protocol in PROTOCOLS.items():
        timing = compare(reference, model, batch=batch, protocol=protocol)
        figures |= {f"speedup {batch}": timing.speedup, f"low {batch}": timing.low, f"high {batch}": timing.high}
    return figures


def train_built(name: str, seed: int, budget: Budget) -> Figures:
    network, validation = _trained(name, seed, budget)
    return _scored(network, _data(budget.train), validation)


def _trained(name: str, seed: int, budget: Budget) -> tuple[Network, float]:
    network, spec = _new(name, seed), replace(TRAINING, epochs=budget.epochs)
    kept = trained(network, _data(budget.train), spec, seed=seed, page="conv3d_meta", name=name)
    return network, kept.validation


def train_rewritten(name: str, seed: int, before: Budget, budget: Budget) -> Figures:
    """With nothing rewritten, the control: the Conv2d network trained on as long in the same way."""
    data = _data(budget.train)
    teacher, _ = _trained(conv2d_of(name), seed, before)
    network, evidence = teacher.fork(), Evidence(data.calibration_batches(512))
    apply_edits(network, EDITS.get(name, ()), evidence)
    evidence.calibrate(network)
    history = fit(network, data, replace(REWRITTEN, epochs=budget.epochs), seed=seed, teacher=teacher)
    assert history.best is not None
    return _scored(network, data, history.best.validation_quality)


def _scored(network: Network, data: Data, validation: float) -> Figures:
    test, model = data.open_test(), to_onnx(network)
    accuracy = onnx_quality(model, [(data.normalised(test.images), test.targets())], data.task)
    parameters = network_cost(network).parameter_count
    return {"validation": validation, "test": accuracy, "parameters": parameters, "bytes": len(model)}


def _new(name: str, seed: int) -> Network:
    entry = find(name)
    torch.manual_seed(seed)
    return capture(entry.build(), entry.input_shape, name)


def conv2d_of(name: str) -> str:
    """The Conv2d network of a network's family."""
    return f"{name.partition('-')[0]}-conv2d"


@functools.cache
def _data(train: int) -> Data:
    """Their normalisation: from 0…1 to −1…1."""
    return load_data(DataSpec(name="cifar-10", limit=train, mean=(0.5,) * 3, std=(0.5,) * 3))


def label(name: str) -> str:
    family, _, version = name.partition("-")
    return f"{family.upper()} {LABELS[version]}"


def versions(family: str) -> list[str]:
    """The networks of a family, its Conv2d network first."""
    return [f"{family}-{version}" for version in LABELS]
