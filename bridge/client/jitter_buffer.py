"""Decides when a client shows a frame, and estimates the offset between its clock and the server's.

A frame is shown a fixed delay after its control: the shortest recent round trip plus a buffer. The buffer grows with
jitter and is 0 where jitter is too small to see; a frame is then shown on arrival. Pure decisions over given times.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from bridge.rolling_stats import RollingWindow

MOST_WAITING = 32
"""Frames that are read and not shown; a game that never asks for them shall not keep them all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JitterBufferConfig:
    """`fixed_us`: a buffer of this size, None lets it adapt between 0 and `most_us`.

    An adapting buffer covers `covered_share` of the answers; jitter under `unseen_us` needs none. It grows at once, and
    shrinks by `shrink_share` of itself a second, so that one burst does not make every second burst visible.
    """

    fixed_us: int | None = 0
    most_us: int = 100_000
    covered_share: float = 0.98
    unseen_us: int = 6_000
    shrink_share: float = 0.2
    keep_us: int = 3_000_000
    every_us: int = 200_000


class JitterBuffer:
    """The buffer of one client. Frames are named by their control's seq and sending time."""

    def __init__(self, config: JitterBufferConfig | None = None) -> None:
        self._config = config or JitterBufferConfig()
        self._ways = RollingWindow(capacity=512, keep_us=self._config.keep_us)
        self._waiting: deque[tuple[int, int]] = deque(maxlen=MOST_WAITING)  # (seq, sent)
        self._buffer_us = float(self._config.fixed_us or 0)
        self._shortest_us = 0.0
        self._update_us: int | None = None

    @property
    def buffer_us(self) -> int:
        """How long a frame that came the shortest way waits."""
        return round(self._buffer_us)

    def arrived(self, now_us: int, *, seq: int, sent_us: int) -> None:
        """The answer to control `seq`, sent at `sent_us`, is here."""
        self._ways.add(now_us, now_us - sent_us)
        self._update(now_us)
        self._waiting.append((seq, sent_us))

    def due_us(self, sent_us: int) -> int:
        """When the answer to a control sent at `sent_us` is shown, if it is here by then."""
        return round(sent_us + self._shortest_us + self._buffer_us)

    def take(self, now_us: int) -> int | None:
        """The seq of the newest frame to show now; older ones that wait are skipped. None: nothing new is due."""
        due = None
        while self._waiting and (self._buffer_us == 0 or self.due_us(self._waiting[0][1]) <= now_us):
            due = self._waiting.popleft()[0]
        return due

    @property
    def next_us(self) -> int | None:
        """When the next frame that is here is due; None while none waits."""
        if not self._waiting:
            return None
        return 0 if self._buffer_us == 0 else self.due_us(self._waiting[0][1])

    def _update(self, now_us: int) -> None:
        config = self._config
        if self._update_us is not None and now_us - self._update_us < config.every_us:
            return
        passed_s = 0.0 if self._update_us is None else (now_us - self._update_us) * 1e-6
        self._update_us = now_us
        ways = self._ways.percentiles(now_us, (0.02, config.covered_share))
        assert ways is not None, "an answer has just come"
        self._shortest_us = ways[0]
        if config.fixed_us is not None:
            return
        jitter_us = ways[1] - ways[0]
        wanted_us = 0.0 if jitter_us < config.unseen_us else min(jitter_us, config.most_us)
        shrunk_us = self._buffer_us * (1 - config.shrink_share) ** passed_s
        self._buffer_us = max(wanted_us, shrunk_us)
        if self._buffer_us < config.unseen_us:
            self._buffer_us = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSample:
    """One exchange. round_trip_us: without what the server spent. offset_us: the server's clock minus the client's."""

    round_trip_us: int
    offset_us: int


class ClockSync:
    """Round trip and clock offset from answers that tell the server's clock, as NTP (RFC 5905, section 8) finds them.

    Of the samples of the last seconds the one with the shortest round trip is the best: least of it was waiting.
    """

    def __init__(self, *, keep_us: int = 10_000_000) -> None:
        self._keep_us = keep_us
        self._samples: deque[tuple[int, ClockSample]] = deque()  # round trips rising: a sliding minimum

    def add(self, *, sent_us: int, received_us: int, server_sent_us: int, server_us: int) -> None:
        """sent_us, received_us: of control and answer, the client's clock. server_sent_us: of the answer, the server's;
        server_us: how long it had the control."""
        there_us = server_sent_us - server_us
        sample = ClockSample(
            round_trip_us=max(0, received_us - sent_us - server_us),
            offset_us=((there_us - sent_us) + (server_sent_us - received_us)) // 2,
        )
        while self._samples and self._samples[-1][1].round_trip_us >= sample.round_trip_us:
            self._samples.pop()
        self._samples.append((received_us, sample))
        while self._samples[0][0] < received_us - self._keep_us:
            self._samples.popleft()

    @property
    def best(self) -> ClockSample | None:
        return self._samples[0][1] if self._samples else None
