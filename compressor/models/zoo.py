"""The networks by name."""

from __future__ import annotations

from functools import partial

from torch import nn

from compressor.errors import InputError, did_you_mean
from compressor.models.compact import narrow, wide
from compressor.models.conv3d_meta import VERSIONS, t1, t2, t3
from compressor.models.entry import ModelEntry
from compressor.models.lenet import lenet
from compressor.models.resnet import resnet8, resnet20, resnet20_c100
from compressor.models.small_cnn import a1, a2, a3, digits_cnn, mnist_cnn
from compressor.models.vgg import (
    IMAGE,
    quarter,
    quarter_32,
    student,
    student_four_tap,
    teacher,
    teacher_stride1,
)

_GREY = (1, 28, 28)
_CIFAR = (3, 32, 32)
_LARGE = (3, IMAGE, IMAGE)

_VERSIONS = {
    "conv2d": "plain",
    "conv3d": "Conv3d in place of convolutions",
    "meta": "grouped convolutions mixed by Meta layers",
    "meta-head": "a Meta layer in the dense head",
}
_FAMILIES = {
    "t1": (t1, "three convolutions"),
    "t2": (t2, "six convolutions"),
    "t3": (t3, "32 residual blocks"),
}

_ENTRIES = (
    ModelEntry("lenet", _GREY, lenet, "LeNet"),
    ModelEntry("compact-wide", _GREY, wide, "three convolutions and a dense layer, made to be narrowed to a quarter"),
    ModelEntry("compact", _GREY, narrow, "compact-wide at a quarter of the width"),
    ModelEntry("vgg16-s0", _LARGE, teacher, "VGG16 with BatchNorm, stem of stride 2"),
    ModelEntry("vgg16-s0-stride1", _LARGE, teacher_stride1, "vgg16-s0 with a stem of stride 1"),
    ModelEntry("vgg16-s0-student", _LARGE, student, "vgg16-s0 without two 512-wide convolutions"),
    ModelEntry("vgg16-s0-student-4tap", _LARGE, student_four_tap, "vgg16-s0-student with a stem of four taps"),
    ModelEntry("vgg16-s0-quarter", _LARGE, quarter, "vgg16-s0 at a quarter of the width"),
    ModelEntry("vgg16-quarter-32", _CIFAR, quarter_32, "vgg16-s0-stride1 at a quarter of the width, for 32×32 images"),
    *(
        ModelEntry(
            f"{family}-{version}", _CIFAR, partial(make, version), f"CIFAR network with {about}: {_VERSIONS[version]}"
        )
        for family, (make, about) in _FAMILIES.items()
        for version in VERSIONS
    ),
    ModelEntry("a1", _GREY, a1, "MNIST network, two convolutions and a dense layer", counts_statistics=True),
    ModelEntry("a2", _GREY, a2, "MNIST network, five convolutions", counts_statistics=True),
    ModelEntry("a3", _GREY, a3, "MNIST network, five narrow convolutions", counts_statistics=True),
    ModelEntry(
        "mnist-cnn", _GREY, mnist_cnn, "MNIST network to prune, five convolutions, most of them on small images"
    ),
    ModelEntry("resnet8", _CIFAR, resnet8, "ResNet-8 for CIFAR-10"),
    ModelEntry("resnet20", _CIFAR, resnet20, "ResNet-20 for CIFAR-10"),
    ModelEntry("resnet20-c100", _CIFAR, resnet20_c100, "ResNet-20 for CIFAR-100"),
    ModelEntry("digits-cnn", (1, 8, 8), digits_cnn, "two convolutions for the embedded 8×8 digits"),
)


def zoo() -> tuple[ModelEntry, ...]:
    """Every network, in a fixed order."""
    return _ENTRIES


def find(name: str) -> ModelEntry:
    """The entry called ``name``. Raises ``InputError`` with the nearest names."""
    for entry in _ENTRIES:
        if entry.name == name:
            return entry
    raise InputError(f"no network is called {name!r}{did_you_mean(name, (entry.name for entry in _ENTRIES))}")


def build(name: str) -> nn.Module:
    """A fresh network with random weights. Raises ``InputError`` with the nearest names."""
    return find(name).build()
