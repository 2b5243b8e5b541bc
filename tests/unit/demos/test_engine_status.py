"""What a player is told of the service's engine while the picture stands still."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import bridge
from bridge.clock import FakeClock
from bridge.errors import ErrorCode
from bridge.protocol.messages import ErrorMessage, Stats
from demos.engine_status import STILL_US, EngineWatch


class Service:
    """Stands for `bridge.Client`: its engine was replaced so often; silent: STATS does not come."""

    def __init__(self, restarts: int = 0) -> None:
        self.restarts = restarts
        self.errors: list[ErrorMessage] = []
        self.asked = 0
        self.silent = False

    def stats(self, timeout_s: float = 1.0) -> Stats:
        self.asked += 1
        if self.silent:
            raise bridge.ReceiveTimeout("nothing came")
        return Stats(engine_restarts=self.restarts)


def watched(service: Service) -> tuple[FakeClock, Any, EngineWatch, list[str]]:
    clock, said = FakeClock(1_000_000), list[str]()
    session = SimpleNamespace(began_us=clock.now_us(), figures=SimpleNamespace(last_new_us=None))
    return clock, session, EngineWatch(service, clock, said.append), said


def test_an_engine_that_was_started_again_is_told_once_each_time() -> None:
    service = Service(restarts=2)  # before this player came
    clock, session, watch, said = watched(service)
    for restarts, expected in ((2, 0), (3, 1), (3, 1), (5, 2)):
        service.restarts = restarts
        clock.advance_us(STILL_US)
        watch.look(session)
        assert len(said) == expected
    assert "once" in said[0]
    assert "3 times" in said[1]


def test_a_service_that_makes_frames_is_not_asked() -> None:
    service = Service()
    clock, session, watch, said = watched(service)
    for _ in range(10):
        clock.advance_us(STILL_US)
        session.figures.last_new_us = clock.now_us()
        watch.look(session)
    clock.advance_us(STILL_US - 1)
    watch.look(session)
    assert (service.asked, said) == (1, [])  # at the start


def test_what_was_there_before_is_not_told_by_a_service_that_was_silent_at_the_start() -> None:
    service = Service(restarts=7)
    service.silent = True
    clock, session, watch, said = watched(service)
    service.silent = False
    for restarts in (7, 8):
        service.restarts = restarts
        clock.advance_us(STILL_US)
        watch.look(session)
    assert len(said) == 1
    assert "once" in said[0]


def test_a_chunk_that_fails_again_and_again_is_told_once() -> None:
    service = Service()
    _, session, watch, said = watched(service)
    for text in ("no room for it", "no room for it", "a mesh without embreex"):
        service.errors.append(ErrorMessage(code=ErrorCode.ENGINE_FAILED, text=text))
        service.errors.append(ErrorMessage(code=ErrorCode.BAD_MESH, text="of no concern here"))
        watch.look(session)
    assert [line.rpartition(": ")[2] for line in said] == ["no room for it", "a mesh without embreex"]
