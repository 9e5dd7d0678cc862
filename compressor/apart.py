"""Work in a process of its own, which may fail, hang, exit or crash: an answer, or the reason why there is none.

A plugin, or a library that reads a hostile file, may do anything to the process it runs in. What is only *asked* of it
is therefore asked in a fork of this process: nothing has to be handed over, the answer comes back as plain data, and
nothing it does to memory, files of its own process or signals outlives the answer. One fork serves many questions; the
one at which it is lost is the one that has no answer, and the rest goes on in a new fork.

Where forking is not safe (anything but Linux) the work is done here, and only what it raises is caught.
"""

from __future__ import annotations

import math
import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import compressor.errors
from compressor.errors import CompressorError, NoAnswer
from compressor.foreign import one_line
from compressor.processes import FORKS, die_with_parent, how_it_ended, kill_session

T = TypeVar("T")
R = TypeVar("R")

_PATIENCE_SECONDS = 5.0
ALIVE, BATCH, LEISURE = "alive", "batch", "leisure"
"""Signs of life."""
_PULSE_SECONDS = 1.0
_HEADER = 8
"""Bytes that state the length of an answer."""


class WorkFailedError(RuntimeError):
    """Work apart raised what nobody expected; the traceback of its process is a note of this one."""


@dataclass(frozen=True)
class _Limits:
    """How many seconds may pass without a word; 0: as many as it likes."""

    seconds: float = 0.0
    foreign: float = 0.0
    silence: float = 0.0

    def of(self, whose: str, *, at_leisure: bool) -> float:
        if whose and self.foreign:
            return self.foreign
        return 0.0 if at_leisure else self.silence or self.seconds

    def overdue(self, whose: str, limit: float) -> str:
        if self.silence and not (whose and self.foreign):
            return f"hangs: not one batch went through it in {limit:.3g} s"
        return f"took longer than {limit:.3g} s"


def apart(
    work: Callable[[], R], *, seconds: float = 0.0, memory: int = 0, foreign: float = 0.0, silence: float = 0.0
) -> R:
    """What ``work`` returns, done in a process of its own; it must be plain data.

    Raises the toolkit's own errors as ``work`` raised them, ``NoAnswer`` where the process ended, or had to be ended
    after ``seconds`` without a word from it (0: never), or after ``foreign`` seconds of the code of someone that it
    mentioned. With ``silence``, every batch that goes through a network counts as a word, and so many seconds may pass
    without one. ``memory`` limits the bytes it may ask for beyond what this process holds (0: not).
    """
    limits = _Limits(seconds, foreign, silence)
    (answer,) = _each_apart([None], lambda _: work(), limits, memory)
    if isinstance(answer, CompressorError):
        raise answer
    return answer


def each_apart(
    items: Sequence[T], work: Callable[[T], R], *, seconds: float = 0.0, memory: int = 0, foreign: float = 0.0
) -> Iterator[R | CompressorError]:
    """``work`` of each item, in order: what it returns, or the ``CompressorError`` (``NoAnswer``) there is instead."""
    return _each_apart(items, work, _Limits(seconds, foreign), memory)


def _each_apart(
    items: Sequence[T], work: Callable[[T], R], limits: _Limits, memory: int
) -> Iterator[R | CompressorError]:
    if not FORKS:
        yield from (_here(work, item) for item in items)
        return
    rest = list(items)
    while rest:
        child = _Child(rest, work, memory)
        try:
            for _ in list(rest):
                answer = child.answer(limits)
                rest.pop(0)
                yield answer
                if isinstance(answer, NoAnswer):
                    break
        finally:
            child.end()


def mention(whose: str, culprit: tuple[str, str] = ("", "")) -> None:
    """Say, in a process of its own, whose code is about to run; its time starts now, and what befalls it is its doing.

    Does nothing where nobody listens.
    """
    for listener in _listeners:
        listener(whose, culprit)


def alive() -> None:
    """Say, in a process of its own, that the work goes on: the time that one piece of it may take begins anew."""
    _say(ALIVE)


def batch_done() -> None:
    """Say that one more batch goes through a network or a file: for work that may take long, but not hang."""
    _say(BATCH)


@contextmanager
def at_leisure() -> Iterator[None]:
    """Within, no sign of life is waited for: whoever asked for the work knows how long it takes."""
    _say(LEISURE)
    before = _at_leisure.set(True)
    try:
        yield
    finally:
        _at_leisure.reset(before)
        _say(ALIVE)


def listen(listener: Callable[[str, tuple[str, str]], None], signs: Callable[[str], None]) -> None:
    """Tell ``listener`` from now on whatever is mentioned in this process, and ``signs`` of every sign of life; of
    batches once a second.
    """
    last = -math.inf

    def thinned(sign: str) -> None:
        nonlocal last
        if sign != BATCH or time.monotonic() > last + _PULSE_SECONDS:
            last = time.monotonic()
            signs(sign)

    _listeners[:], _signs[:] = [listener], [thinned]


def is_apart() -> bool:
    """Whether this process may die: somebody listens to it who goes on then."""
    return bool(_listeners)


def _say(sign: str) -> None:
    if not _at_leisure.get():
        for signs in _signs:
            signs(sign)


