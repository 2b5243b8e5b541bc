"""Work in a thread: its result and its error come out, Ctrl-C cancels it, a second one leaves."""

from __future__ import annotations

import io
import signal
import threading
from typing import NoReturn

import pytest

from trt_build.progress import BuildProgress
from trt_build.watched import INTERRUPTED, run_watched


class Left(BaseException):
    """Stands for the end of the process."""


def leave(status: int) -> NoReturn:
    raise Left(status)


def watch(work, out=None):  # type: ignore[no-untyped-def]
    return run_watched(work, title="denoiser", out=out or io.StringIO(), clock=lambda: 0.0, leave=leave)


def test_it_returns_what_the_work_returned_from_another_thread() -> None:
    assert watch(lambda _: threading.current_thread().name).startswith("build")


def test_it_raises_what_the_work_raised() -> None:
    def work(_: BuildProgress) -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        watch(work)


def test_one_interrupt_cancels_and_waits_for_the_work() -> None:
    out, ended = io.StringIO(), []

    def work(progress: BuildProgress) -> None:
        progress.start("Building", None, 3)
        assert progress.step("Building", 0)
        signal.raise_signal(signal.SIGINT)
        steps = 1
        while progress.step("Building", 1):
            steps += 1
        ended.append(steps > 1)

    with pytest.raises(KeyboardInterrupt):  # also if the work just ends: what would come after it must not begin
        watch(work, out)
    assert ended == [True]
    assert "stopping at TensorRT's next step" in out.getvalue()


def test_a_second_interrupt_leaves_at_once() -> None:
    gone = threading.Event()

    def work(progress: BuildProgress) -> None:
        signal.raise_signal(signal.SIGINT)
        while progress.step("any", 0):
            pass
        signal.raise_signal(signal.SIGINT)
        gone.wait()

    def leave_for_good(status: int) -> NoReturn:
        gone.set()  # here the process would be over
        raise Left(status)

    with pytest.raises(Left, match=str(INTERRUPTED)):
        run_watched(work, title="x", out=io.StringIO(), clock=lambda: 0.0, leave=leave_for_good)


def test_afterwards_ctrl_c_is_what_it_was() -> None:
    before = signal.getsignal(signal.SIGINT)
    watch(lambda _: None)
    assert signal.getsignal(signal.SIGINT) is before
