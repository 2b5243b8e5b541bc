"""Estimates how long a chunk takes, for every quality level and chunk length, from what recent ones took.

Pure values; times come from the caller. edf.py and quality_ladder.py decide by them. Single-threaded.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.engine.interface import Plan
from bridge.rolling_stats import RollingWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class CostConfig:
    """`prior_us` stands for a chunk's cost until one has been made. Measurements older than `keep_us` are forgotten, so
    that a chunk length once found too slow is tried again when the machine may have become faster.

    `fixed_share` is the part of a chunk's cost that does not grow with its length, assumed until two lengths have been
    measured: history and text are read once a chunk. The demo model's is 0.14, a guess too high only delays trying a
    shorter chunk.
    """

    prior_us: int = 300_000
    samples: int = 40
    keep_us: int = 60_000_000
    fixed_share: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a chunk takes, in microseconds. `measured` is False for a guess.

    p50_us, p95_us: from asking for it to having it all, for which the engine is busy. lead_*: from asking for it to the
    moment from which it can be shown without running dry: less where its first frames come before its last.
    """

    p50_us: int
    p95_us: int
    lead_p50_us: int
    lead_p95_us: int
    measured: bool

    def scaled(self, factor: float) -> Cost:
        """A guess from this one."""
        return Cost(
            p50_us=int(self.p50_us * factor),
            p95_us=int(self.p95_us * factor),
            lead_p50_us=int(self.lead_p50_us * factor),
            lead_p95_us=int(self.lead_p95_us * factor),
            measured=False,
        )


@dataclass(slots=True)
class _Samples:
    window: RollingWindow
    leads: RollingWindow
    warmup_us: tuple[float, float] | None = None  # cost and lead
    known: Cost | None = None
    known_until_us: int = 0


class CostEstimator:
    """Running p50 and p95 of chunk cost for every rung and chunk length.

    The first chunk after `restart` pays for allocation and caches; it counts only until a second one is known.
    """

    def __init__(self, config: CostConfig | None = None) -> None:
        self._config = config or CostConfig()
        self._samples: dict[tuple[str, int, int], _Samples] = {}  # by rung, frames, and how many chunks at once
        self._cold = True

    def restart(self) -> None:
        """The engine process was replaced: the next chunk is a warm-up again."""
        self._cold = True

    def observe(
        self, now_us: int, plan: Plan, cost_us: float, lead_us: float | None = None, *, together: int = 1
    ) -> None:
        """A chunk was made. lead_us: None where its frames all came at once. together: how many were, for cost_us."""
        lead_us = cost_us if lead_us is None else lead_us
        key = (plan.rung, plan.frames, together)
        samples = self._samples.get(key)
        if samples is None:
            window, leads = (
                RollingWindow(capacity=self._config.samples, keep_us=self._config.keep_us) for _ in range(2)
            )
            samples = self._samples[key] = _Samples(window=window, leads=leads)
        if self._cold:
            self._cold = False
            samples.warmup_us = cost_us, lead_us
        else:
            samples.warmup_us = None
            samples.window.add(now_us, cost_us)
            samples.leads.add(now_us, lead_us)
        samples.known = None

    def cost(self, now_us: int, plan: Plan) -> Cost:
        """What `plan` costs: measured, else from other lengths of its rung, else the prior."""
        prior_us = self._config.prior_us
        return self.known_cost(now_us, plan) or Cost(
            p50_us=prior_us, p95_us=prior_us, lead_p50_us=prior_us, lead_p95_us=prior_us, measured=False
        )

    def batch_cost(self, now_us: int, plan: Plan, together: int) -> Cost | None:
        """What so many chunks of `plan` cost at once; None while that was not measured."""
        return self._measured(now_us, plan.rung, plan.frames, together)

    def known_cost(self, now_us: int, plan: Plan) -> Cost | None:
        """What `plan` costs as far as chunks of its rung have been made; None while none has."""
        own = self._measured(now_us, plan.rung, plan.frames)
        if own is not None:
            return own
        others = [
            (frames, cost)
            for rung, frames, together in sorted(self._samples, key=lambda key: abs(key[1] - plan.frames))
            if (rung, together) == (plan.rung, 1) and (cost := self._measured(now_us, rung, frames)) is not None
        ]
        if not others:
            return None
        frames, nearest = others[0]
        fixed = self._config.fixed_share
        if len(others) > 1:
            # A straight line through the two nearest lengths; where it would say that a longer chunk costs less, or
            # that nothing is fixed, the medians were disturbed: cost is then taken as proportional, or as constant.
            far_frames, far = others[1]
            per_frame = (far.p50_us - nearest.p50_us) / (far_frames - frames)
            fixed = min(1.0, max(0.0, 1.0 - per_frame * frames / max(1, nearest.p50_us)))
        return nearest.scaled(fixed + (1.0 - fixed) * plan.frames / frames)

    def _measured(self, now_us: int, rung: str, frames: int, together: int = 1) -> Cost | None:
        samples = self._samples.get((rung, frames, together))
        if samples is None:
            return None
        if samples.known is None or now_us > samples.known_until_us:
            samples.known = self._percentiles(samples, now_us)
            oldest_us = samples.window.oldest_us
            samples.known_until_us = now_us if oldest_us is None else oldest_us + self._config.keep_us
        return samples.known

    @staticmethod
    def _percentiles(samples: _Samples, now_us: int) -> Cost | None:
        found = samples.window.percentiles(now_us, (0.5, 0.95))
        leads = samples.leads.percentiles(now_us, (0.5, 0.95))
        if found is None or leads is None:
            if samples.warmup_us is None:
                return None
            cost_us, lead_us = samples.warmup_us
            found, leads = (cost_us, cost_us), (lead_us, lead_us)
        return Cost(
            p50_us=int(found[0]),
            p95_us=int(found[1]),
            lead_p50_us=int(leads[0]),
            lead_p95_us=int(leads[1]),
            measured=True,
        )
