"""The supervisor against a scripted engine process: no process, no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from bridge import engine_process
from bridge.clock import FakeClock
from bridge.engine import ControlWindow, EngineInfo, Plan, SessionStart
from bridge.engine_events import ChunkGrowing, ChunkMade, EngineDown, EngineUp, WorldOpened, WorldRefused, WorldSaved
from bridge.engine_words import (
    Adopt,
    Began,
    Command,
    Forget,
    Growing,
    Made,
    Open,
    Ready,
    Refused,
    Report,
    Save,
    Step,
    Together,
)
from bridge.link import Ended, EngineConfig, Inbox, Wake
from bridge.supervisor import EngineSupervisor, WantedStep

INFO = EngineInfo(
    model="t", runner="t", frame_width=4, frame_height=2, frames_per_chunk=(2,), depth_width=2, depth_height=1,
    camera_method="none", default_map="t",
)  # fmt: skip
START = SessionStart(seed=0, prompt="", scene=None)
STATE = {"n": np.array(1)}
PLAN = Plan(frames=2, steps=(1,), rung="full")
WINDOW = ControlWindow(
    positions=np.zeros((2, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (2, 1)), vertical_fov_deg=np.full(2, 60.0),
    actions=("", ""), scene_updates=(), cut=False, newest_control_t_us=0,
)  # fmt: skip


class Process:
    """Stands for `Link`: keeps what it is sent, says what a test tells it to."""

    newest: Process

    def __init__(self, config: EngineConfig, inbox: Inbox, wake: Wake) -> None:
        self.inbox = inbox
        self.sent: list[Command] = []
        self.killed = False
        self.process = SimpleNamespace(pid=1)
        Process.newest = self

    def send(self, command: Command) -> None:
        self.sent.append(command)

    def say(self, word: Report | Ended) -> None:
        self.inbox.put((self, word))  # type: ignore[arg-type]

    def kill(self) -> None:
        self.killed = True

    def finish(self, patience_s: float) -> None:
        pass

    def opened(self) -> list[int]:
        return [command.world for command in self.sent if isinstance(command, Open)]


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineSupervisor]:
    monkeypatch.setattr(engine_process, "Link", Process)
    made = EngineSupervisor(EngineConfig(slots=2, world_attempts=2, first_backoff_us=1000), FakeClock())
    Process.newest.say(Ready(info=INFO))
    assert made.poll() == [EngineUp(info=INFO)]
    yield made
    made.stop()


def clock_of(supervisor: EngineSupervisor) -> FakeClock:
    clock = supervisor._process._clock
    assert isinstance(clock, FakeClock)
    return clock


def revive(supervisor: EngineSupervisor) -> None:
    clock_of(supervisor).advance_us(10_000_000)
    supervisor.poll()
    Process.newest.say(Ready(info=INFO))
    assert supervisor.poll() == [EngineUp(info=INFO)]


def test_worlds_are_opened_one_at_a_time_in_order(supervisor: EngineSupervisor) -> None:
    process = Process.newest
    worlds = [supervisor.open(START) for _ in range(3)]
    assert process.opened() == worlds[:1]
    process.say(Began(world=worlds[0], state=STATE))
    assert supervisor.poll() == [WorldOpened(world=worlds[0])]
    assert process.opened() == worlds[:2]
    process.say(Refused(world=worlds[1], text="no"))
    assert supervisor.poll() == [WorldRefused(world=worlds[1], text="no")]
    assert process.opened() == worlds


def test_a_world_that_has_not_begun_is_saved_when_it_has(supervisor: EngineSupervisor) -> None:
    process = Process.newest
    first, second, third = (supervisor.open(START) for _ in range(3))
    for world in (second, third):
        supervisor.save(world, Path("here"))
    process.say(Began(world=first, state=STATE))
    supervisor.poll()
    assert not [command for command in process.sent if isinstance(command, Save)]
    process.say(Began(world=second, state=STATE))
    assert supervisor.poll() == [WorldOpened(world=second)]
    assert [command for command in process.sent if isinstance(command, Save)] == [Save(world=second, path=Path("here"))]
    process.say(Refused(world=third, text="no"))
    assert supervisor.poll() == [
        WorldSaved(world=third, path=Path("here"), size_bytes=0, text="no"),
        WorldRefused(world=third, text="no"),
    ]


def test_a_client_that_begins_anew_without_end_opens_two_worlds(supervisor: EngineSupervisor) -> None:
    process = Process.newest
    for _ in range(1000):
        supervisor.forget(supervisor.open(START))
    last = supervisor.open(START)
    assert len(process.opened()) == 1
    process.say(Began(world=process.opened()[0], state=STATE))
    assert supervisor.poll() == []
    assert process.opened()[1:] == [last]


def test_a_fresh_process_adopts_what_had_begun_and_opens_the_rest(supervisor: EngineSupervisor) -> None:
    begun, waiting, gone = (supervisor.open(START) for _ in range(3))
    Process.newest.say(Began(world=begun, state=STATE))
    supervisor.poll()
    supervisor.forget(gone)
    assert Forget(world=gone) in Process.newest.sent
    Process.newest.say(Ended("killed"))
    assert supervisor.poll() == [EngineDown(reason="killed")]
    assert not supervisor.step(begun, WINDOW, PLAN)
    revive(supervisor)
    adopted = [command.world for command in Process.newest.sent if isinstance(command, Adopt)]
    assert (adopted, Process.newest.opened()) == ([begun], [waiting])


def test_a_world_whose_opening_kills_the_process_is_refused_and_the_next_is_opened(
    supervisor: EngineSupervisor,
) -> None:
    bad, good = supervisor.open(START), supervisor.open(START)
    Process.newest.say(Ended("crash"))
    assert supervisor.poll() == [EngineDown(reason="crash")]
    revive(supervisor)
    assert Process.newest.opened() == [bad]
    Process.newest.say(Ended("crash"))
    assert [type(event) for event in supervisor.poll()] == [EngineDown, WorldRefused]
    revive(supervisor)
    assert Process.newest.opened() == [good]


def test_a_process_that_hangs_over_a_step_is_killed_and_its_slot_is_free_again(supervisor: EngineSupervisor) -> None:
    clock = clock_of(supervisor)
    world = supervisor.open(START)
    Process.newest.say(Began(world=world, state=STATE))
    supervisor.poll()
    for _ in range(3):  # more often than there are slots
        assert supervisor.step(world, WINDOW, PLAN)
        assert not supervisor.step(world, WINDOW, PLAN)
        assert isinstance(Process.newest.sent[-1], Step)
        clock.advance_us(20_000_000)
        supervisor.poll()
        assert Process.newest.killed
        Process.newest.say(Ended("signal"))
        assert supervisor.poll()[0] == EngineDown(reason="hung")
        revive(supervisor)
        if world not in supervisor._worlds:  # two deaths over it are enough
            world = supervisor.open(START)
            Process.newest.say(Began(world=world, state=STATE))
            supervisor.poll()


def made(world: int, slot: int) -> Made:
    return Made(
        world=world, slot=slot, frames=2, missing=1, with_depth=False, actions=("", ""), stage_ms={}, state=STATE
    )


def whole(world: int, slot: int) -> Growing:
    return Growing(world=world, slot=slot, frames=2, made=2, with_depth=False, actions=("", ""))


def stepped(supervisor: EngineSupervisor, world: int) -> int:
    """The slot of a step that began."""
    assert supervisor.step(world, WINDOW, PLAN)
    step = Process.newest.sent[-1]
    assert isinstance(step, Step)
    return step.slot


def begun(supervisor: EngineSupervisor) -> int:
    world = supervisor.open(START)
    Process.newest.say(Began(world=world, state=STATE))
    supervisor.poll()
    return world


def test_the_engine_is_free_while_the_last_frames_of_a_chunk_come(supervisor: EngineSupervisor) -> None:
    world = begun(supervisor)
    slot = stepped(supervisor, world)
    Process.newest.say(made(world, slot))
    (event,) = supervisor.poll()
    assert isinstance(event, ChunkMade)
    assert event.missing == 1
    assert supervisor.idle
    stepped(supervisor, world)
    Process.newest.say(whole(world, slot))
    (event,) = supervisor.poll()
    assert isinstance(event, ChunkGrowing)
    assert (event.slot, event.made) == (slot, 2)


@pytest.mark.parametrize("ends", ["whole", "killed"])
def test_a_slot_that_is_still_written_into_is_not_used_again(supervisor: EngineSupervisor, ends: str) -> None:
    world = begun(supervisor)
    slot = stepped(supervisor, world)
    Process.newest.say(made(world, slot))
    supervisor.poll()
    supervisor.release(slot)  # a teleport: nobody wants it
    other = stepped(supervisor, world)
    Process.newest.say(made(world, other))
    supervisor.poll()
    assert other != slot
    assert not supervisor.step(world, WINDOW, PLAN)  # there are two slots
    if ends == "whole":
        Process.newest.say(whole(world, slot))
        assert supervisor.poll() == []
    else:
        Process.newest.say(Ended("killed"))
        supervisor.poll()
        revive(supervisor)
    assert stepped(supervisor, world) == slot
    supervisor.release(other)


def opened_pair(supervisor: EngineSupervisor) -> tuple[int, int]:
    first, second = supervisor.open(START), supervisor.open(START)
    for world in (first, second):
        Process.newest.say(Began(world=world, state=STATE))
        supervisor.poll()
    return first, second


def made_whole(world: int, slot: int) -> Made:
    return Made(world=world, slot=slot, frames=2, with_depth=False, actions=("", ""), stage_ms={}, state=STATE)


def test_steps_of_several_worlds_go_out_together_and_each_has_its_answer(supervisor: EngineSupervisor) -> None:
    worlds = opened_pair(supervisor)
    wanted = [WantedStep(world=world, window=WINDOW, plan=PLAN) for world in worlds]
    assert supervisor.step_together(wanted) == 2
    command = Process.newest.sent[-1]
    assert isinstance(command, Together)
    slots = [step.slot for step in command.steps]
    assert sorted(slots) == [0, 1]
    Process.newest.say(made_whole(worlds[0], slots[0]))
    assert [type(event) for event in supervisor.poll()] == [ChunkMade]
    assert not supervisor.idle  # the other one is still under way
    Process.newest.say(made_whole(worlds[1], slots[1]))
    supervisor.poll()
    assert supervisor.idle


def test_only_as_many_begin_as_there_are_slots(supervisor: EngineSupervisor) -> None:
    worlds = opened_pair(supervisor)
    assert supervisor.step(worlds[0], WINDOW, PLAN)
    step = Process.newest.sent[-1]
    assert isinstance(step, Step)
    Process.newest.say(made_whole(worlds[0], step.slot))
    supervisor.poll()  # its slot is the caller's
    wanted = [WantedStep(world=world, window=WINDOW, plan=PLAN) for world in worlds]
    assert supervisor.step_together(wanted) == 1
    assert isinstance(Process.newest.sent[-1], Step)


def test_whoever_was_at_work_when_a_process_ended_is_tried_alone(supervisor: EngineSupervisor) -> None:
    guilty, innocent = opened_pair(supervisor)
    wanted = [WantedStep(world=world, window=WINDOW, plan=PLAN) for world in (innocent, guilty)]
    assert supervisor.step_together(wanted) == 2
    Process.newest.say(Ended(reason="crashed"))
    assert [type(event) for event in supervisor.poll()] == [EngineDown]
    revive(supervisor)
    assert supervisor.step_together(wanted) == 1
    step = Process.newest.sent[-1]
    assert isinstance(step, Step)
    assert step.world == innocent
    Process.newest.say(made_whole(innocent, step.slot))
    supervisor.poll()
    supervisor.release(step.slot)
    assert supervisor.step_together(wanted) == 1  # the guilty one is still under suspicion
    Process.newest.say(made_whole(innocent, step.slot))
    supervisor.poll()
    supervisor.release(step.slot)
    assert supervisor.step_together(wanted[1:]) == 1
    Process.newest.say(Ended(reason="crashed"))
    refused = [event for event in supervisor.poll() if isinstance(event, WorldRefused)]
    assert [event.world for event in refused] == [guilty]


def test_a_world_whose_frames_end_the_process_is_given_up_and_nobody_beside_it(supervisor: EngineSupervisor) -> None:
    guilty, innocent = opened_pair(supervisor)
    Process.newest.say(made(guilty, stepped(supervisor, guilty)))
    supervisor.poll()
    stepped(supervisor, innocent)  # beside the guilty one's last frames
    Process.newest.say(Ended(reason="crashed"))
    assert [type(event) for event in supervisor.poll()] == [EngineDown]
    revive(supervisor)
    slot = stepped(supervisor, guilty)
    Process.newest.say(made(guilty, slot))
    supervisor.poll()
    assert not supervisor.idle  # whoever began now would be taken for the cause
    assert not supervisor.step(innocent, WINDOW, PLAN)
    Process.newest.say(Ended(reason="crashed"))
    refused = [event for event in supervisor.poll() if isinstance(event, WorldRefused)]
    assert [event.world for event in refused] == [guilty]


def test_a_suspect_begins_beside_nobody_and_is_one_until_its_chunk_is_whole(supervisor: EngineSupervisor) -> None:
    suspect, other = opened_pair(supervisor)
    stepped(supervisor, suspect)
    Process.newest.say(Ended(reason="crashed"))
    supervisor.poll()
    revive(supervisor)
    slot = stepped(supervisor, other)
    Process.newest.say(made(other, slot))
    supervisor.poll()
    assert supervisor.idle  # for all but the suspect
    assert not supervisor.step(suspect, WINDOW, PLAN)
    Process.newest.say(whole(other, slot))
    supervisor.poll()
    supervisor.release(slot)
    slot = stepped(supervisor, suspect)
    Process.newest.say(made(suspect, slot))
    supervisor.poll()
    assert not supervisor.idle
    Process.newest.say(whole(suspect, slot))
    supervisor.poll()
    assert supervisor.idle
    Process.newest.say(made(other, stepped(supervisor, other)))
    supervisor.poll()
    supervisor.release(slot)
    assert supervisor.step(suspect, WINDOW, PLAN)  # cleared


def test_last_frames_that_do_not_come_count_as_a_hang(supervisor: EngineSupervisor) -> None:
    clock = clock_of(supervisor)
    world = begun(supervisor)
    Process.newest.say(made(world, stepped(supervisor, world)))
    supervisor.poll()
    assert supervisor.next_timeout_us == clock.now_us() + 20_000_000
    clock.advance_us(20_000_000)
    supervisor.poll()
    assert Process.newest.killed


def test_a_process_that_ends_over_last_frames_again_and_again_is_tried_less_often(
    supervisor: EngineSupervisor,
) -> None:
    clock = clock_of(supervisor)
    waits = []
    for _ in range(2):
        world = begun(supervisor)
        Process.newest.say(made(world, stepped(supervisor, world)))
        supervisor.poll()
        Process.newest.say(Ended(reason="crashed"))
        supervisor.poll()
        assert supervisor.next_timeout_us is not None
        waits.append(supervisor.next_timeout_us - clock.now_us())
        revive(supervisor)
    assert waits[1] == 2 * waits[0]


def test_nobody_steps_while_a_world_that_may_end_the_process_is_opened(supervisor: EngineSupervisor) -> None:
    innocent = begun(supervisor)
    bad = supervisor.open(START)
    assert supervisor.idle  # nothing speaks against it yet
    Process.newest.say(Ended("crash"))
    supervisor.poll()
    revive(supervisor)
    assert Process.newest.opened() == [bad]
    assert not supervisor.step(innocent, WINDOW, PLAN)
    Process.newest.say(Ended("crash"))
    refused = [event for event in supervisor.poll() if isinstance(event, WorldRefused)]
    assert [event.world for event in refused] == [bad]
    revive(supervisor)
    assert supervisor.step(innocent, WINDOW, PLAN)
