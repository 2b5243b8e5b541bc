"""Rolling numbers for STATS and for scheduling: rates and percentiles over the last moments.

Pure values over times that the caller brings; no clock, no printing. Single-threaded.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

from bridge.protocol.messages import Stats


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


class SessionMetrics:
    """What one session's STATS say beyond its ledger.

    `generated` meets every distinct network frame once, when it first enters an answer, as it is or bent.
    """

    def __init__(self) -> None:
        self.rung = ""
        self.chunk_frames = 0
        self.generated = RateMeter()
        self.chunk_ms = RollingWindow()
        self.control_age_us = RollingWindow()
        self.server_us = RollingWindow()
        self.client_lateness_us = RollingWindow()

    def fill(self, stats: Stats, now_us: int) -> Stats:
        """`stats` with the rates and times of the last moments; zeros where nothing was seen."""
        chunk_ms = self.chunk_ms.percentiles(now_us, (0.5, 0.95)) or (0.0, 0.0)
        control_age_us = self.control_age_us.percentiles(now_us, (0.5, 0.95)) or (0.0, 0.0)
        server_us = self.server_us.percentiles(now_us, (0.5, 0.95)) or (0.0, 0.0)
        (lateness_us,) = self.client_lateness_us.percentiles(now_us, (0.95,)) or (0.0,)
        return msgspec.structs.replace(
            stats,
            generated_fps=self.generated.per_second(now_us),
            chunk_ms_p50=chunk_ms[0],
            chunk_ms_p95=chunk_ms[1],
            control_age_us_p50=int(control_age_us[0]),
            control_age_us_p95=int(control_age_us[1]),
            server_us_p50=int(server_us[0]),
            server_us_p95=int(server_us[1]),
            client_lateness_us_p95=int(lateness_us),
            rung=self.rung,
            chunk_frames=self.chunk_frames,
        )
