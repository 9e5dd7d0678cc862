"""Opening ONNX files in ONNX Runtime, with one line for what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnxruntime as ort

from compressor.errors import InputError

ort.disable_telemetry_events()  # builds for Windows send some, which nobody asked for


def session_options(threads: int = 1) -> ort.SessionOptions:
    """Everything the deployed file gets: all optimisations, ``threads`` threads that do not spin, no log."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    return options


def open_session(model: bytes | Path, options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    """A session on the CPU. Raises ``InputError`` in one line for what is no file, no ONNX, or not runnable."""
    title = title_of(model)
    if isinstance(model, Path) and not model.is_file():
        raise InputError(f"{title}: {'is no file' if model.exists() else 'no such file'}")
    if (model.stat().st_size if isinstance(model, Path) else len(model)) == 0:
        raise InputError(f"{title}: the file is empty")
    source = str(model) if isinstance(model, Path) else model
    try:
        return ort.InferenceSession(source, options or session_options(), providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this
        raise InputError(f"{title}: ONNX Runtime cannot load it: {_first_line(error)}") from None


@contextmanager
def running(title: str) -> Iterator[None]:
    """Raises ``InputError`` in one line for whatever keeps ONNX Runtime from running a model it has loaded."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this
        raise InputError(f"{title}: ONNX Runtime cannot run it: {_first_line(error)}") from None


def title_of(model: bytes | Path) -> str:
    """What messages call a model."""
    return str(model) if isinstance(model, Path) else "the ONNX model"


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
