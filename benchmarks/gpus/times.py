"""Microseconds per image of training and of scoring, CPU and accelerator."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from torch.utils.data import TensorDataset

import compressor
from compressor.data.dataset import Data
from compressor.graph.capture import capture
from compressor.graph.device import working_on
from compressor.models.lenet import lenet
from compressor.models.resnet import resnet20
from compressor.train.evaluate import evaluate
from compressor.train.fit import fit
from compressor.train.spec import Precision, TrainingSpec
from gpus.part import Figures, Part, Setting

_NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "LeNet": (lenet, (1, 28, 28)),
    "ResNet-20": (resnet20, (3, 32, 32)),
}


def times(setting: Setting) -> Figures:
    """On random images. The first epoch, which also allocates, is not counted."""
    found: Figures = {}
    for name, (build, shape) in _NETWORKS.items():
        for device in dict.fromkeys(("cpu", setting.device.type)):
            images = 512 if setting.quick else 2048 if device == "cpu" else 20480
            data = _random(images, shape)
            for precision in _precisions(device):
                found[f"{name}, {device}, {precision}"] = _timed(build(), data, device, precision, setting)
    return found


def _precisions(device: str) -> list[Precision]:
    return ["float32"] if device == "cpu" else ["float32", "bfloat16"]


def _timed(module: torch.nn.Module, data: Data, device: str, precision: Precision, setting: Setting) -> Figures:
    network = capture(module, data.input_shape)
    spec = TrainingSpec(epochs=2 if setting.quick else 4, batch=256, precision=precision, restore_best=False)
    with working_on(device):
        history = fit(network, data, spec, seed=setting.seed)
        evaluate(network, data, data.train, batch=256)
        started = time.perf_counter()
        evaluate(network, data, data.train, batch=256)
        scored = time.perf_counter() - started
    epochs = [report.seconds for report in history.epochs[1:]]
    count = len(data.train)
    return {
        "training_us": 1e6 * statistics.median(epochs) / count, "scoring_us": 1e6 * scored / count,
        "precision": history.precision, "images": count,
    }  # fmt: skip


def _random(count: int, shape: tuple[int, ...]) -> Data:
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> TensorDataset:
        images = torch.randint(0, 256, (size, *shape), generator=generator, dtype=torch.uint8)
        return TensorDataset(images, torch.arange(size) % 10)

    return compressor.from_loaders(split(count), split(64), split(64))


TIMES: dict[str, Part] = {"times": Part("how long does an image take?", times, 60)}
