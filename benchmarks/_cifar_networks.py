"""Networks for CIFAR-10 and their training, which goes on where it was interrupted.

Two families beside ResNet: MobileNetV2 (depthwise, ReLU6) and EfficientNet (SiLU, squeeze and excitation), small.

    python benchmarks/_cifar_networks.py FOLDER [NAME …]
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from compressor.data.dataset import Data
from compressor.data.load import load_data
from compressor.data.spec import DataSpec
from compressor.models import find
from compressor.train.batches import Batches
from compressor.train.schedule import rate_factor
from compressor.train.spec import Augmentation, TrainingSpec

STAGES = ((4, 24, 2, 1), (4, 40, 2, 2), (4, 64, 2, 2))
"""(expansion, width, blocks, stride of the first block)."""


class Gate(nn.Module):
    """Squeeze and excitation (Hu et al., arXiv:1709.01507)."""

    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.pool, self.down = nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, squeezed, 1)
        self.act, self.up, self.gate = nn.SiLU(), nn.Conv2d(squeezed, width, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * self.gate(self.up(self.act(self.down(self.pool(x)))))
        return gated


class Inverted(nn.Module):
    """1×1 to ``expansion`` times the width, depthwise 3×3, 1×1 back (Sandler et al., arXiv:1801.04381)."""

    def __init__(self, inputs: int, width: int, expansion: int, stride: int, act: type[nn.Module], gates: bool) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = _unit(inputs, inner, 1, act=act)
        self.depthwise = _unit(inner, inner, 3, stride, inner, act)
        self.gate = Gate(inner, inputs // 4) if gates else nn.Identity()
        self.project = _unit(inner, width, 1)
        self.adds = stride == 1 and inputs == width

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.gate(self.depthwise(self.expand(x))))
        return x + y if self.adds else y


def inverted(act: type[nn.Module], gates: bool, classes: int = 10) -> nn.Module:
    """Input ``(N, 3, 32, 32)``."""
    layers, inputs = [_unit(3, 16, 3, 2, act=act)], 16
    for expansion, width, blocks, stride in STAGES:
        for index in range(blocks):
            layers.append(Inverted(inputs, width, expansion, 1 if index else stride, act, gates))
            inputs = width
    layers += [_unit(inputs, 192, 1, act=act), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(192, classes)]
    return nn.Sequential(*layers)


def _unit(
    inputs: int, width: int, kernel: int, stride: int = 1, groups: int = 1, act: type[nn.Module] | None = None
) -> nn.Module:
    conv = nn.Conv2d(inputs, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(width), *([] if act is None else [act()]))


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained: SGD with Nesterov momentum, one cycle, mirrored and shifted."""

    build: Callable[[], nn.Module]
    epochs: int
    lr: float
    shift: int = 2

    @property
    def spec(self) -> TrainingSpec:
        """As a recipe of the toolkit would say it."""
        return TrainingSpec(
            epochs=self.epochs, batch=128, optimizer="sgd", lr=self.lr, schedule="one-cycle", weight_decay=2e-4,
            augmentation=Augmentation(flip=True, shift=self.shift),
        )  # fmt: skip


NETWORKS = {
    "ResNet-8": Recipe(find("resnet8").build, 24, 0.2),
    "ResNet-20": Recipe(find("resnet20").build, 12, 0.2),
    "MobileNetV2-like": Recipe(lambda: inverted(nn.ReLU6, gates=False), 5, 0.1),
    "EfficientNet-like": Recipe(lambda: inverted(nn.SiLU, gates=True), 5, 0.1),
}


def cifar() -> Data:
    return load_data(DataSpec(name="cifar-10"))


def trained(name: str, folder: Path, data: Data) -> nn.Module:
    """The network with the weights kept in ``folder``; what is missing of its training is made up for, and kept."""
    recipe, file = NETWORKS[name], folder / f"{name}.pt"
    torch.manual_seed(0)
    model = recipe.build()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.lr, 0.9, weight_decay=recipe.spec.weight_decay, nesterov=True
    )
    done = 0
    if file.exists():
        kept = torch.load(file, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        done = kept["epochs"]
    for epoch in range(done, recipe.epochs):
        loss = _epoch(model, optimizer, data, recipe.spec, epoch)
        print(f"{name}: epoch {epoch + 1} of {recipe.epochs}, loss {loss:.3f}", flush=True)
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epochs": epoch + 1}
        torch.save(state, file.with_suffix(".new"))
        file.with_suffix(".new").replace(file)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # its stub forgets the form
    return model.eval()


def epochs_done(name: str, folder: Path) -> int:
    """How many of the recipe's epochs the kept weights have seen."""
    file = folder / f"{name}.pt"
    return int(torch.load(file, weights_only=True)["epochs"]) if file.exists() else 0


def _epoch(model: nn.Module, optimizer: torch.optim.Optimizer, data: Data, spec: TrainingSpec, epoch: int) -> float:
    model.train()
    batches = Batches(data, spec.batch, spec.augmentation, epoch, torch.device("cpu"))
    total, steps = 0.0, batches.per_pass
    for step, batch in zip(range(steps), batches, strict=False):
        for group in optimizer.param_groups:
            group["lr"] = spec.lr * rate_factor(spec, epoch * steps + step, spec.epochs * steps)
        loss = F.cross_entropy(model(batch.inputs.to(memory_format=torch.channels_last)), batch.target)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach())
    return total / steps


if __name__ == "__main__":
    torch.set_num_threads(1)
    for wanted in sys.argv[2:] or NETWORKS:
        trained(wanted, Path(sys.argv[1]), cifar())
