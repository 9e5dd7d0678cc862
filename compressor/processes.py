"""Processes that leave no orphans: each leads its own session, and ends when the process it belongs to does."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import sys
import threading
import time
from contextlib import suppress

FORKS = sys.platform == "linux"
"""Whether a process may be forked after torch was imported; elsewhere that is not safe."""
_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.5


def die_with_parent(parent: int) -> None:
    """End this process when ``parent`` ends, however that comes about; ends it now where that has happened already.

    On Linux the kernel sees to it (prctl(2): when the *thread* that started this process ends); elsewhere a thread
    looks twice a second.
    """
    if sys.platform == "linux":
        _signalled_with_parent(signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:
        os._exit(1)


class Guard:
    """Ends a session together with this process, however this one comes to its end; only where there are forks.

    What leads the session may end by itself (``die_with_parent``); what it has started does not. A process beside this
    one waits for nothing else.
    """

    def __init__(self) -> None:
        self._led = mmap.mmap(-1, 8)  # shared with the process beside this one
        mother = os.getpid()
        if os.fork() == 0:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
            _signalled_with_parent(signal.SIGTERM)
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):  # whoever listens to this process must hear that it ended
                os.dup2(nothing, stream)
            if os.getppid() == mother:
                signal.sigwait({signal.SIGTERM})
            if session := int.from_bytes(self._led[:8], "little"):
                kill_session(session)
            os._exit(0)

    def watch(self, session: int) -> None:
        """From now on this session is the one to end; 0: none."""
        self._led[:8] = session.to_bytes(8, "little")


def _signalled_with_parent(number: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os._exit(1)


def is_alive(pid: int) -> bool:
    """Whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill_session(pid: int) -> None:
    """Kill the process and whatever it started; a process that is gone already is fine."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)  # on Windows this ends the process at once


def how_it_ended(status: int) -> str:
    """``was ended by SIGSEGV`` or ``ended with status 3``, for a status as ``os.waitstatus_to_exitcode`` gives it."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was ended by {name}"
