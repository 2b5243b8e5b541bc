"""Chooses JPEG quality for one client from credit and round trips. No I/O, no clock of its own.

A control finds no credit for one of two reasons: the link is narrow and frames queue, or the link is long. Both look
alike while frames have one size (Little's law), so the size is varied: a fifth less quality for a few frames. If the
time from FRAME to the CONTROL that names it shrinks with the frames, the link is narrow and the lower quality stays.
If not, worse pictures would not come sooner, and quality goes back up.

While credit lasts quality climbs slowly, for a while not quite to where it was too much (as TCP does: Jacobson
1988).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

WORST: Final = 30  # blocks show below it, and 30 to 20 saves little
_LOWER: Final = 0.8
_SAMPLES: Final = 8  # frames that a trial's mean is taken over; the client's tick makes each coarse
_NARROW_SHARE: Final = 0.3  # of the round trip, that goes with the frame's size: above it the link is narrow
_FRAMES_A_STEP_UP: Final = 12
_STEP_UP: Final = 2.0
_HOLD_US: Final = 10_000_000  # a route, or a neighbour's download, may be another after this time


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """A lower quality on trial, and what it is compared with. Frames up to `before_seq` were made before it."""

    quality: float
    trip_us: float
    size_bytes: float
    before_seq: int


class JpegRateControl:
    """Of one client's next frame. best: the quality to begin with and never to exceed, 1 to 100."""

    def __init__(self, best: int) -> None:
        self._best = best
        self._worst = min(best, WORST)
        self._quality = float(best)
        self._under_way: deque[tuple[int, int, int]] = deque()  # seq, when it was sent, bytes
        self._samples: deque[tuple[int, int]] = deque(maxlen=_SAMPLES)  # round trip in us, bytes
        self._trial: _Trial | None = None
        self._hold_until_us: int | None = None
        self._ceiling: tuple[float, int] | None = None  # quality that was too much, and until when
        self._smooth_frames = 0

    @property
    def quality(self) -> int:
        return round(self._quality)

    def sent(self, seq: int, now_us: int, size_bytes: int) -> None:
        """A FRAME left."""
        self._under_way.append((seq, now_us, size_bytes))

    def named(self, seq: int, now_us: int) -> None:
        """A CONTROL named FRAME `seq`, and with it all before."""
        while self._under_way and self._under_way[0][0] <= seq:
            frame_seq, sent_us, size_bytes = self._under_way.popleft()
            if frame_seq == seq:
                self._on_trip(seq, now_us, now_us - sent_us, size_bytes)

    def starved(self, now_us: int) -> None:
        """A CONTROL found no credit."""
        self._smooth_frames = 0
        held = self._hold_until_us is not None and now_us < self._hold_until_us
        if self._trial is not None or held or len(self._samples) < _SAMPLES or self._quality <= self._worst:
            return
        trip_us, size_bytes = self._means()
        before_seq = self._under_way[-1][0] if self._under_way else -1
        self._trial = _Trial(quality=self._quality, trip_us=trip_us, size_bytes=size_bytes, before_seq=before_seq)
        self._quality = max(self._worst, self._quality * _LOWER)
        self._samples.clear()

    def restart(self) -> None:
        """The client is another one, or comes another way: what is under way is lost, what was measured is void."""
        self._under_way.clear()
        self._samples.clear()
        self._trial = None

    def _on_trip(self, seq: int, now_us: int, trip_us: int, size_bytes: int) -> None:
        if self._trial is None:
            self._samples.append((trip_us, size_bytes))
            self._smooth_frames += 1
            if self._smooth_frames >= _FRAMES_A_STEP_UP:
                self._smooth_frames = 0
                self._climb(now_us)
        elif seq > self._trial.before_seq:
            self._samples.append((trip_us, size_bytes))
            if len(self._samples) == _SAMPLES:
                self._judge(self._trial, now_us)

    def _judge(self, trial: _Trial, now_us: int) -> None:
        trip_us, size_bytes = self._means()
        self._trial = None
        saved = 1 - size_bytes / trial.size_bytes
        if saved > 0 and 1 - trip_us / trial.trip_us >= _NARROW_SHARE * saved:
            self._ceiling = (trial.quality, now_us + _HOLD_US)
            return
        # Where the link was narrow lately, this quality is what fits; else there is room to try for more.
        narrow_lately = self._ceiling is not None and now_us < self._ceiling[1]
        self._quality = trial.quality if narrow_lately else min(self._best, trial.quality / _LOWER)
        self._hold_until_us = now_us + _HOLD_US

    def _climb(self, now_us: int) -> None:
        most = float(self._best)
        if self._ceiling is not None:
            quality, until_us = self._ceiling
            if now_us < until_us:
                most = min(most, 0.9 * quality)
            else:
                self._ceiling = None
        self._quality = max(self._quality, min(most, self._quality + _STEP_UP))

    def _means(self) -> tuple[float, float]:
        """Mean round trip in us and mean size in bytes of the newest frames."""
        trips_us, sizes = zip(*self._samples, strict=True)
        return sum(trips_us) / len(trips_us), sum(sizes) / len(sizes)
