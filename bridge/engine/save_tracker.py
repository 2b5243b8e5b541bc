"""Tracks which states are to be saved: every SAVE is answered once, whatever becomes of the process.

Plain bookkeeping, owned by supervisor.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bridge.engine.ipc_messages import SessionRefused, StateSaved

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
    """A world ends; so do the saves that waited for it to begin, which are told of first."""
    return [
        *_not_saved(((engine_session, path) for path in saves), text),
        SessionRefused(engine_session=engine_session, text=text),
    ]


def _not_saved(asked: Iterable[tuple[int, Path]], text: str) -> list[StateSaved]:
    return [
        StateSaved(engine_session=engine_session, path=path, size_bytes=0, text=text) for engine_session, path in asked
    ]
