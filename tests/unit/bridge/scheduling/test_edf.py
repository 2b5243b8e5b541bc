"""When chunks start: as late as is safe, the nearest deadline first."""

from __future__ import annotations

from dataclasses import replace

from bridge.engine.interface import Plan
from bridge.scheduling.cost_model import CostEstimator
from bridge.scheduling.edf import EdfConfig, EdfScheduler, Playhead, ScheduledChunk, ThroughputEstimate

MS = 1000
CONFIG = EdfConfig(fps=25.0, frames_per_chunk=(5, 10), margin_us=10 * MS)


def scheduler(**cost_ms: float) -> EdfScheduler:
    """Costs by length: f5=..., f10=... milliseconds."""
    costs = CostEstimator()
    for name, value in cost_ms.items():
        for _ in range(3):
            costs.observe(0, Plan(frames=int(name[1:]), steps=(1, 1, 1), rung="full"), value * MS)
    return EdfScheduler(CONFIG, costs)


def next_start(plans: EdfScheduler, now_us: int, playheads: list[Playhead]) -> ScheduledChunk | None:
    """The next chunk, of 5 frames."""
    return plans.next_start(now_us, playheads, plans.estimates(now_us, max(1, len(playheads)))[0])


def length(plans: EdfScheduler, *, sessions: int = 1, current: int = 0, turning: bool = False) -> int:
    return plans.choose(plans.estimates(0, sessions), current_frames=current, turning=turning).plan.frames


def test_nobody_wants_frames() -> None:
    assert next_start(scheduler(f5=10), 0, []) is None


def test_a_new_session_starts_at_once_for_when_its_chunk_is_ready() -> None:
    start = next_start(scheduler(f5=100), 5 * MS, [Playhead(session="a", buffered_until_us=None)])
    assert start is not None
    assert (start.at_us, start.display_us, start.plan.frames) == (5 * MS, 105 * MS, 5)


def test_a_buffered_session_starts_as_late_as_cost_and_margin_allow() -> None:
    start = next_start(scheduler(f5=100), 0, [Playhead(session="a", buffered_until_us=200 * MS)])
    assert start is not None
    assert (start.at_us, start.display_us) == (90 * MS, 200 * MS)


def streaming(**ms: tuple[float, float]) -> EdfScheduler:
    """Costs and leads by length, in milliseconds."""
    costs = CostEstimator()
    for name, (cost, lead) in ms.items():
        for _ in range(3):
            costs.observe(0, Plan(frames=int(name[1:]), steps=(1, 1, 1), rung="full"), cost * MS, lead * MS)
    return EdfScheduler(CONFIG, costs)


def test_a_chunk_whose_first_frames_come_early_starts_later() -> None:
    plans = streaming(f5=(100, 40))
    start = next_start(plans, 0, [Playhead(session="a", buffered_until_us=200 * MS)])
    assert start is not None
    assert (start.at_us, start.display_us) == (150 * MS, 200 * MS)
    new = next_start(plans, 0, [Playhead(session="a", buffered_until_us=None)])
    assert new is not None
    assert new.display_us == 40 * MS


def test_another_session_waits_for_the_engine_and_not_for_the_first_frames() -> None:
    pair = [Playhead(session="far", buffered_until_us=300 * MS), Playhead(session="near", buffered_until_us=290 * MS)]
    start = next_start(streaming(f5=(100, 40)), 0, pair)
    assert start is not None
    # Far must start at 260, so near must be done, not only on show, by then: it starts at 160, less the margin.
    assert (start.session, start.at_us) == ("near", 150 * MS)


def test_a_late_chunk_is_made_for_when_it_is_ready() -> None:
    start = next_start(scheduler(f5=100), 150 * MS, [Playhead(session="a", buffered_until_us=200 * MS)])
    assert start is not None
    assert (start.at_us, start.display_us) == (150 * MS, 250 * MS)


def test_a_length_with_younger_frames_is_chosen_if_it_has_enough_of_them() -> None:
    # 5 frames play 200 ms, 10 frames 400: at 25 frames a second both keep up, and short chunks are younger.
    assert length(scheduler(f5=160, f10=170)) == 5
    # 5 frames in 290 ms are 17 a second, over 65 % of 25; in 320 ms they are 15.6, under it.
    assert length(scheduler(f5=290, f10=390)) == 5
    assert length(scheduler(f5=320, f10=390)) == 10
    # Frames may be fewer while the player leaves the predicted path.
    assert length(scheduler(f5=320, f10=390), turning=True) == 5


