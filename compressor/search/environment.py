"""Where a run took place: versions and machine, so that its figures can be read later."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sys
import time
from typing import Any

from compressor import __version__
from compressor.registry import discover
from compressor.search.format import FORMAT

_LIBRARIES = ("torch", "torch-pruning", "optuna", "onnx", "onnx-ir", "onnxruntime", "numpy")


def environment(source: str) -> dict[str, Any]:
    """Plain data about this process's software and machine, and the model's origin."""
    return {
        "compressor": __version__,
        "format": FORMAT,
        "model": source,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "plugins": {found.name: f"{found.distribution} {found.version}" for found in discover()},
    }


def environment_json(source: str) -> str:
    return json.dumps(environment(source), indent=1)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    if sys.platform == "linux":
        try:
            with open("/proc/cpuinfo") as lines:
                return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        except OSError:
            return ""
    return platform.processor()
