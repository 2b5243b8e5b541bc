"""One session's answers on a fake clock: no socket, no engine process."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from bridge.asked import Asked
from bridge.blockout import Blockout
from bridge.clock import FakeClock
from bridge.config import ServeConfig
from bridge.engine import EngineInfo, Plan
from bridge.engine_events import ChunkGrowing, ChunkMade
from bridge.messages import (
    Control,
    Event,
    FrameHeader,
    Part,
    PartMove,
    PixelFormat,
    SceneUpdate,
    Shape,
    Source,
    Stats,
)
from bridge.outputs import ControlAccepted
from bridge.player import MOST_SCENES, Player
from bridge.pose import quaternion_from_rotation_vector
from bridge.scheduler import Start

INFO = EngineInfo(
    model="t", runner="t", frame_width=32, frame_height=24, frames_per_chunk=(3,), depth_width=8, depth_height=6,
    camera_method="channels", default_map="t",
)  # fmt: skip
PLAN = Plan(frames=3, steps=(1, 2, 3), rung="full")
MS = 1000


class Game:
    """A player, a clock, and what a server would do with them."""

    def __init__(self, info: EngineInfo = INFO) -> None:
        self.clock = FakeClock(1_000_000)
        self.player = Player(config=ServeConfig(fps=25.0), info=info, clock=self.clock)
        self.seq = -1

    def control(self, *, x: float = 0.0, rotation: tuple[float, ...] = (0, 0, 0, 1), **more: Any) -> ControlAccepted:
        self.seq += 1
        now_us = self.clock.now_us()
        control = Control(
            seq=self.seq, t_us=now_us, position=(x, 0, 0), rotation=rotation, vertical_fov_deg=60.0, **more
        )  # type: ignore[arg-type]
        return ControlAccepted(control=control, received_us=now_us, deadline_us=now_us + 16 * MS)

    def tick(self, **control: Any) -> FrameHeader:
        accepted = self.control(**control)
        self.player.push(accepted)
        header, pixels = self.player.answer(accepted, PixelFormat.RGB8)
        assert len(pixels) == 32 * 24 * 3
        self.pixels = np.frombuffer(pixels, np.uint8).reshape(24, 32, 3)
        return header

    def chunk(self, *, value: int = 50, slot: int = 0, depth: bool = True) -> bool:
        """A chunk made in no time, due from now on."""
        asked = self.ask()
        made = ChunkMade(
            world=0, slot=slot, frames=np.full((3, 24, 32, 3), value, np.uint8),
            depth=np.full((3, 6, 8), 4.0, np.float32) if depth else None, actions=asked.window.actions,
            stage_ms={"denoise": 5.0}, cuts=(1, 2),
        )  # fmt: skip
        return self.player.deliver(made, self.clock.now_us()).useful

    def ask(self, *, at_us: int | None = None, cut_us: int | None = None) -> Asked:
        """For a chunk whose first frame is due at `at_us`, else now."""
        now_us = self.clock.now_us()
        display_us = now_us if at_us is None else at_us
        start = Start(session="a", at_us=now_us, display_us=display_us, frame_us=40 * MS, plan=PLAN, cut_us=cut_us)
        return self.player.ask(now_us, start)


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
    stats = game.player.fill_stats(Stats(), game.clock.now_us())
    assert stats.chunks == 1
    assert stats.generated_fps == pytest.approx(2 / 0.12)


def grow(game: Game, made: int, *, value: int = 60) -> None:
    """`made` frames of the chunk that was asked for are there."""
    game.player.grow(
        ChunkGrowing(
            world=0, slot=3, made=made, frames=np.full((3, 24, 32, 3), value, np.uint8), depth=None, actions=("",) * 3,
        ),
        game.clock.now_us(),
    )  # fmt: skip


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
    assert game.player.asked is not None  # and no other chunk is wanted yet
    assert not game.player.wants_frames(game.clock.now_us())
    asked = game.player.asked
    made = ChunkMade(
        world=0, slot=3, frames=np.full((3, 24, 32, 3), 60, np.uint8), depth=None, actions=asked.window.actions,
        stage_ms={"denoise": 5.0},
    )  # fmt: skip
    assert game.player.deliver(made, game.clock.now_us()).useful
    header = game.tick()
    assert (header.chunk, header.index, header.stage_ms["denoise"]) == (0, 2, 5.0)


def test_the_next_chunk_is_asked_for_while_the_last_frames_of_this_one_come(game: Game) -> None:
    game.tick()
    asked = game.ask()
    made = ChunkMade(
        world=0, slot=3, frames=np.full((3, 24, 32, 3), 60, np.uint8), depth=None, actions=asked.window.actions,
        stage_ms={}, missing=2,
    )  # fmt: skip
    assert game.player.deliver(made, game.clock.now_us()).useful
    assert game.tick().index == 0
    game.player.opened = True
    assert game.player.wants_frames(game.clock.now_us())
    game.ask()
    game.clock.advance_us(90 * MS)
    assert game.tick().index == 0  # the others are not there
    grow(game, 2)
    assert (game.tick().chunk, game.tick().index) == (0, 1)
    assert game.player.asked is not None
    game.player.fail(game.clock.now_us(), wait_us=0)  # what is there stays
    assert game.tick().index == 1
    grow(game, 3)
    assert game.tick().index == 2
    assert game.player.push(game.control(x=100.0, teleport=True)) == [3]


def test_frames_that_went_with_the_engine_are_not_waited_for(game: Game) -> None:
    game.tick()
    asked = game.ask()
    made = ChunkMade(
        world=0, slot=3, frames=np.full((3, 24, 32, 3), 60, np.uint8), depth=None, actions=asked.window.actions,
        stage_ms={}, missing=2,
    )  # fmt: skip
    assert game.player.deliver(made, game.clock.now_us()).useful
    assert game.player.store.buffered_until_us == game.clock.now_us() + 120 * MS
    game.player.lose()
    assert game.player.store.buffered_until_us == game.clock.now_us() + 40 * MS
    assert game.tick().index == 0


def test_a_chunk_is_in_time_when_its_first_frames_are(game: Game) -> None:
    game.tick()
    game.chunk()
    game.ask(at_us=game.clock.now_us() + 120 * MS)
    game.clock.advance_us(100 * MS)
    grow(game, 1)
    game.clock.advance_us(60 * MS)
    assert game.player.asked is not None
    made = ChunkMade(
        world=0, slot=3, frames=np.zeros((3, 24, 32, 3), np.uint8), depth=None, actions=("",) * 3, stage_ms={}
    )
    assert game.player.deliver(made, game.clock.now_us()).underrun is False


def test_what_was_growing_goes_with_its_engine_or_its_place(game: Game) -> None:
    game.tick()
    game.chunk(value=50, slot=4)
    for end in (game.player.lose, lambda: game.player.fail(game.clock.now_us(), wait_us=0)):
        game.ask()
        grow(game, 1)
        assert game.tick().chunk > 0
        end()
        assert game.tick().chunk == 0
    game.ask()
    grow(game, 1)
    assert game.player.push(game.control(x=100.0, teleport=True)) == [4]  # not the slot that is being written
    grow(game, 2)
    assert game.tick(x=100.0).source is Source.HELD


def test_a_bent_frame_shows_the_newest_camera_as_far_as_depth_is_known(game: Game) -> None:
    game.tick()
    game.chunk(depth=True)
    assert game.tick(x=0.3).position == (0.3, 0.0, 0.0)
    other = Game()
    other.tick()
    other.chunk(depth=False)
    header = other.tick(x=0.3)
    assert (header.source, header.position) == (Source.REPROJECTED, (0.0, 0.0, 0.0))


def test_after_a_teleport_older_chunks_and_the_one_under_way_are_useless(game: Game) -> None:
    game.tick()
    game.chunk(value=50, slot=4)
    before = game.tick()
    game.ask()
    accepted = game.control(x=100.0, teleport=True)
    assert game.player.push(accepted) == [4]
    header, _ = game.player.answer(accepted, PixelFormat.RGB8)
    assert header.source is Source.HELD
    assert (header.chunk, header.position) == (before.chunk, before.position)
    late = ChunkMade(
        world=0, slot=5, frames=np.zeros((3, 24, 32, 3), np.uint8), depth=None, actions=("",) * 3, stage_ms={}
    )
    assert not game.player.deliver(late, game.clock.now_us()).useful
    assert game.tick(x=100.0).source is Source.HELD
    asked = game.ask()
    assert asked.window.cut


def test_frames_are_wanted_while_the_player_plays(game: Game) -> None:
    player = game.player
    assert not player.wants_frames(game.clock.now_us())
    game.tick()
    assert not player.wants_frames(game.clock.now_us())
    player.opened = True
    assert player.wants_frames(game.clock.now_us())
    game.ask()
    assert not player.wants_frames(game.clock.now_us())
    player.lose()
    assert player.wants_frames(game.clock.now_us() + 999 * MS)
    assert not player.wants_frames(game.clock.now_us() + 1000 * MS)


def test_what_a_lost_chunk_would_have_applied_comes_again_and_what_was_refused_does_not(game: Game) -> None:
    game.tick(events=(Event(kind="door", value="opens"),))
    update = SceneUpdate(seed=1)
    game.player.timeline.push_scene(update)
    now_us = game.clock.now_us()
    first = game.ask()
    assert first.window.scene_updates == (update,)
    assert first.window.actions == ("door opens",) * 3
    game.player.lose()
    again = game.ask()
    assert (again.window.scene_updates, again.window.actions) == ((update,), ("door opens",) * 3)
    assert again.number > first.number
    game.player.fail(now_us, wait_us=500 * MS)
    game.player.opened = True
    assert not game.player.wants_frames(now_us + 499 * MS)
    assert game.player.wants_frames(now_us + 500 * MS)
    after = game.ask().window
    assert (after.scene_updates, after.actions) == ((), ("",) * 3)
    assert game.player.fill_stats(Stats(), now_us).chunks == 0  # asked for thrice, made never


def test_a_cut_outlives_a_chunk_that_the_engine_refused(game: Game) -> None:
    game.tick(teleport=True)
    now_us = game.clock.now_us()
    assert game.ask().window.cut
    game.player.fail(now_us, wait_us=0)
    assert game.ask().window.cut


def test_scenes_that_no_chunk_takes_are_bounded_and_sum_up_to_the_same(game: Game) -> None:
    game.tick()
    game.player.world = 3
    box = Part(id=0, shape=Shape.BOX, position=(0.0, 0.0, 0.0))
    game.player.change_scene(SceneUpdate(prompt="night", replace=True, add=(box,)))
    for number in range(1, 200):
        more = msgspec.structs.replace(box, id=number)
        game.player.change_scene(
            SceneUpdate(add=(more,), move=(PartMove(id=number, position=(1.0, 0.0, 0.0)),), remove=(number - 2,))
        )
    updates = game.ask().window.scene_updates
    assert len(updates) <= MOST_SCENES
    replayed = Blockout(seed=0, prompt="")
    for update in updates:
        replayed.apply(update)
    assert replayed.start() == game.player.blockout.start()
    assert [part.id for part in replayed.whole().add] == [198, 199]
    assert replayed.whole().prompt == "night"


def test_an_answer_that_takes_too_long_says_so(game: Game) -> None:
    accepted = game.control()
    game.player.push(accepted)
    game.clock.advance_us(17 * MS)
    header, _ = game.player.answer(accepted, PixelFormat.RGB8)
    assert not header.deadline_met
    assert header.server_us == 17 * MS


def test_a_held_picture_follows_the_client_to_another_format(game: Game) -> None:
    game.tick()
    accepted = game.control()
    game.player.push(accepted)
    header, pixels = game.player.answer(accepted, PixelFormat.JPEG)
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


def test_a_gap_is_counted_with_its_cause_and_its_length(game: Game) -> None:
    game.tick()
    game.chunk()  # until 120 ms
    game.ask(at_us=game.clock.now_us() + 120 * MS)
    game.clock.advance_us(300 * MS)
    made = ChunkMade(
        world=0, slot=1, frames=np.zeros((3, 24, 32, 3), np.uint8), depth=None, actions=("",) * 3, stage_ms={}
    )
    assert game.player.deliver(made, game.clock.now_us()).underrun
    stats = game.player.fill_stats(Stats(), game.clock.now_us())
    assert stats.underruns == {"overrun": 1, "too_slow": 0, "crowded": 0, "engine": 0, "paused": 0}
    assert stats.gap_us == 180 * MS
    game.clock.advance_us(2000 * MS)
    game.tick()
    game.chunk()
    assert game.player.fill_stats(Stats(), game.clock.now_us()).underruns["paused"] == 1


def test_prediction_is_measured_against_where_the_player_really_is(game: Game) -> None:
    game.tick()
    game.chunk()
    game.clock.advance_us(20 * MS)
    game.tick(x=0.3, rotation=tuple(quaternion_from_rotation_vector(np.array([0.0, np.radians(8.0), 0.0]))))
    stats = game.player.fill_stats(Stats(), game.clock.now_us())
    assert (stats.prediction_deg_p50, stats.prediction_m_p50) == (pytest.approx(8.0), pytest.approx(0.3))
    assert game.player.is_off
    assert game.player.is_stale


def test_where_the_camera_reaches_no_pixel_only_news_make_a_chunk_wrong() -> None:
    game = Game(dataclasses.replace(INFO, camera_method="none"))
    game.tick()
    game.chunk()
    game.tick(x=2.0)
    assert not game.player.is_off
    assert not game.player.is_stale
    game.tick(action="let it snow")
    assert game.player.is_off
    assert game.player.is_stale


def test_a_small_error_makes_frames_stale_and_a_large_one_wrong(game: Game) -> None:
    game.tick()
    game.chunk()
    game.tick(x=0.04)
    assert (game.player.is_stale, game.player.is_off) == (False, False)
    game.clock.advance_us(40 * MS)
    game.tick(x=0.1)
    assert (game.player.is_stale, game.player.is_off) == (True, False)


def test_a_chunk_leads_by_what_its_slowest_frames_need(game: Game) -> None:
    """Frame 0 after 50 ms, frame 1 after 90 (40 are played by then: 50), frame 2 after 150 (80 are played: 70)."""
    game.tick()
    game.ask()
    for made, at_ms in ((1, 50), (2, 90)):
        game.clock.sleep_until_us(1_000_000 + at_ms * MS)
        grow(game, made)
    game.clock.sleep_until_us(1_000_000 + 150 * MS)
    frames = np.zeros((3, 24, 32, 3), np.uint8)
    made = ChunkMade(world=0, slot=1, frames=frames, depth=None, actions=("",) * 3, stage_ms={})
    assert game.player.deliver(made, game.clock.now_us()).lead_us == 70 * MS


def test_what_is_still_to_be_shown_is_cut_at_the_last_boundary_before_new_frames_are_there(game: Game) -> None:
    game.tick()
    began_us = game.clock.now_us()
    game.chunk()
    assert not game.player.is_stale
    game.clock.advance_us(5 * MS)
    game.tick(events=(Event(kind="bang"),))
    assert game.player.is_stale
    ready_us = began_us + 30 * MS
    assert game.player.cut_us(game.clock.now_us(), ready_us) == began_us + 40 * MS
    assert game.player.cut_us(game.clock.now_us(), began_us + 41 * MS) is None  # 79 ms would be gained: too little
    asked = game.ask(at_us=began_us + 40 * MS, cut_us=began_us + 40 * MS)
    assert (asked.keep, asked.follows_us) == (1, began_us + 120 * MS)
    assert asked.window.actions[0] == "bang"
    assert game.player.fill_stats(Stats(), game.clock.now_us()).replans == 1
    game.player.lose()
    assert game.player.cut_us(game.clock.now_us(), ready_us) is None  # the process that could go on from there is gone


def test_a_chunk_that_the_engine_could_not_begin_leaves_no_trace(game: Game) -> None:
    game.tick()
    began_us = game.clock.now_us()
    game.chunk()
    game.clock.advance_us(5 * MS)
    game.tick(action="run", events=(Event(kind="bang"),))
    game.ask(at_us=began_us + 40 * MS, cut_us=began_us + 40 * MS)
    assert not game.player.is_stale
    game.player.not_begun()
    assert game.player.asked is None
    assert game.player.is_stale
    assert game.player.cut_us(game.clock.now_us(), began_us + 30 * MS) == began_us + 40 * MS
    assert game.player.fill_stats(Stats(), game.clock.now_us()).replans == 0
    again = game.ask(at_us=began_us + 40 * MS, cut_us=began_us + 40 * MS)
    assert (again.keep, again.window.actions[0]) == (1, "run; bang")
    game.player.not_begun()
    game.player.not_begun()  # nothing is asked for
    assert game.player.fill_stats(Stats(), game.clock.now_us()).replans == 0


def test_turning_far_shows_the_frame_that_saw_most_of_it(game: Game) -> None:
    game.tick()
    asked = game.ask()
    turned = quaternion_from_rotation_vector(np.radians([[0.0, 0.0, 0.0], [0.0, 30.0, 0.0], [0.0, 60.0, 0.0]]))
    object.__setattr__(asked.window, "rotations", turned)
    made = ChunkMade(
        world=0, slot=1, frames=np.zeros((3, 24, 32, 3), np.uint8), depth=None, actions=("",) * 3, stage_ms={}
    )
    game.player.deliver(made, game.clock.now_us())
    header = game.tick(rotation=tuple(turned[2]))
    assert (header.source, header.index) == (Source.REPROJECTED, 2)
    assert game.tick(rotation=tuple(turned[0])).source is Source.GENERATED  # its time has not passed with the other


@pytest.mark.parametrize("tick_hz", [60, 90, 120])
def test_every_tick_gets_its_own_view_however_much_faster_than_the_model_it_is(game: Game, tick_hz: int) -> None:
    game.tick()
    asked = game.ask()
    frames = np.random.default_rng(0).integers(0, 256, (3, 24, 32, 3), np.uint8)
    made = ChunkMade(
        world=0, slot=1, frames=frames, depth=np.full((3, 6, 8), 4.0, np.float32), actions=asked.window.actions,
        stage_ms={},
    )  # fmt: skip
    game.player.deliver(made, game.clock.now_us())
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
