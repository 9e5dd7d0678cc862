"""Work in a process of its own: answers come back; what befalls the process is told of the one item it befell."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest

from compressor.apart import WorkFailedError, apart, at_leisure, batch_done, each_apart, mention
from compressor.errors import GraphError, InputError, NoAnswer
from compressor.foreign import blaming


def test_answers_come_back_in_order_and_leave_nothing_behind() -> None:
    seen: list[int] = []

    def work(item: int) -> tuple[int, int]:
        seen.append(item)
        return item * item, os.getpid()

    answers = list(each_apart([3, 1, 2], work))
    assert [answer[0] for answer in answers if isinstance(answer, tuple)] == [9, 1, 4]
    assert len({answer[1] for answer in answers if isinstance(answer, tuple)} | {os.getpid()}) == 2
    assert seen == []


@pytest.mark.parametrize(
    ("harm", "how"),
    [
        (lambda: os._exit(0), "ended with status 0"),
        (lambda: ctypes.string_at(0), "was ended by SIGSEGV"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "was ended by SIGKILL"),
        (lambda: time.sleep(60), "took longer than 0.3 s"),
        (lambda: bytearray(1 << 40), "needs more memory than it may have"),
    ],
)
def test_the_item_at_which_a_process_is_lost_has_no_answer_and_the_rest_goes_on(harm: object, how: str) -> None:
    def work(item: int) -> int:
        if item == 1:
            harm()  # type: ignore[operator]
        return item

    first, lost, last = each_apart([0, 1, 2], work, seconds=0.3 if "longer" in how else 60, memory=1 << 34)
    assert (first, last) == (0, 2)
    assert isinstance(lost, NoAnswer)
    assert how in str(lost)


def test_foreign_code_alone_may_be_held_to_a_limit() -> None:
    def work(theirs: float) -> str:
        time.sleep(0.6)
        mention("plugin 'x'")
        time.sleep(theirs)
        mention("")
        time.sleep(0.6)
        return "done"

    assert apart(lambda: work(0.0), foreign=0.5) == "done"
    with pytest.raises(NoAnswer, match=r"^plugin 'x': took longer than 0\.5 s$"):
        apart(lambda: work(60.0), foreign=0.5)


def test_errors_of_the_toolkit_come_back_as_they_are_and_others_as_what_they_are() -> None:
    def wrong() -> None:
        raise GraphError("no such node")

    def unexpected() -> None:
        raise ZeroDivisionError("no such luck")

    with pytest.raises(GraphError, match="no such node"):
        apart(wrong)
    with pytest.raises(WorkFailedError, match="ZeroDivisionError: no such luck") as caught:
        apart(unexpected)
    assert "in unexpected" in caught.value.__notes__[0]


def test_what_a_lost_process_started_ends_with_it() -> None:
    def work() -> int:
        return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid

    process = apart(work)
    deadline = time.monotonic() + 10
    while _alive(process) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _alive(process)


def _alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_blame_names_whose_code_it_was_and_the_line() -> None:
    line = sys._getframe().f_lineno + 2
    with pytest.raises(InputError) as caught, blaming("plugin 'x' of y 1.0, site conv1"):
        raise ValueError("two\nlines")
    assert str(caught.value) == f"plugin 'x' of y 1.0, site conv1: ValueError: two lines ({__file__}, line {line})"


def test_work_may_take_long_as_long_as_batches_go_through_a_network() -> None:
    def work(steps: int) -> int:
        for _ in range(steps):
            batch_done()
            time.sleep(0.7)
        with at_leisure():
            batch_done()  # of somebody who takes his time
            time.sleep(3.0)
        return steps

    assert apart(lambda: work(6), silence=2.5) == 6
    with pytest.raises(NoAnswer, match=r"hangs: not one batch went through it in 2\.5 s"):
        apart(lambda: (batch_done(), time.sleep(60)), silence=2.5)
    with pytest.raises(NoAnswer, match=r"took longer than 1 s"):  # batches are no excuse where the time is fixed
        apart(lambda: work(60), seconds=1.0)
