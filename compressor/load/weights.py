"""Files of weights: read without running what they hold, and put into a module."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor, nn

from compressor.errors import ModelFileError
from compressor.load.file_kinds import Kind, kind_of

_NESTED: Final = ("state_dict", "model_state_dict", "model", "net", "weights")
"""Where checkpoints keep the weights."""
_GLOBAL: Final = re.compile(r"GLOBAL ([\w.]+)")
"""How torch names, in its refusal, the class that a file of the old format needs."""


class PickledObjectsError(ModelFileError):
    """A file of ``torch.save`` that holds objects, not only data: loading it would run code."""

    def __init__(self, path: Path, needs: list[str]) -> None:
        super().__init__(f"{path}: pickled objects ({listed(needs)}); loading them would run code from the file")
        self.needs = needs


def read_saved(path: Path) -> Any:
    """What a ``torch.save`` file holds, if it is plain data. Raises ``PickledObjectsError`` or ``ModelFileError``."""
    if needs := unsafe_globals(path):
        raise PickledObjectsError(path, needs)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if needs := _GLOBAL.findall(str(error)):
            raise PickledObjectsError(path, needs) from None
        raise ModelFileError(f"{path}: damaged or truncated; save or copy it again") from None
    except (ArithmeticError, AttributeError, EOFError, LookupError, MemoryError, OSError) as error:
        raise ModelFileError(f"{path}: damaged or truncated ({_first_line(error)}); save or copy it again") from None
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ModelFileError(f"{path}: damaged or truncated ({_first_line(error)}); save or copy it again") from None


def unsafe_globals(path: Path) -> list[str]:
    """The classes and functions that a ``torch.save`` archive would import; found without importing them.

    The user's own come first. Empty for files of the format before archives, which torch cannot look into.
    """
    try:
        found: list[str] = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        return sorted(found, key=lambda name: (name.startswith(("torch.", "collections.")), name))
    except (ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError):
        return []  # damaged, or of the old format: reading it says so
    except pickle.UnpicklingError:
        return []


def state_dict_in(content: Any) -> dict[str, Tensor] | None:
    """The weights in what was saved: itself, or the usual place in a checkpoint; None where there are none."""
    if not isinstance(content, Mapping):
        return None
    if content and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()):
        return dict(content)
    for name in _NESTED:
        if name in content and (found := state_dict_in(content[name])) is not None:
            return found
    return None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a state_dict, a checkpoint or a safetensors file. Raises ``ModelFileError``."""
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such file of weights")
    kind = kind_of(path)
    if kind is Kind.SAFETENSORS:
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # the library's own error type derives from nothing nearer
            raise ModelFileError(f"{path}: damaged or truncated ({_first_line(error)})") from None
    if kind is not Kind.TORCH_SAVE:
        raise ModelFileError(f"{path}: {kind.value}, not a file of weights; save model.state_dict() with torch.save")
    weights = state_dict_in(read_saved(path))
    if weights is None:
        raise ModelFileError(f"{path}: no state_dict in it; save model.state_dict() with torch.save")
    return weights


def put_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load ``weights`` into ``module``; names and sizes must fit. Raises ``ModelFileError`` with the first misfits."""
    wanted = module.state_dict()
    if all(name.startswith("module.") for name in weights) and not any(name.startswith("module.") for name in wanted):
        weights = {name.removeprefix("module."): tensor for name, tensor in weights.items()}  # saved in parallel
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    missing = wanted.keys() - weights.keys() - counters
    unexpected = weights.keys() - wanted.keys()
    sizes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in weights and weights[name].shape != wanted[name].shape
    ]
    complaints = [("lacks", sorted(missing)), ("has besides", sorted(unexpected)), ("has other sizes:", sizes)]
    text = "; ".join(f"{verb} {listed(names)}" for verb, names in complaints if names)
    if text:
        raise ModelFileError(f"{path}: these weights are of another network: it {text}")
    module.load_state_dict(dict(weights), strict=False)


def listed(names: Iterable[str], count: int = 3) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0][:200]
