"""Run another program quietly and for a bounded time."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


def run_quietly(command: Sequence[str], folder: Path, seconds: float) -> str:
    """Run ``command`` in ``folder``; its last line of complaint, or "" when it succeeded.

    The program and everything it started are ended when the time is up or the caller is interrupted.
    """
    program = shutil.which(command[0])
    if program is None:
        return f"{command[0]} is not installed"
    process = subprocess.Popen(
        [program, *command[1:]],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        _, complaint = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"{command[0]} took longer than {seconds:.0f} s"
    except BaseException:
        _end(process)
        raise
    if process.returncode == 0:
        return ""
    lines = complaint.decode(errors="replace").strip().splitlines()
    return f"{command[0]} failed" + (f" ({lines[-1][:200]})" if lines else "")


def _end(process: subprocess.Popen[bytes]) -> None:
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
    else:
        process.kill()
    process.wait()
