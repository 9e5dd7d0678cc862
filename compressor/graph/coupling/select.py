"""A leaf with other channels: copies of a layer whose inputs or outputs are picked by index, possibly repeated.

    outputs:  W'[i] = W[index[i]]        inputs:  W'[:, j] = W[:, index[j]] · share[j]

With every index once this drops channels; with repeats and ``share`` = 1 / repeats it duplicates them without changing
what a sum over the inputs gives.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn

from compressor.errors import Refusal
from compressor.graph.layers.table import kind_of
from compressor.graph.leaf import Leaf


def with_outputs(module: nn.Module, index: Tensor) -> nn.Module:
    """A copy with output channels ``index``; for channelwise layers the inputs follow. Raises ``Refusal``."""
    new, kind = copy.deepcopy(module), kind_of(module)
    if isinstance(new, Leaf):
        _refuse_other_order(index)
        _ask(new.keep_outputs, index)
    elif kind is not None and kind.keep_outputs is not None:
        kind.keep_outputs(new, index)
    else:
        raise Refusal(f"{type(module).__name__} cannot lose outputs")
    return new


def with_inputs(module: nn.Module, index: Tensor, share: Tensor) -> nn.Module:
    """A copy with input channels ``index``, the weights of input ``j`` times ``share[j]``. Raises ``Refusal``."""
    new, kind = copy.deepcopy(module), kind_of(module)
    if isinstance(new, Leaf):
        if not bool((share == 1).all()):
            raise Refusal(f"{type(module).__name__} cannot have its inputs duplicated")
        _refuse_other_order(index)
        _ask(new.keep_inputs, index)
    elif kind is not None and kind.keep_inputs is not None:
        kind.keep_inputs(new, index, share.to(next(iter(new.parameters()), share).dtype))
    else:
        raise Refusal(f"{type(module).__name__} cannot lose inputs")
    return new


def _refuse_other_order(index: Tensor) -> None:
    if not bool((index.diff() >= 0).all()):
        raise Refusal("ties channels to their places")


def _ask(keep: object, index: Tensor) -> None:
    try:
        keep(index)  # type: ignore[operator]
    except (NotImplementedError, ValueError) as error:
        raise Refusal(str(error)) from error
