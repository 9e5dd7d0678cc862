"""LeNet with same padding for 28×28 images: 107,786 parameters, 693,000 multiply-accumulates."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def lenet(classes: int = 10) -> nn.Module:
    """Input ``(N, 1, 28, 28)``."""
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 6, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 16, 5, padding=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(16 * 7 * 7, 120),
            relu3=nn.ReLU(),
            fc2=nn.Linear(120, 84),
            relu4=nn.ReLU(),
            fc3=nn.Linear(84, classes),
        )
    )
