"""How much earlier than its p95 cost says a chunk is started, and statistics of whether that was right.

The margin follows a quantile by Robbins and Monro's rule (1951): a miss widens it by a step, a hit narrows it by the
part of the step that balances one miss in every `1 / miss_share`. So it settles where that share of chunks misses,
whatever the distribution of the machine's jitter.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import msgspec

from bridge.protocol.messages import Stats
from bridge.rolling_stats import RollingWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class StartMarginConfig:
    """A chunk started just in time that leaves a gap is a miss; one that lies ready for longer than `needless_us` was
    started needlessly early."""

    first_us: int = 8_000
    least_us: int = 2_000
    most_us: int = 120_000
    step_us: int = 20_000
    miss_share: float = 0.02
    needless_us: int = 50_000


class StartMargin:
    """Adapts to chunks that were started just in time; others say nothing about it."""

    def __init__(self, config: StartMarginConfig | None = None) -> None:
        self._config = config or StartMarginConfig()
        self._us = float(self._config.first_us)

    @property
    def us(self) -> int:
        return round(self._us)

    def settle(self, *, missed: bool) -> None:
        """A chunk started just in time came in time, or left a gap."""
        config = self._config
        change_us = config.step_us * (1 - config.miss_share) if missed else -config.step_us * config.miss_share
        self._us = min(max(self._us + change_us, config.least_us), config.most_us)


class UnderrunCause(enum.Enum):
    """Why a session's frames ran out before the next ones came."""

    OVERRUN = "overrun"  # started in time, took longer than the estimate and the margin
    TOO_SLOW = "too_slow"  # the engine was still making the session's own last chunk when this one had to start
    CROWDED = "crowded"  # the engine was making another session's chunk
    ENGINE = "engine"  # the engine process was replaced, or refused a chunk
    PAUSED = "paused"  # the client sent no controls for a while, and nothing was made


class DeadlineStats:
    """One session's chunks against their due times.

    underruns: how often, and why, no frame was left to show. A gap up to the time of one frame is none: the last frame
    stays, bent, for as long as two, which no eye can tell from an uneven tick.
    """

    def __init__(self, config: StartMarginConfig | None = None) -> None:
        self._config = config or StartMarginConfig()
        self.underruns = dict.fromkeys(UnderrunCause, 0)
        self.gap_us = 0
        self.needless = 0
        self.earliness_us = RollingWindow()

    def settle(self, now_us: int, *, slack_us: int, frame_us: int, cause: UnderrunCause, early: bool = False) -> bool:
        """A chunk can be shown `slack_us` before the time of the frames before it is over. early: it is, since it
        replaces them. Returns: it was an underrun."""
        if slack_us >= -frame_us:
            if not early:
                self.earliness_us.add(now_us, max(0, slack_us))
                self.needless += slack_us > self._config.needless_us
            return False
        self.underruns[cause] += 1
        self.gap_us -= slack_us
        return True

    def fill(self, stats: Stats, now_us: int) -> Stats:
        """`stats` with these figures; zeros where nothing was seen."""
        (earliness_us,) = self.earliness_us.percentiles(now_us, (0.5,)) or (0.0,)
        return msgspec.structs.replace(
            stats,
            underruns={cause.value: count for cause, count in self.underruns.items()},
            gap_us=self.gap_us,
            needless_starts=self.needless,
            earliness_us_p50=int(earliness_us),
        )
