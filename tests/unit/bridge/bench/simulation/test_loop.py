"""Whole sessions on a fake clock: what the bridge promises, whatever the trace."""

from __future__ import annotations

import functools
import itertools
from dataclasses import replace
from typing import Any

import pytest

from bridge.bench.simulation import peers, traces
from bridge.bench.simulation.figures import figures, own_figures
from bridge.bench.simulation.loop import Simulation
from bridge.bench.simulation.outcome import Outcome
from bridge.bench.simulation.traces import EngineModel, Trace
from bridge.engine.interface import FULL
from bridge.protocol.messages import Source
from bridge.scheduling.chunk_scheduler import ChunkSchedulerConfig
from bridge.scheduling.replanning import ReplanConfig
from bridge.scheduling.start_margin import UnderrunCause

SECONDS = 12.0


@functools.cache
def played(name: str) -> tuple[Trace, Outcome]:
    trace = traces.make(name, seconds=SECONDS)
    return trace, Simulation([trace]).run()[0]


def later(trace: Trace, after_us: int) -> Trace:
    """The same, by a player who comes `after_us`."""
    return replace(trace, controls=tuple(replace(sent, sent_us=sent.sent_us + after_us) for sent in trace.controls))


def own(name: str) -> dict[str, Any]:
    return own_figures(*played(name))


@pytest.mark.parametrize("name", traces.NAMES)
def test_every_control_ends_in_exactly_one_account_at_every_instant(name: str) -> None:
    trace, outcome = played(name)
    assert outcome.totals_held
    assert sum(outcome.accounts.values()) == len(trace.controls) == outcome.ledger.controls
    assert outcome.ledger.answered == len(outcome.answers)


@pytest.mark.parametrize("name", traces.NAMES)
def test_every_control_is_answered_in_time_however_slow_the_engine(name: str) -> None:
    assert own(name)["delivery"] >= 0.999


def test_of_controls_that_arrive_together_the_newest_are_answered_and_the_others_say_so() -> None:
    trace, _ = played("bursty")
    arrivals_us = [sent.sent_us + sent.up_us for sent in trace.controls]
    bursts = [len(list(controls)) for _, controls in itertools.groupby(arrivals_us)]
    beyond_credit = sum(max(0, burst - 4) for burst in bursts)
    bursty = own("bursty")
    assert beyond_credit > 0
    assert bursty["accounts"]["dropped: overtaken"] >= beyond_credit
    assert bursty["accounts"]["dropped: superseded"] == bursty["accounts"]["late"] == 0
    assert bursty["own_frame"] == pytest.approx(
        1 - bursty["accounts"]["dropped: overtaken"] / len(trace.controls), abs=1e-5
    )


def test_the_camera_shown_is_the_newest_within_a_tick() -> None:
    # Figures are taken at the end of a tick: one tick is the transport and the answer, and nothing else.
    assert own("steady")["camera_ms"]["p99"] <= 1.01 * traces.TICK_US / 1e3


@pytest.mark.parametrize("tick_hz", [60.0, 90.0, 120.0])
def test_every_tick_gets_a_frame_of_its_own_camera_however_much_faster_than_the_model(tick_hz: float) -> None:
    trace = traces.make("steady", seconds=SECONDS, tick_hz=tick_hz)
    (outcome,) = Simulation([trace]).run()
    found: Any = own_figures(trace, outcome)
    assert found["own_frame"] == 1.0
    assert found["camera_ms"]["p99"] <= 1.01 * trace.tick_us / 1e3
    bent = [answer for answer in outcome.answers if answer.source is not Source.HELD]
    assert all(answer.camera_us == answer.sent_us for answer in bent)
    assert len(bent) > 0.97 * len(trace.controls)


@pytest.mark.parametrize("name", traces.NAMES)
@pytest.mark.parametrize("peer", peers.PEERS)
def test_controls_show_at_least_twice_as_soon_as_with_a_naive_peer(name: str, peer: str) -> None:
    trace, outcome = played(name)
    theirs: Any = figures(trace, peers.PEERS[peer](trace, EngineModel()))
    ours: Any = figures(trace, outcome.answers)
    if theirs["control_age_ms"]["p50"] is not None:  # ten times too slow, the peer shows nothing in this time
        assert 2 * ours["control_age_ms"]["p50"] <= theirs["control_age_ms"]["p50"]
    assert ours["delivery"] >= theirs["delivery"] - 0.03


