"""Small networks to try a plugin on: a chain, a residual network, branches with a depthwise layer, two heads.

Weights are seeded, and BatchNorm statistics measured, so that outputs depend strongly on inputs: on a network whose
output hardly moves, two different functions look alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from compressor.evidence import Evidence
from compressor.graph.capture import capture
from compressor.graph.given import InputsGiven, given_inputs
from compressor.graph.leaf import Shape
from compressor.graph.network import Network
from compressor.task.regression import Regression
from compressor.testing.case import one_thread

SHAPE = (3, 16, 16)
CLASSES = 10


def _unit(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class Chain(nn.Module):
    """Convolutions with bias, pooling, dropout, three linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
            nn.Conv2d(12, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(256, 48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 32), nn.ReLU(),
            nn.Linear(32, CLASSES),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.classifier(self.features(x))
        return scores


class Residual(nn.Module):
    """A stem and two residual blocks, the second of which halves the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(3, 12)
        self.branch1 = nn.Sequential(_unit(12, 12), nn.Conv2d(12, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12))
        self.branch2 = nn.Sequential(
            _unit(12, 20, 3, 2), nn.Conv2d(20, 20, 3, padding=1, bias=False), nn.BatchNorm2d(20)
        )
        self.shortcut = nn.Sequential(nn.Conv2d(12, 20, 1, 2, bias=False), nn.BatchNorm2d(20))
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc = nn.Linear(20, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.relu1(x + self.branch1(x))
        x = self.relu2(self.shortcut(x) + self.branch2(x))
        scores: Tensor = self.fc(self.flatten(self.pool(x)))
        return scores


class Branches(nn.Module):
    """Parallel branches joined along the channels, one of them depthwise; no linear layer but the last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _unit(3, 12, 3, 2)
        self.one = _unit(12, 8, 1)
        self.three = nn.Sequential(_unit(12, 24, 1), _unit(24, 24, 3, groups=24), _unit(24, 8, 1))
        self.mix = _unit(16, 24)
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.fc = nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.mix(torch.cat([self.one(x), self.three(x)], 1))
        scores: Tensor = self.fc(self.flatten(self.pool(x)))
        return scores


class TwoHeads(nn.Module):
    """An image and a row of numbers in, a map and a row of scores out, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body = _unit(3, 12, 3, 2), _unit(12, 16)
        self.numbers = nn.Linear(4, 16)
        self.mask = nn.Conv2d(16, 2, 1)
        self.pool, self.flatten = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        self.hidden, self.relu, self.scores = nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, CLASSES)

    def forward(self, image: Tensor, numbers: Tensor) -> dict[str, Tensor]:
        x = self.body(self.stem(image))
        row = torch.cat([self.flatten(self.pool(x)), self.numbers(numbers)], 1)
        return {"mask": self.mask(x), "scores": self.scores(self.relu(self.hidden(row)))}


KINDS: dict[str, Callable[[], nn.Module]] = {
    "chain": Chain, "residual": Residual, "branches": Branches, "two-heads": TwoHeads,
}  # fmt: skip
INPUTS: dict[str, InputsGiven] = {"two-heads": {"image": SHAPE, "numbers": (4,)}}
"""What networks take that take more than an image."""


def small_networks() -> dict[str, Network]:
    """The kit's networks by name, in eval mode, for the caller to change. The global random state is left as it was."""
    return {name: network.fork() for name, network in _captured().items()}


@functools.cache
def _captured() -> dict[str, Network]:
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(0)
        return {name: _made(name, build) for name, build in KINDS.items()}


def _made(name: str, build: Callable[[], nn.Module]) -> Network:
    given = given_inputs(INPUTS.get(name, SHAPE))
    return capture(_sensitive(build(), [one.shape for one in given]), given, name)


def random_evidence(network: Network, batches: int = 2, size: int = 32) -> Evidence:
    """Seeded noise with random targets: labels for one row of scores, values to come near for all else."""
    signature = network.signature
    inputs = [signature.random(size, seed) for seed in range(batches)]
    generator = torch.Generator().manual_seed(0)
    if len(signature.outputs) == 1 and len(signature.output.shape) == 1:
        classes = signature.output.shape[0]
        return Evidence([(x, torch.randint(0, classes, (size,), generator=generator)) for x in inputs])
    targets = [signature.nested([spec.random(size, generator) for spec in signature.outputs]) for _ in inputs]
    return Evidence(list(zip(inputs, targets, strict=True)), Regression())


def _sensitive(model: nn.Module, shapes: Sequence[Shape]) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.normal_(module.bias, 0, 0.1)
        elif isinstance(module, _BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.momentum = None
    model.train()
    with torch.no_grad():
        for _ in range(3):
            model(*(torch.randn(32, *shape) for shape in shapes))
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.momentum = 0.1
    return model.eval()
