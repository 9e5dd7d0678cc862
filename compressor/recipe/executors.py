"""The names of executors: what ``search.executor`` and ``--executor`` may say."""

from __future__ import annotations

import importlib.util

LOCAL, RAY, RAY_CLIENT = "local", "ray", "ray://"


def unusable(name: str) -> str:
    """Why there is no such executor here; empty where there is one."""
    if name == LOCAL:
        return ""
    if name != RAY and not (name.startswith(RAY_CLIENT) and len(name) > len(RAY_CLIENT)):
        return f"expected {LOCAL}, {RAY} or {RAY_CLIENT}HOST:PORT, found {name!r}"
    if importlib.util.find_spec("ray") is None:
        return f"{name!r} needs ray: pip install 'compressor[ray]', or take {LOCAL}"
    return ""
