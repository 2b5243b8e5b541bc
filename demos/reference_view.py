"""The reference picture beside a running game: rendered small, now and then, on a thread of its own."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

import bridge
from bridge.clock import Clock
from demos.world import ReferenceRenderer
from model.demo.world.conditions import Conditions

_AT_MOST_HZ = 8
_SMALLER = 2  # half the size: a quarter of the rays


class ReferenceView:
    """Renders what was last asked for, at most _AT_MOST_HZ times a second. `picture` is the newest one finished."""

    def __init__(self, renderer: ReferenceRenderer, clock: Clock) -> None:
        self.picture: NDArray[np.uint8] | None = None
        self._renderer = renderer
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reference")
        self._job: Future[NDArray[np.uint8]] | None = None
        self._next_us = 0

    def ask(self, camera: bridge.Camera, conditions: Conditions, time_s: float, size: tuple[int, int]) -> None:
        """Looks for a finished picture, and starts the next when it is time. size: the frame's height and width."""
        if self._job is not None and self._job.done():
            self.picture, self._job = self._job.result(), None
        now_us = self._clock.now_us()
        if self._job is None and now_us >= self._next_us:
            self._next_us = now_us + 1_000_000 // _AT_MOST_HZ
            small = (size[0] // _SMALLER, size[1] // _SMALLER)
            self._job = self._thread.submit(self._renderer.frame, camera, conditions, time_s, small)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
