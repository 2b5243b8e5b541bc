"""Which states of worlds are to be saved, and what became of it: every SAVE is answered once, while there is a service.

Plain bookkeeping, owned by supervisor.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from bridge.engine.events import EngineEvent, WorldRefused, WorldSaved
from bridge.engine.ipc_messages import SaveDone

REPLACED: Final = "the engine process is being replaced; try again"


class EngineSaves:
    """Saves that the engine process was asked for, and those that it never will be."""

    def __init__(self) -> None:
        self._sent: list[tuple[int, Path]] = []  # and not answered
        self._failed: list[WorldSaved] = []  # and not told of yet

    def sent(self, world: int, path: Path) -> None:
        self._sent.append((world, path))

    def answered(self, done: SaveDone) -> WorldSaved:
        self._sent.remove((done.world, done.path))
        return WorldSaved(world=done.world, path=done.path, size_bytes=done.size_bytes, text=done.text)

    def fail(self, world: int, paths: Iterable[Path], text: str) -> None:
        """These could not be sent; `take_failed` tells of them."""
        self._failed += _not_saved(((world, path) for path in paths), text)

    def take_failed(self) -> list[WorldSaved]:
        failed, self._failed = self._failed, []
        return failed

    def lost(self) -> list[WorldSaved]:
        """What the process had been asked for when it ended."""
        sent, self._sent = self._sent, []
        return _not_saved(sent, REPLACED)


def refused(world: int, saves: Sequence[Path], text: str) -> list[EngineEvent]:
    """A world ends; so do the saves that waited for it to begin, which are told of first."""
    return [*_not_saved(((world, path) for path in saves), text), WorldRefused(world=world, text=text)]


def _not_saved(asked: Iterable[tuple[int, Path]], text: str) -> list[WorldSaved]:
    return [WorldSaved(world=world, path=path, size_bytes=0, text=text) for world, path in asked]