def test_gaps_are_explained_by_what_the_trace_did() -> None:
    assert own("steady")["underruns"] == {}
    stalled = traces.make("stalled", seconds=32.0)
    (outcome,) = Simulation([stalled]).run()
    assert outcome.ledger.underruns[UnderrunCause.PAUSED.value] == 1
    assert sum(outcome.ledger.underruns.values()) >= 2  # the engine hung at 15 and at 30 s


def test_a_hopeless_engine_costs_quality_before_it_costs_delivery() -> None:
    slow = own("ten-times-too-slow")
    assert slow["sources"][Source.GENERATED.value] + slow["sources"][Source.REPROJECTED.value] > 0
    trace = traces.make("ten-times-too-slow", seconds=60.0)
    (outcome,) = Simulation([trace]).run()
    levels = [rung for _, rung in outcome.rungs]
    assert levels == sorted(levels)  # down, and never up and down again
    assert levels[-1] >= 2


def test_the_quality_ladder_does_not_swing_on_any_trace() -> None:
    for name in traces.NAMES:
        _, outcome = played(name)
        assert len(outcome.rungs) - 1 <= 3


def test_a_pinned_quality_is_on_every_frame() -> None:
    trace = traces.make("twice-too-slow", seconds=SECONDS)
    (outcome,) = Simulation([trace], scheduler=ChunkSchedulerConfig(fps=24.0, quality="three-steps")).run()
    assert {answer.rung for answer in outcome.answers} - {""} == {"three-steps"}


@pytest.mark.parametrize("peer", peers.PEERS)
def test_long_chunks_alone_show_controls_twice_as_soon_as_a_naive_peer_where_frames_stream(peer: str) -> None:
    engine = EngineModel(frames_per_chunk=(33,))
    trace = traces.make("steady", seconds=30.0)
    (outcome,) = Simulation([trace], engine=engine).run()
    ours: Any = own_figures(trace, outcome)
    theirs: Any = figures(trace, peers.PEERS[peer](trace, engine))
    assert 2 * ours["control_age_ms"]["p50"] <= theirs["control_age_ms"]["p50"]
    assert ours["wasted"] <= 0.5
    assert ours["delivery"] >= 0.999


def test_long_chunks_whose_frames_come_at_once_are_as_young_as_one_engine_can_make_them() -> None:
    """A chunk is its cost old when it comes, and twice that when the next one does: 1.05 s at the median."""
    engine = EngineModel(frames_per_chunk=(33,), decode_share=0.0)
    trace = traces.make("steady", seconds=30.0)
    (outcome,) = Simulation([trace], engine=engine).run()
    ours: Any = own_figures(trace, outcome)
    assert ours["control_age_ms"]["p50"] <= 1.5 * engine.longest_us / 1e3 + 3 * traces.TICK_US / 1e3


def test_decoding_beside_the_next_chunk_makes_long_chunks_younger_still() -> None:
    trace = traces.make("steady", seconds=30.0)
    ages = []
    for overlaps in (False, True):
        engine = EngineModel(frames_per_chunk=(33,), overlaps=overlaps)
        (outcome,) = Simulation([trace], engine=engine).run()
        found: Any = own_figures(trace, outcome)
        assert found["underruns"] == {}
        ages.append(found["control_age_ms"]["p50"])
    assert ages[1] < 0.85 * ages[0]


def test_waste_stays_within_what_may_be_wasted() -> None:
    engine = EngineModel(frames_per_chunk=(33,))
    trace = traces.make("steady", seconds=30.0)
    for share in (0.0, 0.1, 0.3):
        replan = ReplanConfig(waste_share=share)
        (outcome,) = Simulation([trace], engine=engine, scheduler=ChunkSchedulerConfig(fps=24.0, replan=replan)).run()
        assert outcome.wasted_us <= share * trace.end_us + (engine.longest_us if share else 0)


def test_cutting_what_is_on_show_makes_frames_younger_within_its_allowance() -> None:
    """An engine that makes long chunks alone, with time to spare: the case that re-planning is for."""
    engine = EngineModel(frames_per_chunk=(33,))
    trace = traces.make("steady", seconds=30.0)
    ages: dict[bool, Any] = {}
    for cuts in (True, False):
        (outcome,) = Simulation([trace], engine=engine, cuts=cuts).run()
        ages[cuts] = figures(trace, outcome.answers)["control_age_ms"]
        if cuts:
            assert outcome.ledger.replans > 10
            assert outcome.busy_us <= trace.end_us
        else:
            assert outcome.ledger.replans == 0
    assert ages[True]["p50"] < 0.95 * ages[False]["p50"]


