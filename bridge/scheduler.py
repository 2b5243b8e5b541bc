"""When to start the next chunk, for whom, and how long it shall be.

Just in time: a chunk started late knows more of what the player does, one started too late leaves a gap. Decisions
are pure functions of the times brought along; starting anything is the server's business, and who remembers what was
decided is `conductor.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.budget import Cost, CostEstimator
from bridge.engine import FULL, Plan, Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """`margin_us` covers what the p95 cost does not, unless the caller brings a better one.

    Of the chunk lengths that give at least `least_rate_share` of the frames a second that the best one gives, the one
    with the youngest frames is taken; `turning_rate_share` while the player leaves the predicted path, when young
    frames matter more. Another length is taken only when its frames are younger by `worth_changing`. A session that
    had more than `fair_excess` times its share of the engine's recent time waits for the others; one without frames,
    which otherwise goes before all, from `new_excess` times its share on: else a camera that keeps jumping, which makes
    every chunk useless, would always go first.
    """

    fps: float
    frames_per_chunk: tuple[int, ...]
    margin_us: int = 8_000
    least_rate_share: float = 0.65
    turning_rate_share: float = 0.5
    worth_changing: float = 0.1
    fair_excess: float = 1.1
    new_excess: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Playhead:
    """One session that wants frames. `buffered_until_us`: when those it has run out, None while it has none.

    used_share: of the engine's recent time, 0..1.
    """

    session: str
    buffered_until_us: int | None
    used_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a chunk length gives one of several sessions.

    cycle_us: from chunk to chunk, at least what the chunk plays. age_us: how old what is shown is, on the average.
    """

    plan: Plan
    cost: Cost
    cycle_us: int
    age_us: int

    @property
    def rate_hz(self) -> float:
        """Network frames a second."""
        return self.plan.frames * 1e6 / self.cycle_us


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The next chunk: made from `at_us` on, its first frame due at `display_us`, the others `frame_us` apart.

    late_us: how much after the latest safe moment `at_us` is, 0 when it is in time: what a gap is blamed on.
    measured: its cost was known, not guessed. cut_us: the unplayed frames from this moment on are thrown away for it;
    None keeps all.
    """

    session: str
    at_us: int
    display_us: int
    frame_us: int
    plan: Plan
    late_us: int = 0
    measured: bool = True
    cut_us: int | None = None


class Scheduler:
    """Earliest deadline first over one engine that makes one chunk at a time."""

    def __init__(self, config: SchedulerConfig, costs: CostEstimator) -> None:
        self._config = config
        self._costs = costs

    def duration_us(self, plan: Plan) -> int:
        return round(plan.frames * 1e6 / self._config.fps)

    def paces(self, now_us: int, sessions: int, rung: Rung = FULL, base: Cost | None = None) -> list[Pace]:
        """What every chunk length gives, shortest first. base: the longest's cost, while none of the rung was made."""
        lengths = sorted(self._config.frames_per_chunk)
        paces = []
        for frames in lengths:
            plan = Plan(frames=frames, steps=rung.steps, rung=rung.name)
            cost = self._costs.known_cost(now_us, plan)
            if cost is None:
                cost = self._costs.cost(now_us, plan) if base is None else base.scaled(frames / lengths[-1])
            cycle_us = max(self.duration_us(plan), cost.p50_us * sessions, 1)
            paces.append(Pace(plan=plan, cost=cost, cycle_us=cycle_us, age_us=cost.lead_p50_us + cycle_us // 2))
        return paces

    def choose(self, paces: Sequence[Pace], *, current_frames: int = 0, turning: bool = False) -> Pace:
        """The pace with the youngest frames among those with enough of them. current_frames: the length in use."""
        share = self._config.turning_rate_share if turning else self._config.least_rate_share
        least_hz = share * max(pace.rate_hz for pace in paces)
        enough = [pace for pace in paces if pace.rate_hz >= least_hz]
        best = min(enough, key=lambda pace: pace.age_us)
        # The length in use has a little room below the least rate, so that two lengths do not take turns.
        current = next((pace for pace in paces if pace.plan.frames == current_frames), None)
        keeps = current is not None and current.rate_hz >= (1.0 - self._config.worth_changing) * least_hz
        if current is not None and keeps and best.age_us > (1.0 - self._config.worth_changing) * current.age_us:
            return current
        return best

    def next_start(
        self, now_us: int, playheads: Sequence[Playhead], pace: Pace, *, margin_us: int | None = None
    ) -> Start | None:
        """What an idle engine does next, and when: None when nobody wants frames.

        Latest starts are found backwards from the last deadline, so that a session whose deadline is far makes room
        early for one that is near. `at_us` in the past or present means: now.
        """
        if not playheads:
            return None
        margin_us = self._config.margin_us if margin_us is None else margin_us
        fair = [head for head in playheads if self._is_fair(head, len(playheads))]
        greedy = [head for head in playheads if head not in fair]
        first, latest_us = self._latest_start(now_us, fair or greedy, pace.cost)
        if fair and greedy:
            # Who had more than its share goes only into time that nobody else needs.
            guest, guest_latest_us = self._latest_start(now_us, greedy, pace.cost)
            begins_us = max(guest_latest_us - margin_us, now_us)
            if begins_us + pace.cost.p95_us + margin_us <= latest_us - margin_us:  # the engine is free again by then
                first, latest_us = guest, guest_latest_us
        at_us = max(latest_us - margin_us, now_us)
        # A chunk that cannot be ready in time is made for the moment when it probably will be: its frames then show
        # where the player is, not where they were when the gap began.
        ready_us = at_us + pace.cost.lead_p50_us
        until_us = first.buffered_until_us
        return Start(
            session=first.session,
            at_us=at_us,
            display_us=ready_us if until_us is None else max(until_us, ready_us),
            frame_us=round(pace.cycle_us / pace.plan.frames),
            plan=pace.plan,
            late_us=0 if until_us is None else max(0, at_us - latest_us),
            measured=pace.cost.measured,
        )

    def _is_fair(self, head: Playhead, heads: int) -> bool:
        excess = self._config.new_excess if head.buffered_until_us is None else self._config.fair_excess
        return heads == 1 or head.used_share <= excess / heads

    @staticmethod
    def _latest_start(now_us: int, heads: Sequence[Playhead], cost: Cost) -> tuple[Playhead, int]:
        """Who goes first, and the latest moment at which all can still be served in turn."""
        in_order = sorted(heads, key=lambda head: (_deadline_us(head, now_us), head.session))
        latest_us = _deadline_us(in_order[-1], now_us) - cost.lead_p95_us
        for head in reversed(in_order[:-1]):
            latest_us = min(_deadline_us(head, now_us) - cost.lead_p95_us, latest_us - cost.p95_us)
        return in_order[0], latest_us


def _deadline_us(head: Playhead, now_us: int) -> int:
    """A session without frames has waited longest: it goes before everyone whose frames have run out."""
    return head.buffered_until_us if head.buffered_until_us is not None else now_us - 3_600_000_000
