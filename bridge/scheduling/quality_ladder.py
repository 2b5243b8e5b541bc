"""Chooses the rung that chunks are made on: down when frames come too seldom, up when there is headroom.

A pure decision over costs that the caller brings. Hysteresis has three parts: stepping down needs the shortfall to
last, stepping up needs headroom to last, and each step up that soon leads down again doubles the wait before the
next try. On a machine between two rungs the tries die out instead of alternating.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLadderConfig:
    """`least_hz`: network frames a second below which a cheaper rung is better; below `hopeless_hz` on the cheapest,
    making none is. `headroom` times as many are wanted before a dearer rung is tried. A try that does not last
    `proof_us` has failed.
    """

    least_hz: float = 10.0
    hopeless_hz: float = 0.3
    headroom: float = 1.3
    down_after_us: int = 1_500_000
    up_after_us: int = 5_000_000
    proof_us: int = 10_000_000
    longest_wait_us: int = 600_000_000


class QualityLadder:
    """Which rung, 0 the best; the one past the engine's last makes nothing and lives on reprojection.

    rungs: how many the engine has. pinned: the rung to stay on whatever happens.
    """

    def __init__(self, rungs: int, config: QualityLadderConfig | None = None, *, pinned: int | None = None) -> None:
        if pinned is not None and not 0 <= pinned <= rungs:
            raise ValueError(f"pinned: got rung {pinned}, expected 0 to {rungs}")
        self._config = config or QualityLadderConfig()
        self._floors_hz = [self._config.least_hz] * (rungs - 1) + [self._config.hopeless_hz]
        self._pinned = pinned
        self._rung = 0 if pinned is None else pinned
        self._short_since_us: int | None = None
        self._ample_since_us: int | None = None
        self._went_up_us: int | None = None
        self._wait_us = self._config.up_after_us

    @property
    def rung(self) -> int:
        return self._rung

    @property
    def is_pinned(self) -> bool:
        return self._pinned is not None

    def update(self, now_us: int, rates_hz: Sequence[float]) -> int:
        """The rung to use from now on. rates_hz: network frames a second that each of the engine's rungs would give."""
        if self._pinned is not None:
            return self._rung
        config, rung = self._config, self._rung
        if self._went_up_us is not None and now_us - self._went_up_us >= config.proof_us:
            self._went_up_us = None
            self._wait_us = config.up_after_us
        is_short = rung < len(self._floors_hz) and rates_hz[rung] < self._floors_hz[rung]
        is_ample = rung > 0 and rates_hz[rung - 1] >= self._floors_hz[rung - 1] * config.headroom
        self._short_since_us = _since(self._short_since_us, now_us, holds=is_short)
        self._ample_since_us = _since(self._ample_since_us, now_us, holds=is_ample)
        if self._short_since_us is not None and now_us - self._short_since_us >= config.down_after_us:
            if self._went_up_us is not None:
                self._went_up_us = None
                self._wait_us = min(2 * self._wait_us, config.longest_wait_us)
            self._move(rung + 1)
        elif self._ample_since_us is not None and now_us - self._ample_since_us >= self._wait_us:
            self._move(rung - 1)
            self._went_up_us = now_us
        return self._rung

    def _move(self, rung: int) -> None:
        self._rung = rung
        self._short_since_us = self._ample_since_us = None


def _since(since_us: int | None, now_us: int, *, holds: bool) -> int | None:
    """Since when something has held without a break."""
    if not holds:
        return None
    return now_us if since_us is None else since_us
