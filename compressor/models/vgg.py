"""VGG16 for 128×128 images, its lighter students, and a narrow one for 32×32 images.

After Gabbasov et al., "Coordinated optimization of neural network parameters for a given set of images".

Five blocks of 3×3 convolutions with bias and BatchNorm, a 2×2 max-pool after each, then three dense layers, the hidden
two with bias and BatchNorm. The first convolution ("stem") has stride 2. Which two of the six 512-wide convolutions a
student lacks does not follow from its parameter count; here they are the last ones of blocks 4 and 5.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

from torch import nn

IMAGE = 128
SMALL_IMAGE = 32
_WIDTHS = (64, 128, 256, 512, 512)
_TEACHER = (2, 2, 3, 3, 3)
_STUDENT = (2, 2, 3, 2, 2)
_HIDDEN = 512

Stem = Literal["stride2", "stride1", "four-tap"]
"""3×3 with stride 2, 3×3 with stride 1, or 2×2 with stride 2: the four taps that a 3×3 mask 101000101 keeps."""


def vgg16(
    *,
    stem: Stem = "stride2",
    convolutions: tuple[int, ...] = _TEACHER,
    narrow: int = 1,
    classes: int = 10,
    image: int = IMAGE,
) -> nn.Module:
    """Input ``(N, 3, image, image)``. ``convolutions``: how many each block has; ``narrow`` divides every width."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for block, (width, count) in enumerate(zip(_WIDTHS, convolutions, strict=True), start=1):
        for index in range(1, count + 1):
            first = block == 1 and index == 1
            layers[f"conv{block}_{index}"] = _stem(stem, width // narrow) if first else _conv(channels, width // narrow)
            layers[f"bn{block}_{index}"] = nn.BatchNorm2d(width // narrow)
            layers[f"relu{block}_{index}"] = nn.ReLU()
            channels = width // narrow
        layers[f"pool{block}"] = nn.MaxPool2d(2)
    side = image // 2 ** len(_WIDTHS) // (1 if stem == "stride1" else 2)
    layers["flatten"] = nn.Flatten()
    layers.update(_dense(channels * side * side, _HIDDEN // narrow, classes))
    return nn.Sequential(layers)


def teacher() -> nn.Module:
    """16,042,058 parameters."""
    return vgg16()


def teacher_stride1() -> nn.Module:
    """19,187,786 parameters."""
    return vgg16(stem="stride1")


def student() -> nn.Module:
    """11,320,394 parameters."""
    return vgg16(convolutions=_STUDENT)


def student_four_tap() -> nn.Module:
    """11,319,434 parameters."""
    return vgg16(stem="four-tap", convolutions=_STUDENT)


def quarter() -> nn.Module:
    """The teacher at a quarter of every width: quick enough to experiment with on a CPU."""
    return vgg16(narrow=4)


def quarter_32() -> nn.Module:
    """A quarter of every width with a stem of stride 1, for 32×32 images; the dense layers read one pixel."""
    return vgg16(stem="stride1", narrow=4, image=SMALL_IMAGE)


def _stem(stem: Stem, width: int) -> nn.Conv2d:
    if stem == "four-tap":
        return nn.Conv2d(3, width, 2, stride=2)
    return nn.Conv2d(3, width, 3, stride=1 if stem == "stride1" else 2, padding=1)


def _conv(channels: int, width: int) -> nn.Conv2d:
    return nn.Conv2d(channels, width, 3, padding=1)


def _dense(features: int, hidden: int, classes: int) -> OrderedDict[str, nn.Module]:
    return OrderedDict(
        fc1=nn.Linear(features, hidden),
        bn_fc1=nn.BatchNorm1d(hidden),
        relu_fc1=nn.ReLU(),
        fc2=nn.Linear(hidden, hidden),
        bn_fc2=nn.BatchNorm1d(hidden),
        relu_fc2=nn.ReLU(),
        fc3=nn.Linear(hidden, classes),
    )
