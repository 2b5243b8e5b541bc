"""Decides which session's chunk the engine makes next, when it starts, how long it is, and at what quality.

**Why late.** A chunk shows a predicted camera. The later it starts, the more of the player's controls it knows and the
less it has to predict; if it starts too late, the frames before it run out and the player sees a gap. So a chunk
starts as late as is safe: at its deadline (when the session's buffered frames run out) minus the time until its first
frames can be shown without running dry, at the 95th percentile of what such chunks took (cost_model.py), minus a
margin. The margin follows the machine's jitter: a gap widens it, a chunk in time narrows it a little
(start_margin.py).

**How long.** A long chunk costs less a frame; a short one has younger frames. Of the lengths that give enough frames a
second the one with the youngest frames is taken, and it must be clearly better to replace the length in use (edf.py).

**Who.** With several sessions the earliest deadline goes first, and latest starts are found backwards from the last
deadline, so that a session whose deadline is far makes room in time for one that is near. A session that used more
than its share of the engine's recent time only gets time that nobody else needs. An engine that can make several
sessions' chunks at once does so for those that would have to wait for it anyway.

**At what quality.** While even the best length gives too few frames a second the ladder steps down a rung; it steps up
again with headroom and after a wait (quality_ladder.py). The rung below the last is `reproject`: nothing is made but a
chunk now and then, to find out whether more would go.

**Re-planning.** When nothing is due yet and a session's frames on show are stale or wrong (the player left the
predicted path, or something happened), a chunk may replace the unplayed end of the newest one. That throws engine time
away. A token bucket bounds it: waste flows in at `waste_share` of real time; a frame that is merely old may use half
of the bucket, one that is wrong all of it (replanning.py). A replacement never delays a chunk that is due.

Times come from the caller; the server and the simulation drive the same object. The parts are pure; what happened so
far (costs, shares, the last session) is kept here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from bridge.engine.interface import EngineInfo
from bridge.errors import ConfigError
from bridge.presentation.frame_buffer import StoredChunk
from bridge.scheduling.cost_model import CostEstimator
from bridge.scheduling.edf import EdfConfig, EdfScheduler, Playhead, ScheduledChunk, ThroughputEstimate
from bridge.scheduling.in_flight_chunk import ChunkResult, InFlightChunk
from bridge.scheduling.quality_ladder import QualityLadder, QualityLadderConfig
from bridge.scheduling.replanning import ReplanConfig, ReplanTokenBucket
from bridge.scheduling.start_margin import StartMargin, StartMarginConfig, UnderrunCause

REPROJECT = "reproject"
"""The rung below the engine's: nothing is made but a chunk now and then, to find out whether more would go."""

_USAGE_US = 3_000_000  # over which a session's share of the engine is taken
_PROBE_US = 15_000_000
_LADDER_EVERY_US = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkSchedulerConfig:
    """fps: of the model's video. quality: "auto", or the name of a rung to stay on. least_fps: network frames a second
    that a session must be able to expect to be let in beside others."""

    fps: float
    quality: str = "auto"
    least_fps: float = 4.0
    ladder: QualityLadderConfig = field(default_factory=QualityLadderConfig)
    margin: StartMarginConfig = field(default_factory=StartMarginConfig)
    replan: ReplanConfig = field(default_factory=ReplanConfig)


class SchedulableSession(Protocol):
    """What the scheduler must know of a session that wants frames. `RenderSession` satisfies it."""

    @property
    def buffered_until_us(self) -> int | None:
        """When the last frame's time is over; None while there is no frame."""
        ...

    @property
    def newest_chunk(self) -> StoredChunk | None:
        """The chunk made last."""
        ...

    @property
    def is_off(self) -> bool:
        """Whether what is shown is wrong: the player left the predicted path, or something happened since."""
        ...

    @property
    def is_stale(self) -> bool:
        """Whether what is shown has to be bent to what the player does, or something happened since."""
        ...

    def cut_us(self, now_us: int, ready_us: int) -> int | None:
        """Where to cut what is still to be shown, if new frames at `ready_us` make that worth it; None if not."""
        ...


