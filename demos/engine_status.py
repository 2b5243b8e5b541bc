"""Tells a player what the service says of its engine's trouble: a line each time, so that a still picture has a reason.

The protocol tells it in two places: ERROR engine_failed, when the engine could not make what this session asked for,
and STATS, which counts the times that its process was replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import bridge
from bridge.clock import Clock
from bridge.errors import ErrorCode
from bridge.protocol.messages import ErrorMessage, Stats
from demos.session import BridgeSession

STILL_US = 3_000_000
"""Without a new frame for so long STATS is asked for, and again as long as none comes: a game in play never waits."""
_STATS_TIMEOUT_S = 0.2


class Teller(Protocol):
    """What a watch needs of `bridge.Client`."""

    @property
    def errors(self) -> Sequence[ErrorMessage]: ...

    def stats(self, timeout_s: float = 1.0) -> Stats: ...


def _print(text: str) -> None:
    print(text, flush=True)


class EngineWatch:
    """One session's; asks for STATS once when it is made. Not thread-safe."""

    def __init__(self, client: Teller, clock: Clock, say: Callable[[str], None] = _print) -> None:
        self._client = client
        self._clock = clock
        self._say = say
        self._failure = ""
        self._restarts_before: int | None = None
        self._restarts_told = 0
        self._ask()

    def look(self, session: BridgeSession) -> None:
        """Once a tick. Raises: what `bridge.Client.stats` raises, but for ReceiveTimeout."""
        failures = [error.text for error in self._client.errors if error.code is ErrorCode.ENGINE_FAILED]
        if failures and failures[-1] != self._failure:  # one that is tried again and again is told once
            self._failure = failures[-1]
            self._say(f"the service's engine failed: {self._failure}")
        new_us = session.began_us if session.figures.last_new_us is None else session.figures.last_new_us
        if self._clock.now_us() - max(new_us, self._asked_us) >= STILL_US:
            self._ask()

    def _ask(self) -> None:
        self._asked_us = self._clock.now_us()
        try:
            restarts = self._client.stats(_STATS_TIMEOUT_S).engine_restarts
        except bridge.ReceiveTimeout:
            return  # it is asked again
        if self._restarts_before is None:
            self._restarts_before = restarts
        count = restarts - self._restarts_before
        if count > self._restarts_told:
            self._restarts_told = count
            times = "once" if count == 1 else f"{count} times"
            self._say(f"the service's engine went down and was started again, {times} so far; the picture waits for it")
