"""Earliest deadline first: when to start the next chunk, for which session, and how long it is.

A chunk that starts late knows more of what the player does; one that starts too late leaves a gap. Pure functions of
the times given; chunk_scheduler.py remembers what was decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bridge.engine.interface import FULL, Plan, Rung
from bridge.scheduling.cost_model import Cost, CostEstimator


@dataclass(frozen=True, slots=True, kw_only=True)
class EdfConfig:
    """Settings of `EdfScheduler`.

    Attributes:
        fps: of the model's video.
        frames_per_chunk: the chunk lengths that the engine offers.
        margin_us: how much earlier than the p95 cost says a chunk starts, unless the caller brings a better margin.
        least_rate_share: of the frames a second that the best length gives; lengths that give less are not considered.
            Of the others the one with the youngest frames is taken.
        turning_rate_share: the same while the player leaves the predicted path, when young frames matter more.
        worth_changing: by what share another length's frames must be younger to be taken.
        fair_excess: a session that had more than this times its share of the engine's recent time waits for the others.
        new_excess: the same for a session without frames, which otherwise goes first. Without this limit a camera that
            keeps jumping, which makes every chunk useless, would always go first.
        max_batch: of how many sessions the engine can make chunks at once.
        hoped_share: the assumed cost of two chunks at once, in terms of two in turn, until it was measured.
        catch_up: a session that is taken along before its frames have run out gets them up to this share faster than
            the video's rate, until it runs out of frames with the others.
    """

    fps: float
    frames_per_chunk: tuple[int, ...]
    margin_us: int = 8_000
    least_rate_share: float = 0.65
    turning_rate_share: float = 0.5
    worth_changing: float = 0.1
    fair_excess: float = 1.1
    new_excess: float = 0.5
    max_batch: int = 1
    hoped_share: float = 0.5
    catch_up: float = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Playhead:
    """One session that wants frames.

    Attributes:
        buffered_until_us: when its frames run out; None while it has none.
        used_share: of the engine's recent time, 0 to 1.
    """

    session: str
    buffered_until_us: int | None
    used_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ThroughputEstimate:
    """What a chunk length gives one of several sessions.

    Attributes:
        cycle_us: from chunk to chunk; at least the time that the chunk plays.
        age_us: the mean age of the frames on show.
        together: of how many sessions chunks are made at once, for `cost`.
        alone: the cost of one session's chunk.
    """

    plan: Plan
    cost: Cost
    cycle_us: int
    age_us: int
    together: int
    alone: Cost

    @property
    def rate_hz(self) -> float:
        """Network frames a second."""
        return self.plan.frames * 1e6 / self.cycle_us


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledChunk:
    """A planned chunk.

    Attributes:
        at_us: when the engine starts it.
        display_us: when its first frame is due; the others follow `frame_us` apart.
        late_us: how much after the latest safe moment `at_us` is; 0 when it is in time.
        measured: its cost is known, not guessed.
        cut_us: the unplayed frames from this moment on are thrown away for it; None keeps all.
        waste_us: the engine time that this throws away.
        beside: other sessions' chunks that are made at once with it.
        together: how many chunks that makes.
    """

    session: str
    at_us: int
    display_us: int
    frame_us: int
    plan: Plan
    late_us: int = 0
    measured: bool = True
    cut_us: int | None = None
    waste_us: int = 0
    beside: tuple[ScheduledChunk, ...] = ()
    together: int = 1


@dataclass(frozen=True, slots=True)
class _Turn:
    """The sessions whose chunks are made next, their latest start, and what that costs."""

    playheads: tuple[Playhead, ...]
    latest_us: int
    cost: Cost


class EdfScheduler:
    """Earliest deadline first over one engine that makes one chunk at a time."""

    def __init__(self, config: EdfConfig, costs: CostEstimator) -> None:
        self._config = config
        self._costs = costs

    def duration_us(self, plan: Plan) -> int:
        return round(plan.frames * 1e6 / self._config.fps)

    def estimates(
        self, now_us: int, sessions: int, rung: Rung = FULL, base: Cost | None = None
    ) -> list[ThroughputEstimate]:
        """What every chunk length gives, shortest first. base: the longest's cost, while none of the rung was made."""
        lengths = sorted(self._config.frames_per_chunk)
        estimates = []
        for frames in lengths:
            plan = Plan(frames=frames, steps=rung.steps, rung=rung.name)
            cost = self._costs.known_cost(now_us, plan)
            if cost is None:
                cost = self._costs.cost(now_us, plan) if base is None else base.scaled(frames / lengths[-1])
            best = self._pace(plan, sessions, 1, cost, alone=cost)
            beside = 2 * self._config.hoped_share - 1  # that each chunk beside the first costs, in shares of it
            # What several cost says little where it is not known what one does.
            for size in range(2, min(sessions, self._config.max_batch) + 1) if cost.measured else ():
                known = self._costs.batch_cost(now_us, plan, size)
                if known is not None:
                    beside = max(0.0, known.p50_us / max(1, cost.p50_us) - 1) / (size - 1)
                hoped = known or cost.scaled(1 + (size - 1) * beside)
                estimate = self._pace(plan, sessions, size, hoped, alone=cost)
                if estimate.age_us < best.age_us:
                    best = replace(estimate, cost=known or cost.scaled(size))
            estimates.append(best)
        return estimates

    def _pace(self, plan: Plan, sessions: int, together: int, cost: Cost, *, alone: Cost) -> ThroughputEstimate:
        cycle_us = max(self.duration_us(plan), -(-sessions // together) * cost.p50_us, 1)
        age_us = cost.lead_p50_us + cycle_us // 2
        return ThroughputEstimate(
            plan=plan, cost=cost, cycle_us=cycle_us, age_us=age_us, together=together, alone=alone
        )

    def choose(
        self, estimates: Sequence[ThroughputEstimate], *, current_frames: int = 0, turning: bool = False
    ) -> ThroughputEstimate:
        """The pace with the youngest frames among those with enough of them. current_frames: the length in use."""
        share = self._config.turning_rate_share if turning else self._config.least_rate_share
        least_hz = share * max(estimate.rate_hz for estimate in estimates)
        enough = [estimate for estimate in estimates if estimate.rate_hz >= least_hz]
        best = min(enough, key=lambda estimate: estimate.age_us)
        # The length in use has a little room below the least rate, so that two lengths do not take turns.
        current = next((estimate for estimate in estimates if estimate.plan.frames == current_frames), None)
        keeps = current is not None and current.rate_hz >= (1.0 - self._config.worth_changing) * least_hz
        if current is not None and keeps and best.age_us > (1.0 - self._config.worth_changing) * current.age_us:
            return current
        return best

    def next_start(
        self, now_us: int, playheads: Sequence[Playhead], estimate: ThroughputEstimate, *, margin_us: int | None = None
    ) -> ScheduledChunk | None:
        """What an idle engine does next, and when: None when nobody wants frames.

        Latest starts are found backwards from the last deadline, so that a session whose deadline is far makes room
        early for one that is near. At a pace of several sessions together, those are taken along who would have to wait
        for the engine in any case: their frames run out before it is free again. `at_us` in the past or present means:
        now.
        """
        if not playheads:
            return None
        margin_us = self._config.margin_us if margin_us is None else margin_us
        fair = [head for head in playheads if self._is_fair(head, len(playheads))]
        greedy = [head for head in playheads if head not in fair]
        turn = self._turn(now_us, fair or greedy, estimate)
        if fair and greedy:
            # Who had more than its share goes only into time that nobody else needs.
            guests = self._turn(now_us, greedy, estimate)
            begins_us = max(guests.latest_us - margin_us, now_us)
            if begins_us + guests.cost.p95_us + margin_us <= turn.latest_us - margin_us:  # the engine is free by then
                turn = guests
        at_us = max(turn.latest_us - margin_us, now_us)
        first, *others = (self._start(head, turn, at_us, estimate) for head in turn.playheads)
        end_us = first.display_us + estimate.cycle_us
        return replace(first, beside=tuple(self._caught_up(other, end_us) for other in others))

    def _caught_up(self, start: ScheduledChunk, end_us: int) -> ScheduledChunk:
        """`start`, made beside one whose frames run out at `end_us`, with frames that run out nearer to that: else they
        would be made as early again the next time, and be as old on show."""
        frame_us = (end_us - start.display_us) / start.plan.frames
        least_us = (1.0 - self._config.catch_up) * 1e6 / self._config.fps
        return replace(start, frame_us=round(min(max(frame_us, least_us), start.frame_us)))

    @staticmethod
    def _start(head: Playhead, turn: _Turn, at_us: int, estimate: ThroughputEstimate) -> ScheduledChunk:
        # A chunk that cannot be ready in time is made for the moment when it probably will be: its frames then show
        # where the player is, not where they were when the gap began.
        ready_us = at_us + turn.cost.lead_p50_us
        until_us = head.buffered_until_us
        return ScheduledChunk(
            session=head.session,
            at_us=at_us,
            display_us=ready_us if until_us is None else max(until_us, ready_us),
            frame_us=round(estimate.cycle_us / estimate.plan.frames),
            plan=estimate.plan,
            late_us=0 if until_us is None else max(0, at_us - turn.latest_us),
            measured=turn.cost.measured,
            together=len(turn.playheads),
        )

    def _is_fair(self, head: Playhead, playheads: int) -> bool:
        excess = self._config.new_excess if head.buffered_until_us is None else self._config.fair_excess
        return playheads == 1 or head.used_share <= excess / playheads

    def _turn(self, now_us: int, playheads: Sequence[Playhead], estimate: ThroughputEstimate) -> _Turn:
        """Who goes first, alone or with those after it, and the latest moment at which all can still be served."""
        in_order = sorted(playheads, key=lambda head: (_deadline_us(head, now_us), head.session))
        deadlines_us = [_deadline_us(head, now_us) for head in in_order]
        ready_us = max(
            deadlines_us[0], now_us + estimate.cost.lead_p95_us
        )  # behind its deadline where the engine is late
        waits_until_us = ready_us + estimate.alone.p50_us
        size = sum(deadline_us < waits_until_us for deadline_us in deadlines_us[: estimate.together])
        cost = estimate.cost if size == estimate.together else self._cost(now_us, estimate, size)
        after_us: int | None = None  # the latest start of those who come after, one after another
        for deadline_us in reversed(deadlines_us[size:]):
            after_us = _latest_us(deadline_us, estimate.alone, after_us)
        return _Turn(tuple(in_order[:size]), _latest_us(deadlines_us[0], cost, after_us), cost)

    def _cost(self, now_us: int, estimate: ThroughputEstimate, size: int) -> Cost:
        if size == 1:
            return estimate.alone
        return self._costs.batch_cost(now_us, estimate.plan, size) or estimate.alone.scaled(size)


def _latest_us(deadline_us: int, cost: Cost, after_us: int | None) -> int:
    """The latest start of what must be on show at `deadline_us`, the engine being free again for what starts then."""
    own_us = deadline_us - cost.lead_p95_us
    return own_us if after_us is None else min(own_us, after_us - cost.p95_us)


def _deadline_us(head: Playhead, now_us: int) -> int:
    """A session without frames has waited longest: it goes before everyone whose frames have run out."""
    return head.buffered_until_us if head.buffered_until_us is not None else now_us - 3_600_000_000
