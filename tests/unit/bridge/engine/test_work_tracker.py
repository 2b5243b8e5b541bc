"""Steps, last frames, slots, and who is to blame, through the supervisor and a scripted engine process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bridge.engine.ipc_messages import ArrivingChunk, SessionOpened, SessionRefused, Step, StepBatch, StepResult
from bridge.engine.pipe import Ended
from bridge.engine.supervisor import EngineDown, EngineSupervisor
from tests.scripted_process import (
    PLAN,
    START,
    STATE,
    WINDOW,
    Process,
    begun,
    clock_of,
    made,
    revive,
    stepped,
    supervised,
    whole,
)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineSupervisor]:
    with supervised(monkeypatch) as made:
        yield made


def test_the_engine_is_free_while_the_last_frames_of_a_chunk_come(supervisor: EngineSupervisor) -> None:
    engine_session = begun(supervisor)
    slot = stepped(supervisor, engine_session)
    Process.newest.say(made(engine_session, slot))
    (event,) = supervisor.poll()
    assert isinstance(event, ArrivingChunk)
    assert event.result is not None
    assert event.missing == 1
    assert supervisor.idle
    stepped(supervisor, engine_session)
    Process.newest.say(whole(engine_session, slot))
    (event,) = supervisor.poll()
    assert isinstance(event, ArrivingChunk)
    assert event.result is None
    assert (event.slot, event.frames_ready) == (slot, 2)


@pytest.mark.parametrize("ends", ["whole", "killed"])
def test_a_slot_that_is_still_written_into_is_not_used_again(supervisor: EngineSupervisor, ends: str) -> None:
    engine_session = begun(supervisor)
    slot = stepped(supervisor, engine_session)
    Process.newest.say(made(engine_session, slot))
    supervisor.poll()
    supervisor.release(slot)  # a teleport: nobody wants it
    other = stepped(supervisor, engine_session)
    Process.newest.say(made(engine_session, other))
    supervisor.poll()
    assert other != slot
    assert not supervisor.step(engine_session, WINDOW, PLAN)  # there are two slots
    if ends == "whole":
        Process.newest.say(whole(engine_session, slot))
        assert supervisor.poll() == []
    else:
        Process.newest.say(Ended("killed"))
        supervisor.poll()
        revive(supervisor)
    assert stepped(supervisor, engine_session) == slot
    supervisor.release(other)


def opened_pair(supervisor: EngineSupervisor) -> tuple[int, int]:
    first, second = supervisor.open(START), supervisor.open(START)
    for engine_session in (first, second):
        Process.newest.say(SessionOpened(engine_session=engine_session, state=STATE))
        supervisor.poll()
    return first, second


def made_whole(engine_session: int, slot: int) -> ArrivingChunk:
    return ArrivingChunk(
        engine_session=engine_session,
        slot=slot,
        frame_count=2,
        frames_ready=2,
        with_depth=False,
        actions=("", ""),
        result=StepResult(state=STATE, stage_ms={}),
    )


def test_steps_of_several_worlds_go_out_together_and_each_has_its_answer(supervisor: EngineSupervisor) -> None:
    engine_sessions = opened_pair(supervisor)
    wanted = [Step(engine_session=engine_session, window=WINDOW, plan=PLAN) for engine_session in engine_sessions]
    assert supervisor.step_batch(wanted) == 2
    command = Process.newest.sent[-1]
    assert isinstance(command, StepBatch)
    slots = [step.slot for step in command.steps]
    assert sorted(slots) == [0, 1]
    Process.newest.say(made_whole(engine_sessions[0], slots[0]))
    (event,) = supervisor.poll()
    assert isinstance(event, ArrivingChunk)
    assert event.result is not None
    assert not supervisor.idle  # the other one is still under way
    Process.newest.say(made_whole(engine_sessions[1], slots[1]))
    supervisor.poll()
    assert supervisor.idle


def test_only_as_many_begin_as_there_are_slots(supervisor: EngineSupervisor) -> None:
    engine_sessions = opened_pair(supervisor)
    assert supervisor.step(engine_sessions[0], WINDOW, PLAN)
    step = Process.newest.sent[-1]
    assert isinstance(step, Step)
    Process.newest.say(made_whole(engine_sessions[0], step.slot))
    supervisor.poll()  # its slot is the caller's
    wanted = [Step(engine_session=engine_session, window=WINDOW, plan=PLAN) for engine_session in engine_sessions]
    assert supervisor.step_batch(wanted) == 1
    assert isinstance(Process.newest.sent[-1], Step)


def test_whoever_was_at_work_when_a_process_ended_is_tried_alone(supervisor: EngineSupervisor) -> None:
    guilty, innocent = opened_pair(supervisor)
    wanted = [Step(engine_session=engine_session, window=WINDOW, plan=PLAN) for engine_session in (innocent, guilty)]
    assert supervisor.step_batch(wanted) == 2
    Process.newest.say(Ended(reason="crashed"))
    assert [type(event) for event in supervisor.poll()] == [EngineDown]
    revive(supervisor)
    assert supervisor.step_batch(wanted) == 1
    step = Process.newest.sent[-1]
    assert isinstance(step, Step)
    assert step.engine_session == innocent
    Process.newest.say(made_whole(innocent, step.slot))
    supervisor.poll()
    supervisor.release(step.slot)
    assert supervisor.step_batch(wanted) == 1  # the guilty one is still under suspicion
    Process.newest.say(made_whole(innocent, step.slot))
    supervisor.poll()
    supervisor.release(step.slot)
    assert supervisor.step_batch(wanted[1:]) == 1
    Process.newest.say(Ended(reason="crashed"))
    refused = [event for event in supervisor.poll() if isinstance(event, SessionRefused)]
    assert [event.engine_session for event in refused] == [guilty]


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
    refused = [event for event in supervisor.poll() if isinstance(event, SessionRefused)]
    assert [event.engine_session for event in refused] == [guilty]


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
    engine_session = begun(supervisor)
    Process.newest.say(made(engine_session, stepped(supervisor, engine_session)))
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
        engine_session = begun(supervisor)
        Process.newest.say(made(engine_session, stepped(supervisor, engine_session)))
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
    refused = [event for event in supervisor.poll() if isinstance(event, SessionRefused)]
    assert [event.engine_session for event in refused] == [bad]
    revive(supervisor)
    assert supervisor.step(innocent, WINDOW, PLAN)
