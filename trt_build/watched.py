"""Long work in a thread, watched by the one that started it, which alone can be interrupted.

TensorRT builds for minutes inside one call. Python meets Ctrl-C in the main thread only, and only between its own
instructions; so the call runs elsewhere, and the main thread waits, draws and hears the keyboard.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn, TextIO, TypeVar

from trt_build.progress import BuildProgress, ProgressDisplay

Result = TypeVar("Result")
INTERRUPTED = 130  # what a shell reports of a process that Ctrl-C ended
_DRAW_EVERY_S = 0.1


def run_watched(
    work: Callable[[BuildProgress], Result],
    *,
    title: str,
    out: TextIO,
    clock: Callable[[], float],
    leave: Callable[[int], NoReturn] = os._exit,
) -> Result:
    """Runs `work` to its end, drawing its progress. Returns what it returned, raises what it raised.

    The first Ctrl-C cancels the progress, which the work is expected to notice; the second leaves the process at once.

    Raises: KeyboardInterrupt: the work was at its end already, and so did not notice.
    """
    progress = BuildProgress()
    display = ProgressDisplay(progress, out, clock, title=title)
    told = False
    with _interrupts_cancel(progress, leave), concurrent.futures.ThreadPoolExecutor(1, "build") as pool:
        future = pool.submit(work, progress)
        while not future.done():
            concurrent.futures.wait([future], timeout=_DRAW_EVERY_S)
            if progress.cancelled and not told:
                display.clear()
                out.write(f"{title}: stopping at TensorRT's next step; Ctrl-C again leaves at once\n")
                told = True
            display.draw()
        display.clear()
    result = future.result()
    if progress.cancelled:
        raise KeyboardInterrupt  # nothing after it may begin
    return result


@contextlib.contextmanager
def _interrupts_cancel(progress: BuildProgress, leave: Callable[[int], NoReturn]) -> Iterator[None]:
    """Ctrl-C as a flag: an exception could come up anywhere, and leave the build running behind it."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread only
        return

    def interrupted(*_: object) -> None:
        if progress.cancelled:
            leave(INTERRUPTED)
        progress.cancel()

    before = signal.signal(signal.SIGINT, interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
