"""A plain network for 28×28 images that is made to be narrowed: a quarter of every width is as fast as LeNet.

    1×28² → conv 4×4, stride 2 → 14² → conv 3×3 → pool → 7² → conv 3×3 → pool → 3² → dense

The kernels of a CPU work on 16 channels at a time, so every width is a multiple of 64, and of 16 when three of four
channels are gone. The stem strides rather than pools: at full size it would take half of the time of the narrow form.
No two layers share channels across a sum, so each width can be chosen by itself.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def compact(stem: int, middle: int, last: int, classes: int = 10) -> nn.Module:
    """Three convolutions of these widths, each with BatchNorm and ReLU. Input ``(N, 1, 28, 28)``."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, stem, 4, stride=2, padding=1, bias=False),
            bn1=nn.BatchNorm2d(stem),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(stem, middle, 3, padding=1, bias=False),
            bn2=nn.BatchNorm2d(middle),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            conv3=nn.Conv2d(middle, last, 3, padding=1, bias=False),
            bn3=nn.BatchNorm2d(last),
            relu3=nn.ReLU(),
            pool3=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc=nn.Linear(last * 3 * 3, classes),
        )
    )


def wide(classes: int = 10) -> nn.Module:
    """64, 128 and 256 channels: the teacher that ``recipes/fashion_tiny.toml`` narrows."""
    return compact(64, 128, 256, classes)


def narrow(classes: int = 10) -> nn.Module:
    """16, 32 and 64 channels: what is left of ``wide`` when three of four are gone."""
    return compact(16, 32, 64, classes)