def test_sessions_share_an_engine_evenly() -> None:
    engine = EngineModel(longest_us=250_000)
    pair = [traces.make("steady", seconds=SECONDS, seed=seed) for seed in (1, 2)]
    first, second = Simulation(pair, engine=engine).run()
    for trace, outcome in zip(pair, (first, second), strict=True):
        assert figures(trace, outcome.answers)["delivery"] >= 0.999
    assert first.busy_us == pytest.approx(second.busy_us, rel=0.15)


def test_a_session_that_keeps_jumping_takes_no_frames_from_another() -> None:
    """Teleports make every chunk useless and the next one urgent: the greediest that a client can be."""
    engine = EngineModel(longest_us=250_000)
    calm = traces.make("steady", seconds=SECONDS, seed=1)
    jumpy = traces.with_teleports(traces.make("steady", seconds=SECONDS, seed=2), every=20)
    (alone,) = Simulation([calm], engine=engine).run()
    beside, greedy = Simulation([calm, jumpy], engine=engine).run()
    assert greedy.busy_us <= 1.2 * beside.busy_us
    assert sum(beside.ledger.underruns.values()) <= sum(alone.ledger.underruns.values()) + 2


def test_sessions_whose_chunks_are_made_at_once_get_younger_frames_as_evenly() -> None:
    four = [traces.make("steady", seconds=SECONDS, seed=seed) for seed in range(4)]
    ages: dict[int, list[float]] = {}
    for most in (1, 4):
        engine = EngineModel(longest_us=250_000, max_batch=most, beside_share=0.25)
        outcomes = Simulation(four, engine=engine).run()
        found: list[Any] = [own_figures(trace, outcome) for trace, outcome in zip(four, outcomes, strict=True)]
        assert all(one["delivery"] >= 0.999 for one in found)
        ages[most] = [one["control_age_ms"]["p50"] for one in found]
        if most == 4:
            together = [size for outcome in outcomes for size in outcome.together]
            assert sum(size > 1 for size in together) > 0.7 * len(together)
    assert sum(ages[4]) < 0.85 * sum(ages[1])
    assert max(ages[4]) < 1.3 * min(ages[4])


@pytest.mark.parametrize("after_us", [(0, 0, 0), (0, 137_000, 291_000), (0, 2_100_000, 3_333_000)])
def test_three_equal_players_are_served_at_once_whenever_each_came(after_us: tuple[int, int, int]) -> None:
    """One chunk takes 200 ms, three at once 240, and 5 frames play 208: in turn each would get one in 600 ms, in pairs
    and singles one in 420."""
    three = [later(traces.make("steady", seconds=SECONDS, seed=seed), us) for seed, us in enumerate(after_us)]
    ages: dict[int, list[float]] = {}
    for most in (1, 3):
        engine = EngineModel(
            frames_per_chunk=(5,), longest_us=200_000, decode_share=0.0, max_batch=most, beside_share=0.1
        )
        outcomes = Simulation(three, engine=engine, rungs=(FULL,)).run()
        found: list[Any] = [own_figures(trace, outcome) for trace, outcome in zip(three, outcomes, strict=True)]
        ages[most] = [one["control_age_ms"]["p50"] for one in found]
    for outcome in outcomes:
        assert len(outcome.lengths) > 0.9 * SECONDS / 0.24
        chunks = len(outcome.together)
        assert set(outcome.together[4 * chunks // 10 : 7 * chunks // 10]) == {3}  # all play, and have for some time
        assert sum(outcome.ledger.underruns.values()) <= 1
    assert max(ages[3]) < 0.9 * min(ages[1])
    assert max(ages[3]) < 1.1 * min(ages[3])  # nobody pays for the others


def test_an_engine_that_gains_nothing_by_it_makes_chunks_in_turn() -> None:
    pair = [traces.make("steady", seconds=SECONDS, seed=seed) for seed in (1, 2)]
    outcomes = Simulation(pair, engine=EngineModel(longest_us=250_000, max_batch=2)).run()
    together = [size for outcome in outcomes for size in outcome.together]
    assert sum(size > 1 for size in together) <= 6  # it was tried, and found not to pay
