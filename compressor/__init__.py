"""Makes trained PyTorch CNNs smaller and faster, and proves it.

import compressor

result = compressor.optimize(model, train, validation, test, task="classification", budget="30m")
result.verdict, result.best.onnx_path, result.best.network, result.front, result.show()
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from compressor.api.bench import bench
    from compressor.api.inspect import inspect
    from compressor.api.optimize import optimize, resume
    from compressor.api.result import Result
    from compressor.data.open import from_loaders, open_data
    from compressor.graph.capture import capture
    from compressor.load import load_model
    from compressor.task import Metric, Task

_HOMES = {
    "bench": "compressor.api.bench",
    "capture": "compressor.graph.capture",
    "from_loaders": "compressor.data.open",
    "inspect": "compressor.api.inspect",
    "load_model": "compressor.load",
    "open_data": "compressor.data.open",
    "optimize": "compressor.api.optimize",
    "resume": "compressor.api.optimize",
    "Metric": "compressor.task",
    "Result": "compressor.api.result",
    "Task": "compressor.task",
}
__all__ = [
    "Metric",
    "Result",
    "Task",
    "bench",
    "capture",
    "from_loaders",
    "inspect",
    "load_model",
    "open_data",
    "optimize",
    "resume",
]


def __getattr__(name: str) -> Any:
    """The public functions and types, imported when they are asked for: torch takes seconds."""
    if name not in _HOMES:
        raise AttributeError(f"module 'compressor' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
