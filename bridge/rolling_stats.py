"""Percentiles and rates over a moving window of time, for STATS and for scheduling.

Pure values over times that the caller brings. Single-threaded.
"""

from __future__ import annotations

import math
from collections import deque


def percentile(ordered: list[float], share: float) -> float:
    """The nearest-rank percentile of an ascending, non-empty list: a value that was really seen.

    share: 0..1. Interpolating would invent a value between a normal and a terrible one.
    """
    rank = math.ceil(share * len(ordered))
    return ordered[min(max(rank, 1), len(ordered)) - 1]


class RollingWindow:
    """The newest values, at most `capacity` of them and none older than `keep_us`."""

    def __init__(self, *, capacity: int = 512, keep_us: int = 10_000_000) -> None:
        self._keep_us = keep_us
        self._values: deque[tuple[int, float]] = deque(maxlen=capacity)

    def add(self, now_us: int, value: float) -> None:
        self._values.append((now_us, value))

    @property
    def oldest_us(self) -> int | None:
        """When the oldest kept value was added; None while nothing is kept."""
        return self._values[0][0] if self._values else None

    def values(self, now_us: int) -> list[float]:
        """The values still kept, oldest first."""
        while self._values and self._values[0][0] < now_us - self._keep_us:
            self._values.popleft()
        return [value for _, value in self._values]

    def percentiles(self, now_us: int, shares: tuple[float, ...]) -> tuple[float, ...] | None:
        """The percentiles asked for, or None while nothing is kept."""
        ordered = sorted(self.values(now_us))
        return tuple(percentile(ordered, share) for share in shares) if ordered else None


class RateMeter:
    """Events per second over the last `window_us`, or over the time since the first one while that is shorter."""

    def __init__(self, *, window_us: int = 2_000_000) -> None:
        self._window_us = window_us
        self._times_us: deque[int] = deque()
        self._first_us: int | None = None

    def add(self, now_us: int) -> None:
        if self._first_us is None:
            self._first_us = now_us
        self._times_us.append(now_us)
        self._trim(now_us)

    def per_second(self, now_us: int) -> float:
        if self._first_us is None:
            return 0.0
        self._trim(now_us)
        span_us = min(self._window_us, now_us - self._first_us)
        # The first event opens the span and is not inside it: two events a second apart are one a second.
        counted = len(self._times_us) - (1 if self._times_us and self._times_us[0] == self._first_us else 0)
        return counted * 1e6 / span_us if span_us > 0 else 0.0

    def _trim(self, now_us: int) -> None:
        while self._times_us and self._times_us[0] <= now_us - self._window_us:
            self._times_us.popleft()
