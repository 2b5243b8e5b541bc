"""What time costs: running estimates of how long a chunk takes.

Pure values; times come from the caller. Deciding by them is `scheduler.py`'s, counting answers `delivery.py`'s.
Single-threaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.engine import Plan
from bridge.metrics import RollingWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class CostConfig:
    """`prior_us` stands for a chunk's cost until one has been made. Estimates older than `keep_us` are forgotten, so
    that a chunk length once found too slow is tried again when the machine may have become faster."""

    prior_us: int = 300_000
    samples: int = 40
    keep_us: int = 30_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Microseconds from asking for a chunk to having it. `measured` is False for a guess."""

    p50_us: int
    p95_us: int
    measured: bool


@dataclass(slots=True)
class _Samples:
    window: RollingWindow
    warmup_us: float | None = None


class CostEstimator:
    """Running p50 and p95 of chunk cost for every rung and chunk length.

    The first chunk after `restart` pays for allocation and caches; it counts only until a second one is known.
    """

    def __init__(self, config: CostConfig | None = None) -> None:
        self._config = config or CostConfig()
        self._samples: dict[tuple[str, int], _Samples] = {}
        self._cold = True

    def restart(self) -> None:
        """The engine process was replaced: the next chunk is a warm-up again."""
        self._cold = True

    def observe(self, now_us: int, plan: Plan, cost_us: float) -> None:
        key = (plan.rung, plan.frames)
        samples = self._samples.get(key)
        if samples is None:
            window = RollingWindow(capacity=self._config.samples, keep_us=self._config.keep_us)
            samples = self._samples[key] = _Samples(window=window)
        if self._cold:
            self._cold = False
            samples.warmup_us = cost_us
        else:
            samples.warmup_us = None
            samples.window.add(now_us, cost_us)

    def cost(self, now_us: int, plan: Plan) -> Cost:
        """What `plan` costs: measured, else scaled from another length of its rung, else the prior."""
        own = self._measured(now_us, plan.rung, plan.frames)
        if own is not None:
            return own
        for rung, frames in sorted(self._samples, key=lambda key: abs(key[1] - plan.frames)):
            other = self._measured(now_us, rung, frames) if rung == plan.rung else None
            if other is not None:
                scale = plan.frames / frames
                return Cost(p50_us=int(other.p50_us * scale), p95_us=int(other.p95_us * scale), measured=False)
        return Cost(p50_us=self._config.prior_us, p95_us=self._config.prior_us, measured=False)

    def _measured(self, now_us: int, rung: str, frames: int) -> Cost | None:
        samples = self._samples.get((rung, frames))
        if samples is None:
            return None
        found = samples.window.percentiles(now_us, (0.5, 0.95))
        if found is None:
            if samples.warmup_us is None:
                return None
            found = (samples.warmup_us, samples.warmup_us)
        return Cost(p50_us=int(found[0]), p95_us=int(found[1]), measured=True)
