"""Files that run code when they are loaded: pickled modules and TorchScript. Only for those who trust the file."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from compressor.errors import InputError, ModelFileError
from compressor.graph.capture import capture
from compressor.graph.given import Given, InputsGiven, given_inputs
from compressor.graph.nesting import Nesting, nesting_of
from compressor.graph.network import Network
from compressor.graph.raising.exported import from_exported
from compressor.graph.raising.raise_program import raise_program
from compressor.graph.traced.program import Program
from compressor.graph.tracing import examples
from compressor.imported import beside_working_directory


@dataclass(frozen=True)
class ShapeSource:
    """Where the shape of one input sample may come from, the first that says it."""

    given: InputsGiven = None
    otherwise: Callable[[], InputsGiven] | None = None

    def of(self, module: object, source: object, factory: object = None) -> InputsGiven:
        """As given, or an attribute ``input_shape``, or what ``otherwise`` says. Raises ``ModelFileError``."""
        shape = self.given or getattr(factory, "input_shape", None) or getattr(module, "input_shape", None)
        if shape is None and self.otherwise is not None:
            shape = self.otherwise()
        if shape is None:
            raise ModelFileError(
                f"{source}: the size of one input is not known; give --input, such as --input 3x32x32, "
                "or an attribute input_shape = (3, 32, 32)"
            )
        try:
            return given_inputs(shape)
        except InputError:
            raise ModelFileError(
                f"{source}: input_shape must be sizes such as (3, 32, 32), or those of several inputs, not {shape!r}"
            ) from None


def unpickle_module(path: Path) -> nn.Module:
    """The module in a ``torch.save`` file or a pickle; runs what the file says. Raises ``ModelFileError``."""
    try:
        with beside_working_directory():
            content: Any = torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # the file's own code runs in there: anything may come out
        reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
        raise ModelFileError(f"{path}: cannot be unpickled ({reason}); its classes must be importable") from None
    for candidate in (content, *(content.values() if isinstance(content, Mapping) else ())):
        if isinstance(candidate, nn.Module):
            return candidate
    raise ModelFileError(f"{path}: holds a {type(content).__name__}, no module")


def read_pickled(path: Path, shape: ShapeSource) -> Network:
    """A pickled module as a network."""
    module = unpickle_module(path)
    return capture(module, shape.of(module, path), str(path))


def read_torchscript(path: Path, shape: ShapeSource) -> Network:
    """A TorchScript file as a network. Raises ``ModelFileError`` or ``CaptureError``."""
    from torch._export.converter import TS2EPConverter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            script = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            raise ModelFileError(f"{path}: cannot be loaded as TorchScript ({reason})") from None
        given = shape.of(script, path)
        try:
            exported = TS2EPConverter(script, examples(script, given), {}).convert()
        except Exception as error:  # a converter that is no longer cared for
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:200]
            raise ModelFileError(f"{path}: torch cannot convert this TorchScript ({reason})") from None
        nesting, _ = nesting_of(_run(script, given))
    return raise_program(_with_parameters(exported, nesting), str(path))


def _run(script: nn.Module, given: tuple[Given, ...]) -> Any:
    with torch.no_grad():
        return script(*examples(script, given))


def _with_parameters(exported: ExportedProgram, nesting: Nesting) -> Program:
    """The conversion makes buffers of all tensors: what is no statistic was trained."""
    program = from_exported(exported, nesting)
    trained = {
        path
        for path, tensor in program.tensors.items()
        if tensor.is_floating_point() and not path.endswith(("running_mean", "running_var"))
    }
    for path in trained:
        program.tensors[path].requires_grad_(True)
    return dataclasses.replace(program, parameters=frozenset(trained))
