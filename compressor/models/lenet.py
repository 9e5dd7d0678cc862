"""LeNet with same padding for 28×28 images: 107,786 parameters, 693,000 multiply-accumulates."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def lenet(classes: int = 10, width: float = 1.0) -> nn.Module:
    """Input ``(N, 1, 28, 28)``. ``width`` multiplies the channels and features of every hidden layer."""
    conv1, conv2, fc1, fc2 = (round(width * channels) for channels in (6, 16, 120, 84))
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, conv1, 5, padding=2),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(conv1, conv2, 5, padding=2),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            fc1=nn.Linear(conv2 * 7 * 7, fc1),
            relu3=nn.ReLU(),
            fc2=nn.Linear(fc1, fc2),
            relu4=nn.ReLU(),
            fc3=nn.Linear(fc2, classes),
        )
    )