def test_with_more_sessions_cost_per_frame_matters() -> None:
    assert length(scheduler(f5=180, f10=190)) == 5
    assert length(scheduler(f5=180, f10=190), sessions=2) == 10


def test_two_lengths_do_not_take_turns() -> None:
    # The short one is younger by under a tenth, and has little less than the least rate: whichever is in use stays.
    close = scheduler(f5=310, f10=320)
    assert length(close, current=10) == 10
    border = scheduler(f5=310, f10=390)
    assert length(border, current=5) == 5
    assert length(scheduler(f5=320, f10=400), current=5) == 5
    assert length(scheduler(f5=400, f10=400), current=5) == 10


def test_frames_are_spread_over_the_time_that_a_slow_engine_takes() -> None:
    slow = next_start(scheduler(f5=400), 0, [Playhead(session="a", buffered_until_us=200 * MS)])
    assert slow is not None
    assert (slow.frame_us, slow.display_us, slow.late_us) == (80 * MS, 400 * MS, 200 * MS)
    fast = next_start(scheduler(f5=100), 0, [Playhead(session="a", buffered_until_us=200 * MS)])
    assert fast is not None
    assert (fast.frame_us, fast.late_us) == (40 * MS, 0)


def test_who_had_more_than_its_share_goes_only_into_time_that_nobody_needs() -> None:
    greedy = Playhead(session="greedy", buffered_until_us=None, used_share=0.8)
    other = Playhead(session="other", buffered_until_us=135 * MS, used_share=0.2)
    start = next_start(scheduler(f5=60), 0, [greedy, other])
    assert start is not None
    assert start.session == "other"  # begins at 65: a chunk of 60 and a margin of 10 do not fit before it
    roomy = Playhead(session="other", buffered_until_us=140 * MS, used_share=0.2)
    start = next_start(scheduler(f5=60), 0, [greedy, roomy])
    assert start is not None
    assert (start.session, start.at_us) == ("greedy", 0)
    alone = next_start(scheduler(f5=60), 0, [greedy])
    assert alone is not None
    assert alone.session == "greedy"


def test_the_nearest_deadline_goes_first_and_far_ones_make_room() -> None:
    pair = [
        Playhead(session="far", buffered_until_us=320 * MS),
        Playhead(session="near", buffered_until_us=300 * MS),
    ]
    start = next_start(scheduler(f5=60), 0, pair)
    assert start is not None
    # Far must start at 320 - 60 = 260, so near must be done by 260 and start at 200, less the margin.
    assert (start.session, start.at_us, start.display_us) == ("near", 190 * MS, 300 * MS)


def test_a_session_without_frames_goes_before_overdue_ones() -> None:
    playheads = [Playhead(session="overdue", buffered_until_us=0), Playhead(session="new", buffered_until_us=None)]
    start = next_start(scheduler(f5=60), 1000 * MS, playheads)
    assert start is not None
    assert (start.session, start.at_us) == ("new", 1000 * MS)


def test_just_in_time_never_leaves_a_gap_when_costs_hold() -> None:
    plans = scheduler(f5=120)
    now_us, buffered_us = 0, 200 * MS
    for _ in range(50):
        start = next_start(plans, now_us, [Playhead(session="a", buffered_until_us=buffered_us)])
        assert start is not None
        assert start.display_us == buffered_us
        now_us = start.at_us + 120 * MS
        assert now_us <= buffered_us
        buffered_us = start.display_us + plans.duration_us(start.plan)


def batching(alone_ms: float, **together_ms: float) -> EdfScheduler:
    """Chunks of 5 frames; b2=..., b3=... milliseconds for so many at once."""
    costs = CostEstimator()
    plan = Plan(frames=5, steps=(1, 1, 1), rung="full")
    for size, cost_ms in {1: alone_ms, **{int(name[1:]): ms for name, ms in together_ms.items()}}.items():
        for _ in range(3):
            costs.observe(0, plan, cost_ms * MS, together=size)
    return EdfScheduler(replace(CONFIG, max_batch=3), costs)


def playheads(*until_ms: int) -> list[Playhead]:
    return [Playhead(session="abc"[index], buffered_until_us=ms * MS) for index, ms in enumerate(until_ms)]


def chosen(plans: EdfScheduler, sessions: int) -> ThroughputEstimate:
    return plans.choose(plans.estimates(0, sessions))


