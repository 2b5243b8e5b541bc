"""What the engine's next chunk is: who remembers what happened, and what follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.clock import FakeClock
from bridge.config import ServeConfig
from bridge.engine.events import ChunkMade
from bridge.engine.interface import EngineInfo, Rung
from bridge.errors import ConfigError
from bridge.protocol.messages import Control, Event
from bridge.scheduling.chunk_scheduler import REPROJECT, Conductor, ConductorConfig
from bridge.scheduling.edf import Start
from bridge.scheduling.in_flight_chunk import Delivered
from bridge.scheduling.start_margin import Cause
from bridge.service.render_session import Player
from bridge.session.events import ControlAccepted

MS = 1000
RUNGS = (Rung(name="full", steps=(1, 1, 1)), Rung(name="half", steps=(1, 1, 0), cost_share=0.5))
INFO = EngineInfo(
    model="t", runner="t", frame_width=8, frame_height=4, frames_per_chunk=(4, 8), depth_width=8, depth_height=4,
    camera_method="none", default_map="t", rungs=RUNGS,
)  # fmt: skip


class Room:
    """A conductor, players who want frames, and a clock."""

    def __init__(self, *, quality: str = "auto", players: int = 1) -> None:
        self.clock = FakeClock(10_000 * MS)
        self.conductor = Conductor(ConductorConfig(fps=25.0, quality=quality), INFO, self.clock.now_us())
        self.players = {name: self._player() for name in "abc"[:players]}

    def control(self, name: str, *events: Event) -> None:
        now_us = self.clock.now_us()
        control = Control(
            seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0, events=events
        )
        accepted = ControlAccepted(control=control, received_us=now_us, deadline_us=now_us + 16 * MS)
        self.players[name].push(accepted)

    def _player(self) -> Player:
        player = Player(config=ServeConfig(fps=25.0), info=INFO, clock=self.clock)
        player.opened = True
        now_us = self.clock.now_us()
        control = Control(seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0)
        player.push(ControlAccepted(control=control, received_us=now_us, deadline_us=now_us + 16 * MS))
        return player

    def next_start(self) -> Start:
        start = self.conductor.next_start(self.clock.now_us(), self.players)
        assert start is not None
        return start

    def chunk(self, cost_ms: float) -> Start:
        """Makes the next chunk, and what follows from it."""
        start = self.next_start()
        self.clock.sleep_until_us(start.at_us)
        asked = self.players[start.session].ask(self.clock.now_us(), start)
        self.conductor.begun(self.clock.now_us(), asked)
        self.clock.advance_us(round(cost_ms * MS))
        self.players[start.session].lose()
        self.conductor.made(self.clock.now_us(), asked, Delivered(useful=True, lead_us=round(cost_ms * MS)))
        return start


def test_nobody_wants_frames() -> None:
    assert Room().conductor.next_start(0, {}) is None


def test_a_name_that_is_no_rung_is_refused_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="got 'best', expected auto, full, half, reproject"):
        Room(quality="best")


@pytest.mark.parametrize(("quality", "steps"), [("full", (1, 1, 1)), ("half", (1, 1, 0))])
def test_a_pinned_quality_is_kept_however_slow(quality: str, steps: tuple[int, ...]) -> None:
    room = Room(quality=quality)
    for _ in range(20):
        start = room.chunk(3000)
    assert (start.plan.rung, start.plan.steps) == (quality, steps)


def test_a_slow_engine_goes_down_a_rung_and_a_fast_one_does_not() -> None:
    slow, fast = Room(), Room()
    assert {slow.chunk(2000).plan.rung for _ in range(10)} == {"full", "half"}
    assert {fast.chunk(100).plan.rung for _ in range(10)} == {"full"}


def test_on_reprojection_alone_a_chunk_is_made_now_and_then_to_find_out() -> None:
    room = Room(quality=REPROJECT)
    room.chunk(100)
    assert room.next_start().at_us - room.clock.now_us() >= 14_000 * MS


def test_another_session_is_let_in_when_what_chunks_cost_leaves_room_for_it() -> None:
    room = Room(players=1)
    assert room.conductor.refusal(room.clock.now_us(), 3) is None  # nothing is known yet
    for _ in range(5):
        room.chunk(500)  # 8 frames: 16 a second, twice that on the cheaper rung
    now_us = room.clock.now_us()
    assert room.conductor.refusal(now_us, 0) is None
    assert room.conductor.refusal(now_us, 1) is None
    refusal = room.conductor.refusal(now_us, 20)
    assert refusal is not None
    assert "20 sessions" in refusal


def test_a_gap_is_blamed_on_what_kept_the_engine() -> None:
    room = Room(players=2)
    first = room.chunk(100)
    late = Start(session=first.session, at_us=0, display_us=0, frame_us=1, plan=first.plan, late_us=5 * MS)
    in_time = Start(session=first.session, at_us=0, display_us=0, frame_us=1, plan=first.plan)
    assert room.conductor.cause(in_time) is Cause.OVERRUN
    assert room.conductor.cause(late) is Cause.TOO_SLOW
    other = "b" if first.session == "a" else "a"
    crowded = Start(session=other, at_us=0, display_us=0, frame_us=1, plan=first.plan, late_us=5 * MS)
    assert room.conductor.cause(crowded) is Cause.CROWDED
    room.clock.advance_us(1)
    room.conductor.replaced(room.clock.now_us())
    assert room.conductor.cause(late) is Cause.ENGINE


def test_what_a_cut_throws_away_is_spent_when_its_chunk_begins() -> None:
    room = Room()
    for _ in range(3):
        room.chunk(20)
    start = room.next_start()
    room.clock.sleep_until_us(start.at_us)
    player, frames = room.players["a"], start.plan.frames
    asked = player.ask(room.clock.now_us(), start)
    room.conductor.begun(room.clock.now_us(), asked)
    room.clock.advance_us(20 * MS)
    made = ChunkMade(
        world=0, slot=0, frames=np.zeros((frames, 4, 8, 3), np.uint8), depth=None, actions=("",) * frames, stage_ms={},
        cuts=tuple(range(1, frames)),
    )  # fmt: skip
    room.conductor.made(room.clock.now_us(), asked, player.deliver(made, room.clock.now_us()))
    room.clock.sleep_until_us(asked.start.display_us + 10 * MS)
    room.control("a", Event(kind="bang"))
    cut = room.next_start()
    assert cut.cut_us is not None
    assert cut.waste_us > 0
    asked = player.ask(room.clock.now_us(), cut)
    player.not_begun()  # no slot was free
    assert room.conductor.wasted_us("a") == 0
    assert room.next_start() == cut
    room.conductor.begun(room.clock.now_us(), player.ask(room.clock.now_us(), cut))
    assert room.conductor.wasted_us("a") == cut.waste_us


def test_engine_time_whose_frames_nobody_saw_is_counted() -> None:
    room = Room()
    start = room.next_start()
    asked = room.players["a"].ask(room.clock.now_us(), start)
    room.conductor.begun(room.clock.now_us(), asked)
    room.clock.advance_us(70 * MS)
    room.conductor.made(room.clock.now_us(), asked, Delivered(useful=False, lead_us=70 * MS))
    assert room.conductor.wasted_us("a") == 70 * MS