_at_leisure: ContextVar[bool] = ContextVar("at_leisure", default=False)
_listeners: list[Callable[[str, tuple[str, str]], None]] = []
_signs: list[Callable[[str], None]] = []


def _here(work: Callable[[T], R], item: T) -> R | CompressorError:
    try:
        return work(item)
    except CompressorError as error:
        return error


# --- this side ---------------------------------------------------------------------------------------------------


class _Child:
    """A fork that goes through items and sends one answer each."""

    def __init__(self, items: Sequence[T], work: Callable[[T], Any], memory: int) -> None:
        _flush()
        self._pipe, theirs = os.pipe()
        mother = os.getpid()
        self._process = os.fork()
        if self._process == 0:
            os.close(self._pipe)
            _serve(items, work, theirs, mother, memory)
        os.close(theirs)
        self._status: int | None = None

    def answer(self, limits: _Limits) -> Any:
        """The next answer; ``NoAnswer`` where there will be none."""
        whose, culprit, sign = "", ("", ""), ALIVE
        while True:
            if sign != BATCH or (limits.silence and not whose):
                limit = limits.of(whose, at_leisure=sign == LEISURE)
                deadline = time.monotonic() + limit if limit else None
            try:
                header = self._read(_HEADER, deadline)
                kind, *content = pickle.loads(self._read(int.from_bytes(header, "big"), deadline))
            except TimeoutError:
                return _no_answer(whose, culprit, limits.overdue(whose, limit))
            except EOFError:
                return _no_answer(whose, culprit, f"its process {self._ended()}")
            match kind:
                case "sign":
                    (sign,) = content
                case "mention":
                    (whose, culprit), sign = content, ALIVE
                case _:
                    return _unpacked(kind, content)

    def _read(self, count: int, deadline: float | None) -> bytes:
        parts: list[bytes] = []
        while count:
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not select.select([self._pipe], [], [], left)[0]:
                raise TimeoutError
            part = os.read(self._pipe, min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def _ended(self) -> str:
        """How the process ended; one that only closed its end of the pipe is not waited for long."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            process, status = os.waitpid(self._process, os.WNOHANG)
            if process:
                self._status = os.waitstatus_to_exitcode(status)
                return how_it_ended(self._status)
            time.sleep(0.01)
        return "stopped answering"

    def end(self) -> None:
        """No process is left behind, whatever it is doing."""
        os.close(self._pipe)
        if self._status is None:
            kill_session(self._process)
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)  # before it leads a session of its own
            os.waitpid(self._process, 0)


def _no_answer(whose: str, culprit: tuple[str, str], how: str) -> NoAnswer:
    error = NoAnswer(f"{whose}: {how}" if whose else how)
    error.culprit = culprit
    return error


def _unpacked(kind: str, content: list[Any]) -> Any:
    match kind:
        case "answer":
            return content[0]
        case "refused":
            name, message, culprit = content
            refused: CompressorError = getattr(compressor.errors, name)(message)
            refused.culprit = culprit
            return refused
        case "system":
            raise OSError(*content)
    message, trace = content
    error = WorkFailedError(message)
    error.add_note(trace)
    raise error


# --- the other side ----------------------------------------------------------------------------------------------


def _serve(items: Sequence[T], work: Callable[[T], Any], pipe: int, mother: int, memory: int) -> NoReturn:
    status = 1
    try:
        os.setsid()
        die_with_parent(mother)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if "torch" in sys.modules:  # the threads of OpenMP are not there after a fork, and would be waited for
            sys.modules["torch"].set_num_threads(1)
        if memory:
            _limit(memory)
        listen(
            lambda whose, culprit: _send(pipe, pickle.dumps(("mention", whose, culprit))),
            lambda sign: _send(pipe, pickle.dumps(("sign", sign))),
        )
        for item in items:
            _send(pipe, _packed(work, item))
        status = 0
    finally:
        _flush()
        os._exit(status)


def _packed(work: Callable[[T], Any], item: T) -> bytes:
    try:
        return pickle.dumps(("answer", work(item)))
    except CompressorError as error:
        return pickle.dumps(("refused", _public(type(error)), str(error), error.culprit))
    except OSError as error:  # what the machine lacks, this process lacks too
        return pickle.dumps(("system", error.errno, error.strerror, error.filename))
    except MemoryError:
        return pickle.dumps(("refused", NoAnswer.__name__, "needs more memory than it may have", ("", "")))
    except (Exception, SystemExit) as error:
        return pickle.dumps(("raised", one_line(error), traceback.format_exc()))


def _public(kind: type[CompressorError]) -> str:
    """The name under which ``compressor.errors`` has this kind of error, or the nearest above it."""
    return next(str(base.__name__) for base in kind.__mro__ if getattr(compressor.errors, base.__name__, None) is base)


def _send(pipe: int, data: bytes) -> None:
    left = memoryview(len(data).to_bytes(_HEADER, "big") + data)
    while left:
        left = left[os.write(pipe, left) :]


def _limit(memory: int) -> None:
    """Let this process ask for ``memory`` bytes more than it has."""
    import resource

    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = held + memory
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def _flush() -> None:
    """Empty the buffers of the standard streams, so that no fork writes again what this process wrote."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
