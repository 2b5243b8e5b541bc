"""JPEG quality over simulated links: narrow ones get small pictures, long ones do not."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import pytest

from bridge.session.jpeg_rate_control import WORST, JpegRateControl

TICK_US = 16_667


def size_bytes(quality: int) -> int:
    """A 640x384 frame: 84 KB at quality 85, 32 KB at 30, as measured."""
    return round(1000 * (8 + 24 * quality / 30 * (1 + max(0, quality - 60) / 80)))


@dataclass
class Link:
    """A client behind a link: a one-way delay, a bandwidth, a queue in order; it names what it read each tick."""

    bytes_per_s: float
    delay_us: int
    credit: int = 2
    best: int = 85
    now_us: int = 0
    seq: int = 0
    free_at_us: int = 0
    answered: int = 0
    arrivals: deque[tuple[int, int]] = field(default_factory=deque)
    controls: deque[tuple[int, int]] = field(default_factory=deque)
    qualities: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.control = JpegRateControl(self.best)
        self.unread: deque[int] = deque()
        self.read = -1

    def run(self, seconds: float) -> None:
        """Plays at 60 Hz."""
        end_us = self.now_us + round(seconds * 1e6)
        while self.now_us < end_us:
            self.now_us += TICK_US
            while self.arrivals and self.arrivals[0][0] <= self.now_us:
                self.read = self.arrivals.popleft()[1]
            self.controls.append((self.now_us + self.delay_us, self.read))
            while self.controls and self.controls[0][0] <= self.now_us:
                self.on_control(*self.controls.popleft())

    def on_control(self, at_us: int, read: int) -> None:
        while self.unread and self.unread[0] <= read:
            self.unread.popleft()
        self.control.named(read, at_us)
        if len(self.unread) >= self.credit:
            self.control.starved(at_us)
            return
        self.seq += 1
        self.answered += 1
        self.unread.append(self.seq)
        size = size_bytes(self.control.quality)
        self.control.sent(self.seq, at_us, size)
        self.qualities.append(self.control.quality)
        self.free_at_us = max(self.free_at_us, at_us) + round(size / self.bytes_per_s * 1e6)
        self.arrivals.append((self.free_at_us + self.delay_us, self.seq))


MBIT = 1e6 / 8


def test_a_wide_link_keeps_the_best() -> None:
    link = Link(bytes_per_s=1000 * MBIT, delay_us=500)
    link.run(12)
    assert set(link.qualities) == {85}


@pytest.mark.parametrize("delay_ms", [25, 60, 150])
def test_a_long_wide_link_keeps_the_best_though_credit_runs_out(delay_ms: int) -> None:
    link = Link(bytes_per_s=1000 * MBIT, delay_us=delay_ms * 1000)
    link.run(12)
    assert link.answered < 12 * 60  # credit did run out
    assert sum(quality == 85 for quality in link.qualities) > 0.8 * len(link.qualities)  # the rest: trials
    assert min(link.qualities) >= 68


@pytest.mark.parametrize(("mbit", "gain"), [(25, 1.4), (15, 2.0), (10, 2.0)])
def test_a_narrow_link_gets_smaller_pictures_and_more_of_them(mbit: int, gain: float) -> None:
    """gain: frames answered in twelve seconds, against those of a fixed quality of 85."""
    link, fixed = (Link(bytes_per_s=mbit * MBIT, delay_us=1000) for _ in range(2))
    fixed.control.starved = lambda now_us: None  # type: ignore[method-assign]
    link.run(12)
    fixed.run(12)
    assert link.answered > gain * fixed.answered
    settled = link.qualities[len(link.qualities) // 2 :]
    assert sum(settled) / len(settled) < 70


def test_a_hopeless_link_gets_the_worst_and_no_less() -> None:
    link = Link(bytes_per_s=4 * MBIT, delay_us=5000)
    link.run(12)
    assert min(link.qualities) == WORST
    assert set(link.qualities[-100:]) <= set(range(WORST, WORST + 6))


def test_it_comes_back_when_the_link_does() -> None:
    link = Link(bytes_per_s=10 * MBIT, delay_us=1000)
    link.run(4)
    assert link.qualities[-1] < 50
    link.bytes_per_s = 1000 * MBIT
    link.run(16)
    assert link.qualities[-1] == 85


def test_a_best_below_the_worst_stays() -> None:
    link = Link(bytes_per_s=1 * MBIT, delay_us=5000, best=20)
    link.run(10)
    assert set(link.qualities) == {20}


def test_nothing_measured_changes_nothing() -> None:
    control = JpegRateControl(70)
    control.starved(0)
    control.named(5, 10)
    control.restart()
    control.starved(20)
    assert control.quality == 70
