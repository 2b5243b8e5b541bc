"""One session's answers on a fake clock: which frame, drawn how, under which header."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from bridge.engine.ipc_messages import ArrivingChunk, StepResult
from bridge.geometry import quaternion_from_rotation_vector
from bridge.protocol.messages import PixelFormat, Source, Stats
from tests.fake_session import MS, Game


@pytest.fixture
def game() -> Game:
    return Game()


def test_before_the_first_frame_the_answer_is_grey_and_claims_nothing(game: Game) -> None:
    header = game.tick(action="walk")
    assert (header.source, header.chunk, header.action, header.steps) == (Source.HELD, -1, "", ())
    assert np.all(game.pixels == 128)


def test_a_frame_is_generated_once_in_its_slot_and_bent_afterwards(game: Game) -> None:
    game.tick(action="walk")
    assert game.chunk(value=50)
    sources = []
    for _ in range(6):
        header = game.tick(action="walk")
        sources.append((header.source, header.chunk, header.index))
        game.clock.advance_us(20 * MS)
    generated, bent = Source.GENERATED, Source.REPROJECTED
    assert sources == [(s, 0, i) for i in range(3) for s in (generated, bent)]
    assert (header.action, header.steps, header.rung) == ("walk", (1, 2, 3), "full")
    assert header.stage_ms["denoise"] == 5.0
    header = game.tick()
    assert (header.source, header.index) == (bent, 2)
    stats = game.render_session.fill_stats(Stats(), game.clock.now_us())
    assert stats.chunks == 1
    assert stats.generated_fps == pytest.approx(2 / 0.12)


def test_a_bent_frame_shows_the_newest_camera_as_far_as_depth_is_known(game: Game) -> None:
    game.tick()
    game.chunk(depth=True)
    assert game.tick(x=0.3).position == (0.3, 0.0, 0.0)
    other = Game()
    other.tick()
    other.chunk(depth=False)
    header = other.tick(x=0.3)
    assert (header.source, header.position) == (Source.REPROJECTED, (0.0, 0.0, 0.0))


def test_an_answer_that_takes_too_long_says_so(game: Game) -> None:
    accepted = game.control()
    game.render_session.take_control(accepted)
    game.clock.advance_us(17 * MS)
    header, _ = game.render_session.answer(accepted, PixelFormat.RGB8)
    assert not header.deadline_met
    assert header.server_us == 17 * MS


def test_a_held_picture_follows_the_client_to_another_format(game: Game) -> None:
    game.tick()
    accepted = game.control()
    game.render_session.take_control(accepted)
    header, pixels = game.render_session.answer(accepted, PixelFormat.JPEG)
    assert header.pixel_format is PixelFormat.JPEG
    assert bytes(pixels[:2]) == b"\xff\xd8"


def test_headers_tell_whose_control_shaped_the_pixels_and_the_servers_clock(game: Game) -> None:
    assert (game.tick().control_t_us, game.tick().server_t_us) == (-1, 1_000_000)
    game.clock.advance_us(20 * MS)
    game.tick()
    shaped_us = game.clock.now_us()
    game.chunk()
    game.clock.advance_us(30 * MS)
    header = game.tick()
    assert (header.control_t_us, header.control_age_us) == (shaped_us, 30 * MS)


def test_prediction_is_measured_against_where_the_player_really_is(game: Game) -> None:
    game.tick()
    game.chunk()
    game.clock.advance_us(20 * MS)
    game.tick(x=0.3, rotation=tuple(quaternion_from_rotation_vector(np.array([0.0, np.radians(8.0), 0.0]))))
    stats = game.render_session.fill_stats(Stats(), game.clock.now_us())
    assert (stats.prediction_deg_p50, stats.prediction_m_p50) == (pytest.approx(8.0), pytest.approx(0.3))
    assert game.render_session.is_off
    assert game.render_session.is_stale


def test_turning_far_shows_the_frame_that_saw_most_of_it(game: Game) -> None:
    game.tick()
    in_flight = game.ask()
    turned = quaternion_from_rotation_vector(np.radians([[0.0, 0.0, 0.0], [0.0, 30.0, 0.0], [0.0, 60.0, 0.0]]))
    object.__setattr__(in_flight.window, "rotations", turned)
    made = ArrivingChunk(
        engine_session=0, slot=1, frame_count=3, frames_ready=3, frames=np.zeros((3, 24, 32, 3), np.uint8),
        with_depth=False, actions=("",) * 3, result=StepResult(state={}, stage_ms={}),
    )  # fmt: skip
    game.render_session.finish_chunk(made, game.clock.now_us())
    header = game.tick(rotation=tuple(turned[2]))
    assert (header.source, header.index) == (Source.REPROJECTED, 2)
    assert game.tick(rotation=tuple(turned[0])).source is Source.GENERATED  # its time has not passed with the other


@pytest.mark.parametrize("tick_hz", [60, 90, 120])
def test_every_tick_gets_its_own_view_however_much_faster_than_the_model_it_is(game: Game, tick_hz: int) -> None:
    game.tick()
    in_flight = game.ask()
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)
    made = ArrivingChunk(
        engine_session=0, slot=1, frame_count=3, frames_ready=3, frames=frames, with_depth=True,
        depth=np.full((3, 6, 8), 4.0, np.float32), actions=in_flight.window.actions,
        result=StepResult(state={}, stage_ms={}),
    )  # fmt: skip
    game.render_session.finish_chunk(made, game.clock.now_us())
    seen = []
    for tick in range(tick_hz // 10):
        rotation = quaternion_from_rotation_vector(np.radians([0.0, 1.0 + 0.8 * tick, 0.0]))
        header = game.tick(x=0.01 * tick, rotation=tuple(rotation))
        assert header.source is Source.REPROJECTED
        assert header.position == (0.01 * tick, 0.0, 0.0)
        assert header.rotation == pytest.approx(tuple(rotation))
        seen.append(game.pixels)
        game.clock.advance_us(1_000_000 // tick_hz)
    assert all(not np.array_equal(one, other) for one, other in pairwise(seen))
