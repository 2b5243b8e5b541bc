"""Who gets the engine next, when, and for what: joins cost, margin, ladder, fair shares and re-planning.

The decisions are `edf.py`'s, `quality_ladder.py`'s and `replanning.py`'s; here is what they have in common and what
happened so far. Times come from the caller: the server and the simulation drive the same object.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bridge.engine.interface import EngineInfo
from bridge.errors import ConfigError
from bridge.scheduling.cost_model import CostEstimator
from bridge.scheduling.edf import Pace, Playhead, Scheduler, SchedulerConfig, Start
from bridge.scheduling.in_flight_chunk import Asked, Delivered
from bridge.scheduling.quality_ladder import Ladder, LadderConfig
from bridge.scheduling.replanning import Allowance, ReplanConfig
from bridge.scheduling.start_margin import Cause, Margin, MarginConfig
from bridge.service.render_session import Player

REPROJECT = "reproject"
"""The rung below the engine's: nothing is made but a chunk now and then, to find out whether more would go."""

_USAGE_US = 3_000_000  # over which a session's share of the engine is taken
_PROBE_US = 15_000_000
_LADDER_EVERY_US = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConductorConfig:
    """fps: of the model's video. quality: "auto", or the name of a rung to stay on. least_fps: network frames a second
    that a session must be able to expect to be let in beside others."""

    fps: float
    quality: str = "auto"
    least_fps: float = 4.0
    ladder: LadderConfig = field(default_factory=LadderConfig)
    margin: MarginConfig = field(default_factory=MarginConfig)
    replan: ReplanConfig = field(default_factory=ReplanConfig)


