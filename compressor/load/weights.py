"""Files of weights: read without running what they hold, and put into a module."""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Mapping, Set
from pathlib import Path
from typing import Any, Final

import safetensors.torch
import torch
from torch import Tensor, nn

from compressor.errors import ModelFileError
from compressor.load.file_kinds import FileKind, file_kind
from compressor.load.parametrized import is_part, put_together

_NESTED: Final = (
    "state_dict", "model_state_dict", "model", "net", "network", "weights", "params", "module", "checkpoint",
    "state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema",
)  # fmt: skip
"""Where checkpoints keep the weights; averaged ones where there are no others."""
_WRAPPERS: Final = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""Parts of names that parallel, compiled and checkpointed modules add."""
_GLOBAL: Final = re.compile(r"GLOBAL ([\w.]+)")
"""How torch names, in its refusal, the class that a file of the old format needs."""


class PickledObjectsError(ModelFileError):
    """A file of ``torch.save`` that holds objects, not only data: loading it would run code."""

    def __init__(self, path: Path, needs: list[str]) -> None:
        super().__init__(f"{path}: pickled objects ({listed_names(needs)}); loading them would run code from the file")
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
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    return tensors if any("." in key for key in tensors) else None


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name from a state_dict, a checkpoint or a safetensors file. Raises ``ModelFileError``."""
    if not path.exists():
        raise ModelFileError(f"{path}: there is no such file of weights")
    kind = file_kind(path)
    if kind is FileKind.SAFETENSORS:
        try:
            return safetensors.torch.load_file(path)
        except Exception as error:  # the library's own error type derives from nothing nearer
            raise ModelFileError(f"{path}: damaged or truncated ({_first_line(error)})") from None
    if kind is not FileKind.TORCH_SAVE:
        raise ModelFileError(f"{path}: {kind.value}, not a file of weights; save model.state_dict() with torch.save")
    weights = state_dict_in(read_saved(path))
    if weights is None:
        raise ModelFileError(f"{path}: no state_dict in it; save model.state_dict() with torch.save")
    return weights


def put_weights(module: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load ``weights`` into ``module``; names and sizes must fit. Raises ``ModelFileError`` with the first misfits."""
    wanted = module.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    weights = _named_as(wanted.keys() - counters, put_together(weights, wanted.keys()), path)
    missing = wanted.keys() - weights.keys() - counters
    unexpected = weights.keys() - wanted.keys()
    sizes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(wanted[name].shape)}"
        for name in wanted
        if name in weights and weights[name].shape != wanted[name].shape
    ]
    types = [
        f"{name} {_type(weights[name])} instead of {_type(wanted[name])}"
        for name in wanted
        if name in weights and name not in counters and _kind(weights[name]) != _kind(wanted[name])
    ]
    complaints = [
        ("lacks", sorted(missing)),
        ("has besides", sorted(unexpected)),
        ("has other sizes:", sizes),
        ("has other types:", types),
    ]
    text = "; ".join(f"{verb} {listed_names(names)}" for verb, names in complaints if names)
    if any(map(is_part, unexpected)):
        text += "; parts of a parametrized weight are in it: save it after remove_parametrizations"
    if text:
        raise ModelFileError(f"{path}: these weights are of another network: it {text}")
    module.load_state_dict({name: tensor.to_dense() for name, tensor in weights.items()}, strict=False)


def _kind(tensor: Tensor) -> tuple[bool, bool]:
    """Whole numbers, real ones and complex ones are no stand-ins for each other."""
    return tensor.is_floating_point(), tensor.is_complex()


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _named_as(wanted: Set[str], weights: Mapping[str, Tensor], path: Path) -> Mapping[str, Tensor]:
    """``weights`` under the names of the module: without what wrappers and trainers put in front of them.

    What does not lie behind such a prefix (a loss, a counter of averages) is no part of the module and is left out.
    Raises ``ModelFileError`` where two sets of weights in one file would fit.
    """
    if wanted <= weights.keys():
        return weights
    plain = {_unwrapped(name): name for name in wanted}
    given = {_unwrapped(name): tensor for name, tensor in weights.items()}
    if len(plain) < len(wanted) or len(given) < len(weights):
        return weights
    names = {*plain}
    first = min(names, key=len, default="")
    prefixes = [name.removesuffix(first) for name in given if name == first or name.endswith(f".{first}")]
    fitting = [prefix for prefix in prefixes if all(prefix + name in given for name in names)]
    if len(fitting) > 1:
        found = " and ".join(repr(prefix) for prefix in fitting)
        raise ModelFileError(f"{path}: two sets of weights fit, those under {found}; save the one that is meant")
    if not fitting:
        return weights
    (prefix,) = fitting
    inside = {name.removeprefix(prefix): tensor for name, tensor in given.items() if name.startswith(prefix)}
    return {plain.get(name, name): tensor for name, tensor in inside.items() if prefix or name in plain or "." in name}


def _unwrapped(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def listed_names(names: Iterable[str], count: int = 3) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).partition("\n")[0][:200]
