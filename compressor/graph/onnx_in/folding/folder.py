"""Folds the constant operators of a file, and counts what that makes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from compressor.errors import CaptureError
from compressor.graph.onnx_in.folding import elementwise, integers, making, places, sums
from compressor.graph.onnx_in.folding.arguments import MAX_FOLDED, Attributes, Fold, Operands, Rule

FOLDS: dict[str, Rule] = {
    **elementwise.FOLDS, **places.FOLDS, **sums.FOLDS, **making.FOLDS, **integers.FOLDS,
}  # fmt: skip
"""Operators with one result that are folded where all their inputs are constants."""
FOLDABLE = frozenset([*FOLDS, "Split"])
"""All operators that are."""


class Folder:
    """Folds the constant operators of one file, within the bounds that hold for all of them together."""

    def __init__(self) -> None:
        self.folded = 0

    def fold(self, operator: str, inputs: Operands, attributes: Attributes, count: int = 1) -> list[Tensor]:
        """The results. Raises ``CaptureError`` for inputs that do not fit, and for results beyond the bounds."""
        try:
            folds = _folds(operator, inputs, attributes, count)
            if len(folds) != count:
                raise CaptureError(f"it has {count} outputs")
            return [self._run(*fold) for fold in folds]
        except (RuntimeError, IndexError, TypeError, ValueError, KeyError, AttributeError) as error:
            reason = str(error).partition("\n")[0][:100]
            raise CaptureError(f"its constants do not fit together ({reason})") from None

    def _run(self, function: Callable[..., Tensor], arguments: tuple[Any, ...]) -> Tensor:
        shadow = function(*_without_memory(arguments))
        self.folded += shadow.numel() * shadow.element_size()
        if self.folded > MAX_FOLDED:
            raise CaptureError(f"the constants of the file would unfold to more than {MAX_FOLDED >> 30} GiB")
        return function(*arguments)


def _folds(operator: str, inputs: Operands, attributes: Attributes, count: int) -> list[Fold]:
    return places.split(inputs, attributes, count) if operator == "Split" else [FOLDS[operator](inputs, attributes)]


def _without_memory(arguments: tuple[Any, ...]) -> list[Any]:
    return [
        [item.to("meta") for item in value]
        if isinstance(value, list) and value and isinstance(value[0], Tensor)
        else value.to("meta")
        if isinstance(value, Tensor)
        else value
        for value in arguments
    ]
