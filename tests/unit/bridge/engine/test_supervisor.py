"""The supervisor against a scripted engine process: no process, no waiting."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.engine.ipc_messages import (
    Adopt,
    ChunkFailed,
    Forget,
    Ready,
    Save,
    SessionOpened,
    SessionRefused,
    StateSaved,
    Step,
)
from bridge.engine.pipe import Ended
from bridge.engine.supervisor import EngineDown, EngineSupervisor, EngineUp
from tests.scripted_process import INFO, PLAN, START, STATE, WINDOW, Process, begun, clock_of, revive, supervised


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineSupervisor]:
    with supervised(monkeypatch) as made:
        yield made


def test_worlds_are_opened_one_at_a_time_in_order(supervisor: EngineSupervisor) -> None:
    process = Process.newest
    engine_sessions = [supervisor.open(START) for _ in range(3)]
    assert process.opened() == engine_sessions[:1]
    process.say(SessionOpened(engine_session=engine_sessions[0], state=STATE))
    assert supervisor.poll() == [SessionOpened(engine_session=engine_sessions[0], state=STATE)]
    assert process.opened() == engine_sessions[:2]
    process.say(SessionRefused(engine_session=engine_sessions[1], text="no"))
    assert supervisor.poll() == [SessionRefused(engine_session=engine_sessions[1], text="no")]
    assert process.opened() == engine_sessions


def test_a_world_that_has_not_begun_is_saved_when_it_has(supervisor: EngineSupervisor) -> None:
    process = Process.newest
    first, second, third = (supervisor.open(START) for _ in range(3))
    for engine_session in (second, third):
        supervisor.save(engine_session, Path("here"))
    process.say(SessionOpened(engine_session=first, state=STATE))
    supervisor.poll()
    assert not [command for command in process.sent if isinstance(command, Save)]
    process.say(SessionOpened(engine_session=second, state=STATE))
    assert supervisor.poll() == [SessionOpened(engine_session=second, state=STATE)]
    assert [command for command in process.sent if isinstance(command, Save)] == [
        Save(engine_session=second, path=Path("here"))
    ]
    process.say(SessionRefused(engine_session=third, text="no"))
    assert supervisor.poll() == [
        StateSaved(engine_session=third, path=Path("here"), size_bytes=0, text="no"),
        SessionRefused(engine_session=third, text="no"),
    ]


def test_a_client_that_begins_anew_without_end_opens_two_worlds(supervisor: EngineSupervisor) -> None:
    process = Process.newest
    for _ in range(1000):
        supervisor.forget(supervisor.open(START))
    last = supervisor.open(START)
    assert len(process.opened()) == 1
    process.say(SessionOpened(engine_session=process.opened()[0], state=STATE))
    assert supervisor.poll() == []
    assert process.opened()[1:] == [last]


def test_a_fresh_process_adopts_what_had_begun_and_opens_the_rest(supervisor: EngineSupervisor) -> None:
    begun, waiting, gone = (supervisor.open(START) for _ in range(3))
    Process.newest.say(SessionOpened(engine_session=begun, state=STATE))
    supervisor.poll()
    supervisor.forget(gone)
    assert Forget(engine_session=gone) in Process.newest.sent
    Process.newest.say(Ended("killed"))
    assert supervisor.poll() == [EngineDown(reason="killed")]
    assert not supervisor.step(begun, WINDOW, PLAN)
    revive(supervisor)
    adopted = [command.engine_session for command in Process.newest.sent if isinstance(command, Adopt)]
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
    assert [type(event) for event in supervisor.poll()] == [EngineDown, SessionRefused]
    revive(supervisor)
    assert Process.newest.opened() == [good]


def test_a_save_of_a_world_that_is_given_up_before_it_began_is_answered(supervisor: EngineSupervisor) -> None:
    bad = supervisor.open(START)
    supervisor.save(bad, Path("here"))
    Process.newest.say(Ended("crash"))
    assert supervisor.poll() == [EngineDown(reason="crash")]  # it may still begin
    revive(supervisor)
    Process.newest.say(Ended("crash"))
    down, saved, refused = supervisor.poll()
    assert isinstance(down, EngineDown)
    assert isinstance(refused, SessionRefused)
    assert saved == StateSaved(engine_session=bad, path=Path("here"), size_bytes=0, text=refused.text)


def test_a_save_of_a_world_that_is_forgotten_before_it_began_is_answered(supervisor: EngineSupervisor) -> None:
    engine_session = supervisor.open(START)
    supervisor.save(engine_session, Path("here"))
    supervisor.forget(engine_session)
    (saved,) = supervisor.poll()
    assert isinstance(saved, StateSaved)
    assert (saved.engine_session, saved.path, saved.text != "") == (engine_session, Path("here"), True)
    assert supervisor.poll() == []


def test_a_process_that_hangs_over_a_step_is_killed_and_its_slot_is_free_again(supervisor: EngineSupervisor) -> None:
    clock = clock_of(supervisor)
    engine_session = supervisor.open(START)
    Process.newest.say(SessionOpened(engine_session=engine_session, state=STATE))
    supervisor.poll()
    for _ in range(3):  # more often than there are slots
        assert supervisor.step(engine_session, WINDOW, PLAN)
        assert not supervisor.step(engine_session, WINDOW, PLAN)
        assert isinstance(Process.newest.sent[-1], Step)
        clock.advance_us(20_000_000)
        supervisor.poll()
        assert Process.newest.killed
        Process.newest.say(Ended("signal"))
        assert supervisor.poll()[0] == EngineDown(reason="hung")
        revive(supervisor)
        if engine_session not in supervisor._sessions:  # two deaths over it are enough
            engine_session = supervisor.open(START)
            Process.newest.say(SessionOpened(engine_session=engine_session, state=STATE))
            supervisor.poll()


def test_an_engine_whose_chunks_take_long_is_given_the_time_that_its_warm_up_asks_for(
    supervisor: EngineSupervisor,
) -> None:
    clock, engine_session = clock_of(supervisor), begun(supervisor)
    Process.newest.say(Ended("killed"))
    supervisor.poll()
    clock.advance_us(10_000_000)
    supervisor.poll()
    slow = dataclasses.replace(INFO, chunk_us=30_000_000)
    Process.newest.say(Ready(info=slow))
    assert supervisor.poll() == [EngineUp(info=slow)]  # no other engine than before
    assert supervisor.step(engine_session, WINDOW, PLAN)
    clock.advance_us(120_000_000)  # chunks of four sessions at once
    supervisor.poll()
    assert not Process.newest.killed
    clock.advance_us(60_000_000)
    supervisor.poll()
    assert Process.newest.killed


def test_a_step_that_fails_gives_its_slot_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with supervised(monkeypatch) as supervisor:
        session = begun(supervisor)
        for attempt in range(20):  # more often than there are slots
            assert supervisor.step(session, WINDOW, PLAN), f"no slot is free after {attempt} failed steps"
            step = Process.newest.sent[-1]
            assert isinstance(step, Step)
            failed = ChunkFailed(engine_session=session, slot=step.slot, text="no")
            Process.newest.say(failed)
            assert supervisor.poll() == [failed]
