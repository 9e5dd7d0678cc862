"""Work counted, so that tests of what edits cost need no clock."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from torch import fx

from compressor.graph.coupling.replay import Replay
from compressor.graph.coupling.trace import Tracer

COUNTED = {"traces": (Tracer, "trace"), "visits": (Replay, "_visit"), "runs": (fx.Interpreter, "run_node")}
"""Traces made from nothing, nodes through which labels were sent, and nodes that were run on data."""


def counts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What happens from now on, by the names of ``COUNTED``."""
    seen: Counter[str] = Counter()

    def counting(what: str, method: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            seen[what] += 1
            return method(*args, **kwargs)

        return counted

    for what, (owner, name) in COUNTED.items():
        monkeypatch.setattr(owner, name, counting(what, getattr(owner, name)))
    return seen
