"""Networks trained on CIFAR-10 as every quantizer leaves them: without training, and trained on behind the rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from _cifar_networks import NETWORKS, cifar, trained
from _quantizers import OPTIONS, OURS, Files, files_of, integers, ours, peers, placed, swapped
from _report import UNTIMED, Row, speed
from torch import Tensor

from compressor.data.dataset import Data
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.network import Network
from compressor.measure.latency import FULL, compare
from compressor.measure.session import OnnxModel
from compressor.train.fit import fit
from compressor.train.spec import Augmentation, Distillation, TrainingSpec

Kept = Callable[[Row], bool]
"""Whether a row of these titles was measured before."""
SWAPPED = "swapped"
STEPS = 100
"""With swapped activations."""
CALIBRATED = 256
"""Training images."""


def untrained_rows(names: Sequence[str], folder: Path, nncf: Path | None, kept: Kept) -> Iterator[Row]:
    """Without any training behind the rounding."""
    for name in names:
        data, network, known = at_hand(name, folder)
        mine = ours(network, known, OPTIONS)
        for_many = files_of({"quantize, placed for 64 images": partial(placed, network, known, batch=64)})
        files: Files = {OURS: mine[OURS], **for_many, **peers(network, known, nncf), **mine}
        yield from _rows(name, data, network, files, kept)


def trained_on_rows(names: Sequence[str], folder: Path, epochs: int, kept: Kept) -> Iterator[Row]:
    """With so many epochs behind the rounding, the float network as teacher; what was trained is kept in ``folder``."""
    for name in names:
        data, network, known = at_hand(name, folder)
        learns = partial(_learned, teacher=network, data=data, epochs=epochs, folder=folder / name)
        yield from _rows(name, data, network, _trained_on(network, known, learns, epochs), kept)


def _trained_on(network: Network, known: Tensor, learns: Callable[[Network, str], Network], epochs: int) -> Files:
    behind = f"trained on for {epochs} epoch{'s' * (epochs > 1)}"
    networks: dict[str, Callable[[], Network]] = {
        f"quantize, {behind}": lambda: learns(placed(network, known), "8 bits"),
        f"the same, weights at 4 bits, {behind}": lambda: learns(placed(network, known, bits=4), "4 bits"),
    }
    swap = swapped(network)
    if swap is not None:
        networks |= {
            "activations swapped, float": swap.fork,
            f"activations swapped, float, trained on for {STEPS} steps": lambda: learns(swap.fork(), SWAPPED),
            f"activations swapped, trained on for {STEPS} steps, then quantize, every layer": lambda: integers(
                learns(swap.fork(), SWAPPED), known
            ),
        }
    return files_of(networks)


def at_hand(name: str, folder: Path) -> tuple[Data, Network, Tensor]:
    """The data, the float network, and the images that calibrate."""
    data = cifar()
    (known, _), *_ = data.calibration_batches(CALIBRATED, CALIBRATED)
    return data, capture(trained(name, folder, data), (3, 32, 32)), known


def _learned(student: Network, kind: str, teacher: Network, data: Data, epochs: int, folder: Path) -> Network:
    """The student trained, in place; its weights from the folder, where it was trained before."""
    file = folder / f"{kind}, {epochs}.pt"
    if file.exists():
        student.module.load_state_dict(torch.load(file, weights_only=True))
        return student
    fit(student, data, WITH_SWAPPED if kind == SWAPPED else behind_rounding(epochs), teacher=teacher)
    folder.mkdir(exist_ok=True)
    torch.save(student.module.state_dict(), file)
    return student


def behind_rounding(epochs: int) -> TrainingSpec:
    """How a network is trained that was trained before."""
    return TrainingSpec(
        epochs=epochs, batch=128, optimizer="sgd", lr=0.003, schedule="cosine",
        augmentation=Augmentation(flip=True, shift=2), distillation=Distillation(logits=0.5, once=True),
    )  # fmt: skip


WITH_SWAPPED = replace(
    behind_rounding(1), lr=0.05, steps_per_epoch=STEPS, distillation=Distillation(logits=0.5)
)  # fmt: skip


def _rows(name: str, data: Data, network: Network, files: Files, kept: Kept) -> Iterator[Row]:
    """Accuracy on the 10,000 test images, by the files; those kept are not made again."""
    baseline = to_onnx(network)
    answers, truth = answering(data)
    expected = answers(baseline)
    for file, made in {"float": lambda: baseline, **files}.items():
        titles = {"network": f"{name}, {NETWORKS[name].epochs} epochs", "file": file}
        if kept(titles):
            continue
        content = made()
        found, timed = answers(content), file not in OPTIONS
        yield {
            **titles,
            "test %": f"{100 * (found.argmax(1) == truth).mean():.2f}",
            "agrees with float %": f"{100 * (found.argmax(1) == expected.argmax(1)).mean():.2f}",
            "error, share of spread": f"{np.sqrt(((found - expected) ** 2).mean()) / expected.std():.3f}",
            "bytes": len(content),
            "speed over float": speed(compare(baseline, content, protocol=FULL)) if timed else UNTIMED,
            "batch of 64": speed(compare(baseline, content, batch=64)) if timed else UNTIMED,
        }


def answering(data: Data) -> tuple[Callable[[bytes], np.ndarray], np.ndarray]:
    """What a file answers to the test images, and what is right."""
    test = list(data.open_test().batches(500))

    def answers(content: bytes) -> np.ndarray:
        model = OnnxModel(content)
        return np.concatenate([model.run(data.normalised(images))[0] for images, _ in test])

    return answers, torch.cat([labels for _, labels in test]).numpy()
