"""Time: the one place that reads the clock.

Whatever waits takes a `Clock`; decisions are pure functions of `now_us`. Instants are integer microseconds on a
monotonic clock whose zero means nothing: only differences on one machine have a meaning. `wall_time_s` is for file
names and logs.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A monotonic clock in microseconds."""

    def now_us(self) -> int: ...

    def sleep_until_us(self, deadline_us: int) -> None:
        """Returns at `deadline_us` or as soon after it as the machine allows; at once when it has passed."""
        ...


class MonotonicClock:
    """The machine's monotonic clock. On Linux, macOS and Windows it is shared by all processes of the machine."""

    def now_us(self) -> int:
        return time.monotonic_ns() // 1000

    def sleep_until_us(self, deadline_us: int) -> None:
        while (left_us := deadline_us - self.now_us()) > 0:
            time.sleep(left_us / 1e6)


class FakeClock:
    """A clock that moves only when told to; sleeping moves it."""

    def __init__(self, now_us: int = 0) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return self._now_us

    def advance_us(self, by_us: int) -> None:
        if by_us < 0:
            raise ValueError(f"a monotonic clock cannot go back, got {by_us}")
        self._now_us += by_us

    def sleep_until_us(self, deadline_us: int) -> None:
        self._now_us = max(self._now_us, deadline_us)


def wall_time_s() -> float:
    """Seconds since 1970, for names and logs only: it can jump."""
    return time.time()
