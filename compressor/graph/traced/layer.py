"""The layer that an operation becomes: a module without its tensors, and where each of them is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from compressor.graph.traced.call import Call


@dataclass(frozen=True)
class Layer:
    """A module, and the path of each of its tensors by the attribute that holds it."""

    module: nn.Module
    tensors: Mapping[str, str] = field(default_factory=dict)


def with_tensors(call: Call, build: Callable[[], nn.Module], *names: str) -> Layer:
    """What ``build`` makes, on the meta device; ``names`` are attributes of it and arguments of the operator alike."""
    paths = {name: call.program.path_of(call.get(name)) for name in names}
    with torch.device("meta"):
        return Layer(build(), {name: path for name, path in paths.items() if path is not None})


def trained(call: Call, *names: str) -> bool:
    """Whether each of these arguments is a parameter, or is left out; at least one is a parameter."""
    given = [call.get(name) for name in names if call.get(name) is not None]
    return bool(given) and all(call.program.path_of(value) in call.program.parameters for value in given)


def weight_sizes(call: Call) -> tuple[int, ...]:
    return tuple(call.program.tensors[call.program.path_of(call.get("weight")) or ""].shape)