class Conductor:
    """Not thread-safe. Raises: ConfigError: the engine has no rung called `quality`."""

    def __init__(self, config: ConductorConfig, info: EngineInfo, now_us: int) -> None:
        self._config = config
        self._rungs = info.rungs
        names = [rung.name for rung in info.rungs] + [REPROJECT]
        if config.quality not in ("auto", *names):
            raise ConfigError(f"quality: got {config.quality!r}, expected auto, {', '.join(names)}")
        pinned = None if config.quality == "auto" else names.index(config.quality)
        self.costs = CostEstimator()
        self.margin = Margin(config.margin)
        self.ladder = Ladder(len(info.rungs), config.ladder, pinned=pinned)
        self._scheduler = Scheduler(
            SchedulerConfig(fps=config.fps, frames_per_chunk=info.frames_per_chunk, most_together=info.most_together),
            self.costs,
        )
        self._allowance = Allowance(config.replan, now_us)
        self._used: dict[str, _Usage] = {}
        self._wasted_us: dict[str, int] = {}
        self._frames_in_use = 0
        self._ladder_due_us = now_us
        self._replaced_us = -1
        self._asked_us: dict[str, int] = {}
        self._last_session = ""
        self._made_us = now_us - _PROBE_US

    def next_start(self, now_us: int, players: Mapping[str, Player]) -> Start | None:
        """What an idle engine does next, and when. players: those that want frames, by session. `at_us` in the past or
        present means: now."""
        if not players:
            return None
        sessions = len(players)
        self._climb(now_us, sessions)
        rung = min(self.ladder.rung, len(self._rungs) - 1)
        paces = self._paces(now_us, sessions, rung)
        turning = any(player.is_off for player in players.values())
        pace = self._scheduler.choose(paces, current_frames=self._frames_in_use, turning=turning)
        heads = [
            Playhead(
                session=session,
                buffered_until_us=player.store.buffered_until_us,
                used_share=self._share(session, now_us),
            )
            for session, player in players.items()
        ]
        start = self._scheduler.next_start(now_us, heads, pace, margin_us=self.margin.us)
        assert start is not None, "there are heads"
        if self.ladder.rung == len(self._rungs):
            probe_us = self._made_us + _PROBE_US
            delay_us = max(0, probe_us - start.at_us)
            return replace(start, at_us=start.at_us + delay_us, display_us=start.display_us + delay_us, beside=())
        if start.at_us > now_us:
            return self._replanned(now_us, players, heads, pace) or start
        return start

    def begun(self, now_us: int, asked: Asked) -> None:
        """The engine has begun `asked.start`."""
        session, start = asked.start.session, asked.start
        self._asked_us[session] = now_us
        self._last_session = session
        self._frames_in_use = start.plan.frames
        self._allowance.spend(now_us, start.waste_us)
        self._waste(session, start.waste_us)

    def cause(self, start: Start) -> Cause:
        """What a gap before this chunk would be blamed on."""
        if self._replaced_us > self._asked_us.get(start.session, self._replaced_us):
            return Cause.ENGINE
        if start.late_us == 0:
            return Cause.OVERRUN
        return Cause.CROWDED if self._last_session not in ("", start.session) else Cause.TOO_SLOW

    def made(self, now_us: int, asked: Asked, delivered: Delivered) -> None:
        """The chunk of `asked` is there."""
        cost_us = now_us - asked.asked_us
        session = asked.start.session
        self.costs.observe(now_us, asked.plan, cost_us, delivered.lead_us, together=asked.start.together)
        own_us = cost_us // asked.start.together
        self._used.setdefault(session, _Usage()).add(now_us, own_us)
        self._made_us = now_us
        just_in_time = asked.start.late_us == 0 and asked.start.cut_us is None and asked.start.measured
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
        paces = self._paces(now_us, sessions + 1, cheapest)
        best = max(paces, key=lambda pace: pace.rate_hz)
        if self._last_session == "" or best.rate_hz >= self._config.least_fps:
            return None
        return (
            f"{sessions} sessions are served; with another each would get {best.rate_hz:.1f} frames a second, "
            f"expected at least {self._config.least_fps:g}"
        )

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _paces(self, now_us: int, sessions: int, rung: int) -> list[Pace]:
        """What each length of a rung gives; for a rung nothing was made on, scaled from the one in use."""
        in_use = self._rungs[min(self.ladder.rung, len(self._rungs) - 1)]
        paces = self._scheduler.paces(now_us, sessions, in_use)
        wanted = self._rungs[rung]
        if wanted is in_use:
            return paces
        base = paces[-1].cost.scaled(wanted.cost_share / in_use.cost_share)
        return self._scheduler.paces(now_us, sessions, wanted, base)

    def _climb(self, now_us: int, sessions: int) -> None:
        if now_us < self._ladder_due_us or self.ladder.is_pinned:
            return
        self._ladder_due_us = now_us + _LADDER_EVERY_US
        rates_hz = [max(p.rate_hz for p in self._paces(now_us, sessions, rung)) for rung in range(len(self._rungs))]
        self.ladder.update(now_us, rates_hz)

    def _replanned(self, now_us: int, players: Mapping[str, Player], heads: list[Playhead], pace: Pace) -> Start | None:
        """A chunk that replaces the unplayed end of another, if one is worth it, affordable, and in nobody's way."""
        ready_us = now_us + pace.cost.lead_p50_us
        done_us = now_us + pace.cost.p95_us + self.margin.us
        for session, player in players.items():
            if not player.is_stale or not self._allowance.allows(now_us, urgent=player.is_off):
                continue
            if (cut_us := player.cut_us(now_us, ready_us)) is None:
                continue
            chunk = player.store.newest
            assert chunk is not None, "what is cut was made"
            others = [head for head in heads if head.session != session]
            after = self._scheduler.next_start(now_us, others, pace, margin_us=self.margin.us)
            if after is not None and after.at_us < done_us:
                continue
            shown_us = max(ready_us, cut_us)
            unseen = (chunk.end_us - shown_us) / max(1, chunk.end_us - chunk.start_us)
            skipped = (shown_us - cut_us) / pace.cycle_us
            waste_us = round(unseen * self.costs.cost(now_us, chunk.plan).p50_us + skipped * pace.cost.p50_us)
            return Start(
                session=session,
                at_us=now_us,
                display_us=cut_us,
                frame_us=round(pace.cycle_us / pace.plan.frames),
                plan=pace.plan,
                measured=pace.cost.measured,
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
