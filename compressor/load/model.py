"""From what the user calls a model to a network: a file of some kind, a function, or the name of a known network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from torch import nn

from compressor.errors import CaptureError, InputError, ModelFileError, did_you_mean
from compressor.graph.capture import capture
from compressor.graph.computed import fold_weights
from compressor.graph.given import InputsGiven
from compressor.graph.network import Network
from compressor.graph.onnx_reader import read_onnx
from compressor.graph.owned import unwrapped
from compressor.graph.pt2 import read_pt2
from compressor.imported import call_function, import_function
from compressor.load.file_kinds import FileKind, file_kind
from compressor.load.isolated import LOAD_SECONDS, load_apart
from compressor.load.numbers import check_numbers
from compressor.load.trusted import ShapeSource, read_pickled, read_torchscript
from compressor.load.weights import (
    PickledObjectsError,
    listed_names,
    put_weights,
    read_saved,
    read_weights,
    state_dict_in,
)
from compressor.models import find, zoo

_FACTORY: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_SAVE_INSTEAD: Final = "save it with torch.export.save, or name package.module:function and its --weights"


def load_model(
    model: str,
    *,
    weights: Path | None = None,
    trust: bool = False,
    input_shape: InputsGiven = None,
    otherwise: Callable[[], InputsGiven] | None = None,
    seconds: float = LOAD_SECONDS,
) -> Network:
    """The network that ``model`` names, in eval mode.

    ``model`` is a file (torch.export archive or ONNX, whatever its suffix), ``package.module:function`` that returns a
    module, or a name of the zoo. ``weights`` go with the latter two. ``trust`` admits files that run code when they are
    loaded. ``input_shape`` is the shape of one sample where the file does not say it, or those of several inputs (see
    ``compressor.graph.given.given_inputs``); ``otherwise`` is asked for it where the model does not say it either.
    Weights that the model computes from others at each call are folded, as the network's notes say. What runs code that
    is not the toolkit's own does so in a process of its own, which may take ``seconds``. Raises ``InputError`` with one
    line.
    """
    shape = ShapeSource(input_shape, otherwise)
    if _is_own(model):
        return _load(model, weights, trust, shape)
    return load_apart(model, lambda source: _load(model, weights, trust, source), shape, seconds)


def _is_own(model: str) -> bool:
    """Whether loading it only runs code of the toolkit and of torch."""
    path = Path(model)
    if path.is_file():
        return file_kind(path) is FileKind.EXPORT
    return path.exists() or not _FACTORY.fullmatch(model)


def _load(model: str, weights: Path | None, trust: bool, shape: ShapeSource) -> Network:
    return check_numbers(fold_weights(_found(model, weights, trust, shape)), model)


def _found(model: str, weights: Path | None, trust: bool, shape: ShapeSource) -> Network:
    path = Path(model)
    names = [entry.name for entry in zoo()]
    if path.is_file() or (path.exists() and model not in names):
        if weights is not None:
            _refuse_weights(path)
        return _read_file(path, trust, shape)
    if _FACTORY.fullmatch(model):
        return _from_function(model, weights, shape)
    if model in names:
        entry = find(model)
        return _from_module(entry.build(), model, weights, entry.input_shape)
    if path.suffix or len(path.parts) > 1:
        raise ModelFileError(f"{model}: there is no such file")
    raise InputError(
        f"{model!r} is no file, no package.module:function and no known network{did_you_mean(model, names)}"
    )


# --- files -------------------------------------------------------------------------------------------------------


def _refuse_weights(path: Path) -> None:
    raise ModelFileError(f"{path}: a model file has weights of its own; leave out --weights")


def _read_file(path: Path, trust: bool, shape: ShapeSource) -> Network:
    kind = file_kind(path)
    match kind:
        case FileKind.EXPORT:
            return read_pt2(path)
        case FileKind.ONNX:
            return read_onnx(path, shape.given, shape.otherwise)
        case FileKind.TORCHSCRIPT if trust:
            return read_torchscript(path, shape)
        case FileKind.PICKLE if trust:
            return read_pickled(path, shape)
        case FileKind.TORCH_SAVE:
            return _read_saved(path, trust, shape)
    raise ModelFileError(f"{path}: {_refusal(kind)}")


def _refusal(kind: FileKind) -> str:
    match kind:
        case FileKind.TORCHSCRIPT:
            return f"{kind.value}; loading it can run code from the file: {_SAVE_INSTEAD}, or give --trust"
        case FileKind.PICKLE:
            return f"{kind.value}; loading it runs code from the file: {_SAVE_INSTEAD}, or give --trust"
        case FileKind.SAFETENSORS:
            return f"{kind.value}: weights without their network; name package.module:function, and it as --weights"
        case FileKind.OLD_EXPORT:
            return f"{kind.value}, which holds pickled parts; export and save it again with torch 2.9 or later"
    return f"{kind.value}; a model is a torch.export archive, an ONNX file, package.module:function or a known name"


def _read_saved(path: Path, trust: bool, shape: ShapeSource) -> Network:
    """A file of ``torch.save``: a module for those who trust it, and otherwise a message that says what it is."""
    try:
        content = read_saved(path)
    except PickledObjectsError as error:
        if trust:
            return read_pickled(path, shape)
        raise ModelFileError(
            f"{path}: a pickled module (it needs {listed_names(error.needs)}); loading it runs code from the file: "
            f"{_SAVE_INSTEAD}, or give --trust"
        ) from None
    found = state_dict_in(content)
    if found is None:
        raise ModelFileError(f"{path}: a torch.save file with a {type(content).__name__}, no network: {_SAVE_INSTEAD}")
    what = "a state_dict" if found.keys() == getattr(content, "keys", dict)() else "a checkpoint with a state_dict"
    raise ModelFileError(
        f"{path}: {what} ({len(found)} tensors: {next(iter(found))}, …), weights without their network; "
        "name package.module:function and give this file as --weights"
    )


# --- modules -----------------------------------------------------------------------------------------------------


def _from_function(reference: str, weights: Path | None, shape: ShapeSource) -> Network:
    function: Callable[..., Any] = import_function(reference, "model")
    module = function if isinstance(function, nn.Module) else call_function(function, reference, "model")
    if not isinstance(module, nn.Module):
        raise InputError(f"{reference} returned a {type(module).__name__}; it must return a torch.nn.Module")
    return _from_module(module, reference, weights, shape.of(module, reference, function))


def _from_module(module: nn.Module, source: str, weights: Path | None, input_shape: InputsGiven) -> Network:
    module = unwrapped(module)
    if weights is not None:
        put_weights(module, read_weights(weights), weights)
    try:
        return capture(module, input_shape, source)
    except CaptureError as error:
        raise CaptureError(f"{source}: {error}") from error
