"""The newest state of every engine session, which one is blamed when a process ends, and which saves are unanswered.

A process continues from these states after a crash. A session that was being worked on when a process ended is suspect
until a chunk of it is whole. If several processes in a row end over it, it is given up, so that the others live. Every
SAVE is answered once, whatever becomes of the process. Plain bookkeeping, owned by supervisor.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bridge.engine.interface import SessionStart, State
from bridge.engine.ipc_messages import SessionRefused, StateSaved


@dataclass(slots=True)
class EngineSession:
    """state: after its newest chunk, None until it has begun. deaths: how many processes ended over it since a chunk of
    it was whole. saves: asked for before it began."""

    start: SessionStart
    state: State | None = None
    deaths: int = 0
    saves: list[Path] = field(default_factory=list)


class SessionTable:
    """All engine sessions by id: 0, 1, ... in the order in which they were asked for."""

    def __init__(self, attempts: int) -> None:
        """attempts: how many processes in a row may end over a session."""
        self._attempts = attempts
        self._sessions: dict[int, EngineSession] = {}
        self._next = 0

    def __contains__(self, engine_session: int) -> bool:
        return engine_session in self._sessions

    def add(self, start: SessionStart) -> int:
        """Returns: the new session's id."""
        engine_session = self._next
        self._next += 1
        self._sessions[engine_session] = EngineSession(start=start)
        return engine_session

    def get(self, engine_session: int) -> EngineSession | None:
        """None for one that was removed."""
        return self._sessions.get(engine_session)

    def remove(self, engine_session: int) -> EngineSession | None:
        """Returns: it, None if it was removed before."""
        return self._sessions.pop(engine_session, None)

    @property
    def next_to_begin(self) -> tuple[int, SessionStart] | None:
        """The oldest session that is not open yet; None when all are."""
        return next(
            ((engine_session, known.start) for engine_session, known in self._sessions.items() if known.state is None),
            None,
        )

    def states(self) -> Iterator[tuple[int, State]]:
        """The newest state of every open session, by id."""
        for engine_session, known in self._sessions.items():
            if known.state is not None:
                yield engine_session, known.state

    def is_suspect(self, engine_session: int) -> bool:
        """A process ended over it, perhaps, and it has made no whole chunk since."""
        known = self._sessions.get(engine_session)
        return known is not None and known.deaths > 0

    def clear(self, engine_session: int) -> None:
        """A chunk of it is whole: nothing about it ends a process."""
        if (known := self._sessions.get(engine_session)) is not None:
            known.deaths = 0

    def blame(self, engine_sessions: Sequence[int]) -> list[tuple[int, EngineSession]]:
        """A process ended while it was at work on `engine_sessions`. Removes and returns those given up for it."""
        given_up = []
        for engine_session in engine_sessions:
            known = self._sessions.get(engine_session)
            if known is not None:
                known.deaths += 1
                if known.deaths >= self._attempts:
                    del self._sessions[engine_session]
                    given_up.append((engine_session, known))
        return given_up


REPLACED: Final = "the engine process is being replaced; try again"


class SaveTracker:
    """Saves that the engine process was asked for, and those that it never will be."""

    def __init__(self) -> None:
        self._sent: list[tuple[int, Path]] = []  # and not answered
        self._failed: list[StateSaved] = []  # and not told of yet

    def sent(self, engine_session: int, path: Path) -> None:
        self._sent.append((engine_session, path))

    def answered(self, done: StateSaved) -> None:
        self._sent.remove((done.engine_session, done.path))

    def fail(self, engine_session: int, paths: Iterable[Path], text: str) -> None:
        """These could not be sent; `take_failed` tells of them."""
        self._failed += _not_saved(((engine_session, path) for path in paths), text)

    def take_failed(self) -> list[StateSaved]:
        failed, self._failed = self._failed, []
        return failed

    def lost(self) -> list[StateSaved]:
        """What the process had been asked for when it ended."""
        sent, self._sent = self._sent, []
        return _not_saved(sent, REPLACED)


def refused(engine_session: int, saves: Sequence[Path], text: str) -> list[StateSaved | SessionRefused]:
    """Events for a session that ends: first its saves that still waited, then the refusal."""
    return [
        *_not_saved(((engine_session, path) for path in saves), text),
        SessionRefused(engine_session=engine_session, text=text),
    ]


def _not_saved(asked: Iterable[tuple[int, Path]], text: str) -> list[StateSaved]:
    return [
        StateSaved(engine_session=engine_session, path=path, size_bytes=0, text=text) for engine_session, path in asked
    ]