class ChunkScheduler:
    """Not thread-safe. Raises: ConfigError: the engine has no rung called `quality`."""

    def __init__(self, config: ChunkSchedulerConfig, info: EngineInfo, now_us: int) -> None:
        self._config = config
        self._rungs = info.rungs
        names = [rung.name for rung in info.rungs] + [REPROJECT]
        if config.quality not in ("auto", *names):
            raise ConfigError(f"quality: got {config.quality!r}, expected auto, {', '.join(names)}")
        pinned = None if config.quality == "auto" else names.index(config.quality)
        self.costs = CostEstimator()
        self.margin = StartMargin(config.margin)
        self.ladder = QualityLadder(len(info.rungs), config.ladder, pinned=pinned)
        self._edf = EdfScheduler(
            EdfConfig(fps=config.fps, frames_per_chunk=info.frames_per_chunk, max_batch=info.max_batch),
            self.costs,
        )
        self._replan_tokens = ReplanTokenBucket(config.replan, now_us)
        self._used: dict[str, _Usage] = {}
        self._wasted_us: dict[str, int] = {}
        self._frames_in_use = 0
        self._ladder_due_us = now_us
        self._replaced_us = -1
        self._asked_us: dict[str, int] = {}
        self._last_session = ""
        self._made_us = now_us - _PROBE_US

    def next_start(self, now_us: int, candidates: Mapping[str, SchedulableSession]) -> ScheduledChunk | None:
        """What an idle engine does next, and when.

        Args:
            candidates: the sessions that want frames, by id.

        Returns:
            The next chunk; an `at_us` that is not in the future means now. None when nobody wants frames.
        """
        if not candidates:
            return None
        sessions = len(candidates)
        self._climb(now_us, sessions)
        rung = min(self.ladder.rung, len(self._rungs) - 1)
        estimates = self._paces(now_us, sessions, rung)
        turning = any(candidate.is_off for candidate in candidates.values())
        estimate = self._edf.choose(estimates, current_frames=self._frames_in_use, turning=turning)
        playheads = [
            Playhead(
                session=session,
                buffered_until_us=candidate.buffered_until_us,
                used_share=self._share(session, now_us),
            )
            for session, candidate in candidates.items()
        ]
        start = self._edf.next_start(now_us, playheads, estimate, margin_us=self.margin.us)
        assert start is not None, "there are heads"
        if self.ladder.rung == len(self._rungs):
            probe_us = self._made_us + _PROBE_US
            delay_us = max(0, probe_us - start.at_us)
            return replace(start, at_us=start.at_us + delay_us, display_us=start.display_us + delay_us, beside=())
        if start.at_us > now_us:
            return self._replanned(now_us, candidates, playheads, estimate) or start
        return start

    def begun(self, now_us: int, in_flight: InFlightChunk) -> None:
        """The engine has begun `in_flight.start`."""
        session, start = in_flight.start.session, in_flight.start
        self._asked_us[session] = now_us
        self._last_session = session
        self._frames_in_use = start.plan.frames
        self._replan_tokens.spend(now_us, start.waste_us)
        self._waste(session, start.waste_us)

    def cause(self, start: ScheduledChunk) -> UnderrunCause:
        """The cause to record if there is a gap before this chunk."""
        if self._replaced_us > self._asked_us.get(start.session, self._replaced_us):
            return UnderrunCause.ENGINE
        if start.late_us == 0:
            return UnderrunCause.OVERRUN
        return UnderrunCause.CROWDED if self._last_session not in ("", start.session) else UnderrunCause.TOO_SLOW

    def made(self, now_us: int, in_flight: InFlightChunk, delivered: ChunkResult) -> None:
        """The chunk of `in_flight` is there."""
        cost_us = now_us - in_flight.asked_us
        session = in_flight.start.session
        self.costs.observe(now_us, in_flight.plan, cost_us, delivered.lead_us, together=in_flight.start.together)
        own_us = cost_us // in_flight.start.together
        self._used.setdefault(session, _Usage()).add(now_us, own_us)
        self._made_us = now_us
        just_in_time = in_flight.start.late_us == 0 and in_flight.start.cut_us is None and in_flight.start.measured
        if delivered.underrun is not None and just_in_time:
            self.margin.settle(missed=delivered.underrun)
        if not delivered.useful:
            self._waste(session, own_us)

    def replaced(self, now_us: int) -> None:
        """A fresh engine process is ready."""
        self.costs.restart()
        self._replaced_us = now_us

    def forget(self, session: str) -> None:
        self._used.pop(session, None)
        self._wasted_us.pop(session, None)
        self._asked_us.pop(session, None)

    def wasted_us(self, session: str) -> int:
        """Engine time that went into this session's frames that were never shown."""
        return self._wasted_us.get(session, 0)

    def refusal(self, now_us: int, sessions: int) -> str | None:
        """Why another session beside `sessions` playing ones cannot be served, by what chunks cost; None if it can."""
        if sessions == 0:
            return None
        cheapest = self.ladder.rung if self.ladder.is_pinned else len(self._rungs) - 1
        if cheapest == len(self._rungs):
            return None
        estimates = self._paces(now_us, sessions + 1, cheapest)
        best = max(estimates, key=lambda estimate: estimate.rate_hz)
        if self._last_session == "" or best.rate_hz >= self._config.least_fps:
            return None
        return (
            f"{sessions} sessions are served; with another each would get {best.rate_hz:.1f} frames a second, "
            f"expected at least {self._config.least_fps:g}"
        )

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _paces(self, now_us: int, sessions: int, rung: int) -> list[ThroughputEstimate]:
        """What each length of a rung gives; for a rung nothing was made on, scaled from the one in use."""
        in_use = self._rungs[min(self.ladder.rung, len(self._rungs) - 1)]
        estimates = self._edf.estimates(now_us, sessions, in_use)
        wanted = self._rungs[rung]
        if wanted is in_use:
            return estimates
        base = estimates[-1].cost.scaled(wanted.cost_share / in_use.cost_share)
        return self._edf.estimates(now_us, sessions, wanted, base)

    def _climb(self, now_us: int, sessions: int) -> None:
        if now_us < self._ladder_due_us or self.ladder.is_pinned:
            return
        self._ladder_due_us = now_us + _LADDER_EVERY_US
        rates_hz = [max(p.rate_hz for p in self._paces(now_us, sessions, rung)) for rung in range(len(self._rungs))]
        self.ladder.update(now_us, rates_hz)

    def _replanned(
        self,
        now_us: int,
        candidates: Mapping[str, SchedulableSession],
        playheads: list[Playhead],
        estimate: ThroughputEstimate,
    ) -> ScheduledChunk | None:
        """A chunk that replaces the unplayed end of another, if one is worth it, affordable, and in nobody's way."""
        ready_us = now_us + estimate.cost.lead_p50_us
        done_us = now_us + estimate.cost.p95_us + self.margin.us
        for session, candidate in candidates.items():
            if not candidate.is_stale or not self._replan_tokens.allows(now_us, urgent=candidate.is_off):
                continue
            if (cut_us := candidate.cut_us(now_us, ready_us)) is None:
                continue
            chunk = candidate.newest_chunk
            assert chunk is not None, "what is cut was made"
            others = [head for head in playheads if head.session != session]
            after = self._edf.next_start(now_us, others, estimate, margin_us=self.margin.us)
            if after is not None and after.at_us < done_us:
                continue
            shown_us = max(ready_us, cut_us)
            unseen = (chunk.end_us - shown_us) / max(1, chunk.end_us - chunk.start_us)
            skipped = (shown_us - cut_us) / estimate.cycle_us
            waste_us = round(unseen * self.costs.cost(now_us, chunk.plan).p50_us + skipped * estimate.cost.p50_us)
            return ScheduledChunk(
                session=session,
                at_us=now_us,
                display_us=cut_us,
                frame_us=round(estimate.cycle_us / estimate.plan.frames),
                plan=estimate.plan,
                measured=estimate.cost.measured,
                cut_us=cut_us,
                waste_us=waste_us,
            )
        return None

    def _waste(self, session: str, waste_us: int) -> None:
        self._wasted_us[session] = self._wasted_us.get(session, 0) + waste_us

    def _share(self, session: str, now_us: int) -> float:
        used = self._used.get(session)
        return 0.0 if used is None else used.share(now_us)


class _Usage:
    """A session's share of the engine's recent time; older time counts exponentially less."""

    def __init__(self) -> None:
        self._busy_us = 0.0
        self._at_us = 0

    def add(self, now_us: int, busy_us: int) -> None:
        self._busy_us = self._decayed(now_us) + busy_us
        self._at_us = now_us

    def share(self, now_us: int) -> float:
        return self._decayed(now_us) / _USAGE_US

    def _decayed(self, now_us: int) -> float:
        return self._busy_us * math.exp((self._at_us - now_us) / _USAGE_US)
