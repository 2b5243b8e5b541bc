"""When chunks start: as late as is safe, the nearest deadline first."""

from __future__ import annotations

from bridge.budget import CostEstimator
from bridge.engine import Plan
from bridge.scheduler import Playhead, Scheduler, SchedulerConfig

MS = 1000
CONFIG = SchedulerConfig(fps=25.0, frames_per_chunk=(5, 10), margin_us=10 * MS)


def scheduler(**cost_ms: float) -> Scheduler:
    """Costs by length: f5=..., f10=... milliseconds."""
    costs = CostEstimator()
    for name, value in cost_ms.items():
        for _ in range(3):
            costs.observe(0, Plan(frames=int(name[1:]), steps=(1, 1, 1), rung="full"), value * MS)
    return Scheduler(CONFIG, costs)


def test_nobody_wants_frames() -> None:
    assert scheduler(f5=10).next_start(0, []) is None


def test_a_new_session_starts_at_once_for_when_its_chunk_is_ready() -> None:
    start = scheduler(f5=100).next_start(5 * MS, [Playhead(session="a", buffered_until_us=None)])
    assert start is not None
    assert (start.at_us, start.display_us, start.plan.frames) == (5 * MS, 105 * MS, 5)


def test_a_buffered_session_starts_as_late_as_cost_and_margin_allow() -> None:
    start = scheduler(f5=100).next_start(0, [Playhead(session="a", buffered_until_us=200 * MS)])
    assert start is not None
    assert (start.at_us, start.display_us) == (90 * MS, 200 * MS)


def test_a_late_chunk_is_made_for_when_it_is_ready() -> None:
    start = scheduler(f5=100).next_start(150 * MS, [Playhead(session="a", buffered_until_us=200 * MS)])
    assert start is not None
    assert (start.at_us, start.display_us) == (150 * MS, 250 * MS)


def test_the_shortest_length_that_keeps_up_is_chosen() -> None:
    assert scheduler(f5=160, f10=170).choose_plan(0, sessions=1).frames == 5  # 160 of 200 ms are 80 %
    assert scheduler(f5=161, f10=170).choose_plan(0, sessions=1).frames == 10
    assert scheduler(f5=161, f10=900).choose_plan(0, sessions=1).frames == 10
    assert scheduler(f5=100, f10=150).choose_plan(0, sessions=2).frames == 10


def test_the_nearest_deadline_goes_first_and_far_ones_make_room() -> None:
    pair = [
        Playhead(session="far", buffered_until_us=320 * MS),
        Playhead(session="near", buffered_until_us=300 * MS),
    ]
    start = scheduler(f5=60).next_start(0, pair)
    assert start is not None
    # Far must start at 320 - 60 = 260, so near must be done by 260 and start at 200, less the margin.
    assert (start.session, start.at_us, start.display_us) == ("near", 190 * MS, 300 * MS)


def test_a_session_without_frames_goes_before_overdue_ones() -> None:
    heads = [Playhead(session="overdue", buffered_until_us=0), Playhead(session="new", buffered_until_us=None)]
    start = scheduler(f5=60).next_start(1000 * MS, heads)
    assert start is not None
    assert (start.session, start.at_us) == ("new", 1000 * MS)


def test_just_in_time_never_leaves_a_gap_when_costs_hold() -> None:
    plans = scheduler(f5=120)
    now_us, buffered_us = 0, 200 * MS
    for _ in range(50):
        start = plans.next_start(now_us, [Playhead(session="a", buffered_until_us=buffered_us)])
        assert start is not None
        assert start.display_us == buffered_us
        now_us = start.at_us + 120 * MS
        assert now_us <= buffered_us
        buffered_us = start.display_us + plans.duration_us(start.plan)
