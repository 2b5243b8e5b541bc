"""When to start the next chunk, for whom, and how long it shall be.

Just in time: a chunk started late knows more of what the player does, one started too late leaves a gap. Decisions
are pure functions of the times brought along; starting anything is the server's business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bridge.budget import Cost, CostEstimator
from bridge.engine import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerConfig:
    """`margin_us` covers what the p95 cost does not: polling, and the control that must still arrive.

    A chunk length is fast enough when its p95 cost is at most `busy_share` of the time it plays, all sessions
    together.
    """

    fps: float
    frames_per_chunk: tuple[int, ...]
    steps: tuple[int, ...] = (1, 1, 1)
    rung: str = "full"
    margin_us: int = 8_000
    busy_share: float = 0.8


@dataclass(frozen=True, slots=True, kw_only=True)
class Playhead:
    """One session that wants frames. `buffered_until_us`: when those it has run out, None while it has none."""

    session: str
    buffered_until_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The next chunk: made from `at_us` on, its first frame due at `display_us`."""

    session: str
    at_us: int
    display_us: int
    plan: Plan


class Scheduler:
    """Earliest deadline first over one engine that makes one chunk at a time."""

    def __init__(self, config: SchedulerConfig, costs: CostEstimator) -> None:
        self._config = config
        self._costs = costs

    def duration_us(self, plan: Plan) -> int:
        return round(plan.frames * 1e6 / self._config.fps)

    def choose_plan(self, now_us: int, sessions: int) -> Plan:
        """The shortest chunk that the engine keeps up with while it serves `sessions` sessions, else the longest."""
        plans = [
            Plan(frames=frames, steps=self._config.steps, rung=self._config.rung)
            for frames in sorted(self._config.frames_per_chunk)
        ]
        for plan in plans:
            if self._costs.cost(now_us, plan).p95_us * sessions <= self._config.busy_share * self.duration_us(plan):
                return plan
        return plans[-1]

    def next_start(self, now_us: int, playheads: Sequence[Playhead]) -> Start | None:
        """What an idle engine does next, and when: None when nobody wants frames.

        Latest starts are found backwards from the last deadline, so that a session whose deadline is far makes room
        early for one that is near. `at_us` in the past or present means: now.
        """
        if not playheads:
            return None
        plan = self.choose_plan(now_us, len(playheads))
        cost = self._costs.cost(now_us, plan)
        in_order = sorted(playheads, key=lambda head: (_deadline_us(head, now_us), head.session))
        latest_us = _deadline_us(in_order[-1], now_us) - cost.p95_us
        for head in reversed(in_order[:-1]):
            latest_us = min(_deadline_us(head, now_us), latest_us) - cost.p95_us
        at_us = max(latest_us - self._config.margin_us, now_us)
        first = in_order[0]
        return Start(session=first.session, at_us=at_us, display_us=self._display_us(first, at_us, cost), plan=plan)

    @staticmethod
    def _display_us(head: Playhead, at_us: int, cost: Cost) -> int:
        # A chunk that cannot be ready in time is made for the moment when it probably will be: its frames then show
        # where the player is, not where they were when the gap began.
        ready_us = at_us + cost.p50_us
        return ready_us if head.buffered_until_us is None else max(head.buffered_until_us, ready_us)


def _deadline_us(head: Playhead, now_us: int) -> int:
    """A session without frames has waited longest: it goes before everyone whose frames have run out."""
    return head.buffered_until_us if head.buffered_until_us is not None else now_us - 3_600_000_000
