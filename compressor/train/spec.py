"""How a network is trained, as plain data: the ``[training]`` table of a recipe."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Distillation:
    """Learning from the baseline as teacher, beside the targets.

    ``logits``: weight of what the task says that answers lose against the teacher's, for classification the softened
    Kullback-Leibler term (Hinton et al., arXiv:1503.02531); ``features``: weight of
    ½·mean((student − teacher)²) over leaves that both networks have under the same path and with the same shape, each
    divided by the teacher's mean square.
    """

    logits: float = 0.0
    temperature: float = 4.0
    features: float = 0.0
    once: bool = False
    """Ask the teacher once about every training image as it is, not anew about every changed copy of it: then a large
    teacher costs next to nothing. Only where ``features`` is 0."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of whole training batches, on the device."""

    flip: bool = False
    """Mirror left-right with probability ½."""
    shift: int = 0
    """Shift by up to this many pixels in each direction, zeros filled in."""
    rotate: float = 0.0
    """Rotate by up to this many degrees."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise, on the 0…1 scale of the image."""
    cutout: int = 0
    """Side of one square set to zero, pixels."""
    crop: float = 0.0
    """Cut out a part of at least this share of the area (¾ to 4/3 as wide as high) and enlarge it to the whole; 0: not.
    """


@dataclass(frozen=True)
class TrainingSpec:
    """Everything a training run depends on besides network, data and seed."""

    epochs: int = 3
    batch: int = 64
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    """For sgd (Nesterov)."""
    schedule: Literal["constant", "cosine", "one-cycle", "step", "plateau"] = "constant"
    warmup: float = 0.0
    """Share of all steps with linearly rising learning rate (cosine only)."""
    loss: Literal["task", "cross-entropy", "focal"] = "task"
    """``task``: the task's own, which for classification is cross entropy. ``focal`` is for classification alone."""
    focal_gamma: float = 0.5
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    """Largest gradient norm; 0 means no clipping."""
    patience: int = 0
    """Stop after this many epochs without a better validation quality and restore the best; 0 means never."""
    restore_best: bool = True
    """End with the weights of the epoch with the best validation quality, or with those from before the training where
    no epoch is better: a training never makes a network worse on the validation split."""
    steps_per_epoch: int = 0
    """Optimizer steps that make one epoch; 0 means one pass over the data."""
    precision: Precision = "float32"
    """Of products and convolutions, forward and backward. Weights, loss, optimizer and evaluation stay in float32.
    Where the hardware would only emulate bfloat16 it is trained in float32, and the history says so."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    transform: str = ""
    """``package.module:function`` of the user's own that changes a batch after that: ``(inputs, target)`` in and out,
    images on the 0…1 scale; or an object that is called so, such as a transform of torchvision's or kornia's."""
    distillation: Distillation = field(default_factory=Distillation)
    function: str = ""
    """``package.module:function`` of the user's own, called instead of the built-in loop."""
