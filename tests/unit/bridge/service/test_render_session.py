"""One session's chunks on a fake clock: asked for, shown while they grow, cut, lost."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest

from bridge.engine.ipc_messages import ArrivingChunk, StepResult
from bridge.input.scene_state import SceneState
from bridge.protocol.messages import Event, Part, PartMove, PixelFormat, SceneUpdate, Shape, Source, Stats
from bridge.service.render_session import MOST_SCENES
from tests.fake_session import INFO, MS, Game

FRAMES = np.full((3, 24, 32, 3), 60, np.uint8)


@pytest.fixture
def game() -> Game:
    return Game()


def grow(game: Game, there: int) -> None:
    """`there` frames of the chunk that was asked for are there."""
    growing = ArrivingChunk(
        engine_session=0, slot=3, frame_count=3, frames_ready=there, frames=FRAMES, with_depth=False, actions=("",) * 3
    )
    game.render_session.add_frames(growing, game.clock.now_us())


def made(*, missing: int = 0, slot: int = 3) -> ArrivingChunk:
    """A chunk of three frames; the last `missing` of them are still to come."""
    return ArrivingChunk(
        engine_session=0,
        slot=slot,
        frame_count=3,
        frames_ready=3 - missing,
        frames=FRAMES,
        with_depth=False,
        actions=("",) * 3,
        result=StepResult(state={}, stage_ms={"denoise": 5.0}),
    )


def test_frames_are_shown_before_their_chunk_is_whole(game: Game) -> None:
    game.tick()
    game.ask()
    grow(game, 1)
    header = game.tick()
    assert (header.source, header.chunk, header.index) == (Source.GENERATED, 0, 0)
    game.clock.advance_us(90 * MS)
    assert game.tick().index == 0  # the others are not there
    grow(game, 2)
    assert game.tick().index == 1
    assert game.render_session.in_flight is not None  # and no other chunk is wanted yet
    assert not game.render_session.wants_frames(game.clock.now_us())
    assert game.render_session.finish_chunk(made(), game.clock.now_us()).useful
    header = game.tick()
    assert (header.chunk, header.index, header.stage_ms["denoise"]) == (0, 2, 5.0)


def test_the_next_chunk_is_asked_for_while_the_last_frames_of_this_one_come(game: Game) -> None:
    game.tick()
    game.ask()
    assert game.render_session.finish_chunk(made(missing=2), game.clock.now_us()).useful
    assert game.tick().index == 0
    game.render_session.opened = True
    assert game.render_session.wants_frames(game.clock.now_us())
    game.ask()
    game.clock.advance_us(90 * MS)
    assert game.tick().index == 0  # the others are not there
    grow(game, 2)
    assert (game.tick().chunk, game.tick().index) == (0, 1)
    assert game.render_session.in_flight is not None
    game.render_session.fail_chunk(game.clock.now_us(), wait_us=0)  # what is there stays
    assert game.tick().index == 1
    grow(game, 3)
    assert game.tick().index == 2
    assert game.render_session.take_control(game.control(x=100.0, teleport=True)) == [3]


def test_frames_that_went_with_the_engine_are_not_waited_for(game: Game) -> None:
    game.tick()
    game.ask()
    assert game.render_session.finish_chunk(made(missing=2), game.clock.now_us()).useful
    assert game.render_session.store.buffered_until_us == game.clock.now_us() + 120 * MS
    game.render_session.lose_engine()
    assert game.render_session.store.buffered_until_us == game.clock.now_us() + 40 * MS
    assert game.tick().index == 0


def test_a_chunk_is_in_time_when_its_first_frames_are(game: Game) -> None:
    game.tick()
    game.chunk()
    game.ask(at_us=game.clock.now_us() + 120 * MS)
    game.clock.advance_us(100 * MS)
    grow(game, 1)
    game.clock.advance_us(60 * MS)
    assert game.render_session.in_flight is not None
    assert game.render_session.finish_chunk(made(), game.clock.now_us()).underrun is False


def test_what_was_growing_goes_with_its_engine_or_its_place(game: Game) -> None:
    game.tick()
    game.chunk(value=50, slot=4)
    for end in (
        game.render_session.lose_engine,
        lambda: game.render_session.fail_chunk(game.clock.now_us(), wait_us=0),
    ):
        game.ask()
        grow(game, 1)
        assert game.tick().chunk > 0
        end()
        assert game.tick().chunk == 0
    game.ask()
    grow(game, 1)
    assert game.render_session.take_control(game.control(x=100.0, teleport=True)) == [
        4
    ]  # not the slot that is being written
    grow(game, 2)
    assert game.tick(x=100.0).source is Source.HELD


def test_after_a_teleport_older_chunks_and_the_one_under_way_are_useless(game: Game) -> None:
    game.tick()
    game.chunk(value=50, slot=4)
    before = game.tick()
    game.ask()
    accepted = game.control(x=100.0, teleport=True)
    assert game.render_session.take_control(accepted) == [4]
    header, _ = game.render_session.answer(accepted, PixelFormat.RGB8)
    assert header.source is Source.HELD
    assert (header.chunk, header.position) == (before.chunk, before.position)
    assert not game.render_session.finish_chunk(made(slot=5), game.clock.now_us()).useful
    assert game.tick(x=100.0).source is Source.HELD
    in_flight = game.ask()
    assert in_flight.window.cut


def test_frames_are_wanted_while_the_player_plays(game: Game) -> None:
    render_session = game.render_session
    assert not render_session.wants_frames(game.clock.now_us())
    game.tick()
    assert not render_session.wants_frames(game.clock.now_us())
    render_session.opened = True
    assert render_session.wants_frames(game.clock.now_us())
    game.ask()
    assert not render_session.wants_frames(game.clock.now_us())
    render_session.lose_engine()
    assert render_session.wants_frames(game.clock.now_us() + 999 * MS)
    assert not render_session.wants_frames(game.clock.now_us() + 1000 * MS)


def test_what_a_lost_chunk_would_have_applied_comes_again_and_what_was_refused_does_not(game: Game) -> None:
    game.tick(events=(Event(kind="door", value="opens"),))
    update = SceneUpdate(seed=1)
    game.render_session.timeline.push_scene(update)
    now_us = game.clock.now_us()
    first = game.ask()
    assert first.window.scene_updates == (update,)
    assert first.window.actions == ("door opens",) * 3
    game.render_session.lose_engine()
    again = game.ask()
    assert (again.window.scene_updates, again.window.actions) == ((update,), ("door opens",) * 3)
    assert again.number > first.number
    game.render_session.fail_chunk(now_us, wait_us=500 * MS)
    game.render_session.opened = True
    assert not game.render_session.wants_frames(now_us + 499 * MS)
    assert game.render_session.wants_frames(now_us + 500 * MS)
    after = game.ask().window
    assert (after.scene_updates, after.actions) == ((), ("",) * 3)
    assert game.render_session.fill_stats(Stats(), now_us).chunks == 0  # asked for thrice, made never


def test_a_cut_outlives_a_chunk_that_the_engine_refused(game: Game) -> None:
    game.tick(teleport=True)
    now_us = game.clock.now_us()
    assert game.ask().window.cut
    game.render_session.fail_chunk(now_us, wait_us=0)
    assert game.ask().window.cut


def test_scenes_that_no_chunk_takes_are_bounded_and_sum_up_to_the_same(game: Game) -> None:
    game.tick()
    game.render_session.engine_session = 3
    box = Part(id=0, shape=Shape.BOX, position=(0.0, 0.0, 0.0))
    game.render_session.change_scene(SceneUpdate(prompt="night", replace=True, add=(box,)))
    for number in range(1, 200):
        more = msgspec.structs.replace(box, id=number)
        game.render_session.change_scene(
            SceneUpdate(add=(more,), move=(PartMove(id=number, position=(1.0, 0.0, 0.0)),), remove=(number - 2,))
        )
    updates = game.ask().window.scene_updates
    assert len(updates) <= MOST_SCENES
    replayed = SceneState(seed=0, prompt="")
    for update in updates:
        replayed.apply(update)
    assert replayed.start() == game.render_session.scene.start()
    assert [part.id for part in replayed.whole().add] == [198, 199]
    assert replayed.whole().prompt == "night"


def test_a_gap_is_counted_with_its_cause_and_its_length(game: Game) -> None:
    game.tick()
    game.chunk()  # until 120 ms
    game.ask(at_us=game.clock.now_us() + 120 * MS)
    game.clock.advance_us(300 * MS)
    assert game.render_session.finish_chunk(made(), game.clock.now_us()).underrun
    stats = game.render_session.fill_stats(Stats(), game.clock.now_us())
    assert stats.underruns == {"overrun": 1, "too_slow": 0, "crowded": 0, "engine": 0, "paused": 0}
    assert stats.gap_us == 180 * MS
    game.clock.advance_us(2000 * MS)
    game.tick()
    game.chunk()
    assert game.render_session.fill_stats(Stats(), game.clock.now_us()).underruns["paused"] == 1


def test_where_the_camera_reaches_no_pixel_only_news_make_a_chunk_wrong() -> None:
    game = Game(dataclasses.replace(INFO, camera_method="none"))
    game.tick()
    game.chunk()
    game.tick(x=2.0)
    assert not game.render_session.is_off
    assert not game.render_session.is_stale
    game.tick(action="let it snow")
    assert game.render_session.is_off
    assert game.render_session.is_stale


def test_a_small_error_makes_frames_stale_and_a_large_one_wrong(game: Game) -> None:
    game.tick()
    game.chunk()
    game.tick(x=0.04)
    assert (game.render_session.is_stale, game.render_session.is_off) == (False, False)
    game.clock.advance_us(40 * MS)
    game.tick(x=0.1)
    assert (game.render_session.is_stale, game.render_session.is_off) == (True, False)


def test_a_chunk_leads_by_what_its_slowest_frames_need(game: Game) -> None:
    """Frame 0 after 50 ms, frame 1 after 90 (40 are played by then: 50), frame 2 after 150 (80 are played: 70)."""
    game.tick()
    game.ask()
    for there, at_ms in ((1, 50), (2, 90)):
        game.clock.sleep_until_us(1_000_000 + at_ms * MS)
        grow(game, there)
    game.clock.sleep_until_us(1_000_000 + 150 * MS)
    assert game.render_session.finish_chunk(made(), game.clock.now_us()).lead_us == 70 * MS


def test_what_is_still_to_be_shown_is_cut_at_the_last_boundary_before_new_frames_are_there(game: Game) -> None:
    game.tick()
    began_us = game.clock.now_us()
    game.chunk()
    assert not game.render_session.is_stale
    game.clock.advance_us(5 * MS)
    game.tick(events=(Event(kind="bang"),))
    assert game.render_session.is_stale
    ready_us = began_us + 30 * MS
    assert game.render_session.cut_us(game.clock.now_us(), ready_us) == began_us + 40 * MS
    assert (
        game.render_session.cut_us(game.clock.now_us(), began_us + 41 * MS) is None
    )  # 79 ms would be gained: too little
    in_flight = game.ask(at_us=began_us + 40 * MS, cut_us=began_us + 40 * MS)
    assert (in_flight.keep, in_flight.follows_us) == (1, began_us + 120 * MS)
    assert in_flight.window.actions[0] == "bang"
    assert game.render_session.fill_stats(Stats(), game.clock.now_us()).replans == 1
    game.render_session.lose_engine()
    assert (
        game.render_session.cut_us(game.clock.now_us(), ready_us) is None
    )  # the process that could go on from there is gone


def test_a_chunk_that_the_engine_could_not_begin_leaves_no_trace(game: Game) -> None:
    game.tick()
    began_us = game.clock.now_us()
    game.chunk()
    game.clock.advance_us(5 * MS)
    game.tick(action="run", events=(Event(kind="bang"),))
    game.ask(at_us=began_us + 40 * MS, cut_us=began_us + 40 * MS)
    assert not game.render_session.is_stale
    game.render_session.cancel_chunk()
    assert game.render_session.in_flight is None
    assert game.render_session.is_stale
    assert game.render_session.cut_us(game.clock.now_us(), began_us + 30 * MS) == began_us + 40 * MS
    assert game.render_session.fill_stats(Stats(), game.clock.now_us()).replans == 0
    again = game.ask(at_us=began_us + 40 * MS, cut_us=began_us + 40 * MS)
    assert (again.keep, again.window.actions[0]) == (1, "run; bang")
    game.render_session.cancel_chunk()
    game.render_session.cancel_chunk()  # nothing is asked for
    assert game.render_session.fill_stats(Stats(), game.clock.now_us()).replans == 0
