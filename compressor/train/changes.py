"""What is changed at random in a training batch: by the toolkit's own augmentation, and by a callable of the user's.

A change that would leave the target behind is refused: an image that is mirrored while its boxes stay teaches nonsense.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from compressor.data.dataset import Data
from compressor.data.split import BatchInputs, Target
from compressor.errors import InputError
from compressor.graph import nested
from compressor.graph.nested import value_in_words
from compressor.imported import call_function, import_function
from compressor.train.augment import augmented
from compressor.train.spec import Augmentation

Transform = Callable[[BatchInputs, Target], tuple[BatchInputs, Target]]
_MOVING = ("flip", "crop", "shift", "rotate")
_UNCOVERING = ("shift", "rotate")
_USE = "training.transform"


def refuse_misleading(data: Data, spec: Augmentation) -> None:
    """Raises ``InputError`` where ``spec`` asks for what cannot be done to these inputs, or would mislead."""
    inputs, target = next(data.train.first(1).batches(1))
    images = [part for part in nested.tensors(inputs) if part.ndim == 4]
    asked = [name for name in (*_MOVING, "cutout") if getattr(spec, name)]
    key = f"training.augmentation.{asked[0] if asked else 'noise'}"
    if asked and next(nested.tensors(inputs)).ndim != 4:
        raise InputError(
            f"{key}: it is for images, and these inputs are {value_in_words(next(nested.tensors(inputs)))}"
        )
    if asked and len(images) > 1:
        raise InputError(f"{key}: it would change one of several images alone; use training.transform")
    moving = [name for name in _MOVING if getattr(spec, name)]
    if not moving or _stays(target):
        return
    if not _is_map(target, inputs):
        raise InputError(
            f"training.augmentation.{moving[0]}: it would move the image, and its target ({value_in_words(target)}) "
            "would stay behind; use training.transform, which is given both"
        )
    for name in _UNCOVERING:
        if getattr(spec, name):
            raise InputError(
                f"training.augmentation.{name}: it uncovers places of which the target ({value_in_words(target)}) says "
                "nothing; use training.transform, which is given both"
            )


def changed_batch(
    inputs: BatchInputs, target: Target, spec: Augmentation, generator: Generator
) -> tuple[BatchInputs, Target]:
    """The first input changed as ``spec`` says, and a map of it along with it."""
    images = next(nested.tensors(inputs))
    if images.ndim != 4:  # noise is all that was asked for
        noisy: Any = images + spec.noise * torch.randn(images.shape, generator=generator, device=images.device)
    elif _is_map(target, inputs):
        noisy, target = augmented(images, target, spec, generator)
    else:
        noisy = augmented(images, None, spec, generator)[0]
    return (noisy, *inputs[1:]) if isinstance(inputs, tuple) else noisy, target


def transform_of(reference: str) -> Transform:
    """The user's callable ``package.module:function`` as ``(inputs, target) -> (inputs, target)``.

    One that takes the inputs alone, as a transform of kornia's does, leaves the target as it is. Raises ``InputError``
    where it cannot be imported, fails, or gives something else.
    """
    function = import_function(reference, _USE)
    alone = _takes_inputs_alone(function)

    def transform(inputs: BatchInputs, target: Target) -> tuple[BatchInputs, Target]:
        given = (inputs,) if alone else (inputs, target)
        found = call_function(function, reference, _USE, *given)
        pair = (found, target) if alone else found
        if not (isinstance(pair, tuple | list) and len(pair) == 2):
            raise InputError(f"{_USE}: {reference} returned {value_in_words(found)}; it must return (inputs, target)")
        before, after = ([tuple(part.shape) for part in nested.tensors(part)] for part in (inputs, pair[0]))
        if before != after:
            raise InputError(f"{_USE}: {reference} made inputs of {after} from {before}; their shape must stay")
        return pair[0], pair[1]

    return transform


def _takes_inputs_alone(function: Callable[..., Any]) -> bool:
    keys = getattr(function, "data_keys", None)  # kornia's containers say what they are given
    if keys:
        return len(keys) == 1
    inner = function.forward if isinstance(function, nn.Module) else function
    try:
        parameters = inspect.signature(inner).parameters.values()
    except (TypeError, ValueError):
        return False
    if any(parameter.kind == parameter.VAR_POSITIONAL for parameter in parameters):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.default is p.empty and p.kind in kinds for p in parameters) == 1


def _stays(target: Target) -> bool:
    """Whether a target is right wherever the image is moved to: none, a class, some numbers."""
    return target is None or (isinstance(target, Tensor) and target.ndim <= 2)


def _is_map(target: Target, inputs: BatchInputs) -> bool:
    """Whether a target says something of every pixel of the first input."""
    images = next(nested.tensors(inputs))
    return isinstance(target, Tensor) and target.ndim > 2 and target.shape[-2:] == images.shape[-2:]