def test_chunks_are_made_at_once_where_that_makes_frames_younger() -> None:
    # 5 frames play 200 ms. Two in turn of 160 take 320: 160 + 160 old. At once, 200: 200 + 100.
    at_once = chosen(batching(160, b2=200), 2)
    assert (at_once.together, at_once.cycle_us, at_once.age_us) == (2, 200 * MS, 300 * MS)
    # At once, 310: younger in turn.
    assert chosen(batching(160, b2=310), 2).together == 1
    # Two in turn keep up with the video: each would only wait for the other.
    assert chosen(batching(90, b2=100), 2).together == 1
    # One session has nobody to wait for.
    assert chosen(batching(160, b2=200), 1).together == 1


def test_as_many_are_made_at_once_as_that_pays_for() -> None:
    assert chosen(batching(160, b2=200, b3=220), 3).together == 3
    assert chosen(batching(160, b2=190, b3=470), 3).together == 2


def test_who_would_have_to_wait_is_taken_along_and_who_has_time_is_not() -> None:
    plans = batching(160, b2=200)
    estimate = chosen(plans, 2)
    start = plans.next_start(0, playheads(500, 650), estimate)
    assert start is not None
    assert (start.session, start.together, [other.session for other in start.beside]) == ("a", 2, ["b"])
    assert (start.at_us, start.display_us, start.beside[0].display_us) == (290 * MS, 500 * MS, 650 * MS)
    alone = plans.next_start(0, playheads(500, 700), estimate)
    assert alone is not None
    assert (alone.session, alone.together, alone.beside, alone.at_us) == ("a", 1, (), 330 * MS)


def test_making_chunks_at_once_is_tried_once_one_is_measured_with_time_for_it_to_fail() -> None:
    plans = batching(160)
    estimate = chosen(plans, 2)
    assert (estimate.together, estimate.cost.measured) == (2, False)
    start = plans.next_start(0, playheads(500, 500), estimate)
    assert start is not None
    assert (start.together, start.measured, start.at_us) == (2, False, 170 * MS)  # two in turn would be done by 500
    nothing_known = EdfScheduler(replace(CONFIG, max_batch=3), CostEstimator())
    assert chosen(nothing_known, 2).together == 1


def test_what_fewer_cost_at_once_says_what_more_may_be_hoped_for() -> None:
    """A pair costs 1.1 times one, so three 1.2 times: without that 1.5 times would be hoped for, which is too much."""
    estimate = chosen(batching(200, b2=220), 3)
    assert (estimate.together, estimate.cycle_us, estimate.cost.measured) == (3, 240 * MS, False)
    assert estimate.cost.p50_us == 600 * MS  # the time that it is given
    assert chosen(batching(200, b2=390), 3).together == 1


def test_an_engine_that_is_late_takes_those_along_who_wait_for_it_then() -> None:
    plans = batching(160, b2=200)
    estimate = chosen(plans, 2)
    start = plans.next_start(1_000 * MS, playheads(850, 1_300), estimate)  # free, with both chunks, at 1200 or at 1360
    assert start is not None
    assert (start.session, [other.session for other in start.beside]) == ("a", ["b"])
    assert (start.display_us, start.beside[0].display_us) == (1_200 * MS, 1_300 * MS)
    alone = plans.next_start(1_000 * MS, playheads(850, 1_400), estimate)
    assert alone is not None
    assert alone.beside == ()


def test_who_is_taken_along_early_has_its_frames_run_out_nearer_to_the_others() -> None:
    plans = batching(160, b2=210)
    estimate = chosen(plans, 2)
    start = plans.next_start(0, playheads(500, 510), estimate)
    assert start is not None
    assert start.frame_us == 42 * MS  # 210 ms from chunk to chunk
    assert start.beside[0].frame_us == 40 * MS  # 510 + 5 * 40 = 500 + 5 * 42
    far = plans.next_start(0, playheads(500, 650), estimate)
    assert far is not None
    assert far.beside[0].frame_us == 36 * MS  # a tenth faster than the video, no more


def test_several_sessions_get_more_frames_where_chunks_are_made_at_once() -> None:
    apart, at_once = (
        plans.estimates(0, 3)[0] for plans in (batching(120, b2=240, b3=360), batching(120, b2=150, b3=180))
    )
    assert (apart.cycle_us, at_once.cycle_us) == (360 * MS, 200 * MS)  # 5 frames play 200 ms
