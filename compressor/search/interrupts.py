"""Ctrl-C: once lets what runs finish, twice ends it; outside the search it stops at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Listens to SIGINT and SIGTERM while it is entered; does nothing where signals cannot be had (other threads)."""

    def __init__(self) -> None:
        self.count = 0
        self.terminated = False
        self._gentle = False
        self._before: dict[int, Any] = {}

    @property
    def stop(self) -> bool:
        """Start nothing new."""
        return self.count > 0

    @property
    def cancel(self) -> bool:
        """End what runs."""
        return self.count > 1 or self.terminated

    @contextmanager
    def gentle(self) -> Iterator[None]:
        """Meanwhile signals are only counted (up to the third); otherwise they raise ``KeyboardInterrupt``."""
        self._gentle = True
        try:
            yield
        finally:
            self._gentle = False

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _heard(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.terminated = self.terminated or number == signal.SIGTERM
        if not self._gentle or self.count > 2:
            raise KeyboardInterrupt
