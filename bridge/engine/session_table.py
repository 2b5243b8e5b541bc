"""Every world's newest state, from which a fresh process goes on, and who is to blame when one ends.

Whoever a process was at work on may be why it ended: that world is suspect until a chunk of it is whole, and given up
when it was so a few times in a row, so that the others live. Pure bookkeeping; owned by supervisor.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bridge.engine.interface import ControlWindow, Plan, SessionStart, State


@dataclass(slots=True)
class World:
    """state: after its newest chunk, None until it has begun. deaths: how many processes ended over it since a chunk of
    it was whole. saves: asked for before it began."""

    start: SessionStart
    state: State | None = None
    deaths: int = 0
    saves: list[Path] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedStep:
    """What `EngineSupervisor.step` is asked."""

    world: int
    window: ControlWindow
    plan: Plan
    keep: int | None = None


class EngineWorlds:
    """The worlds that are asked for, by name: 0, 1, ... in the order in which they were."""

    def __init__(self, attempts: int) -> None:
        """attempts: how many processes in a row may end over a world."""
        self._attempts = attempts
        self._worlds: dict[int, World] = {}
        self._next = 0

    def __contains__(self, world: int) -> bool:
        return world in self._worlds

    def add(self, start: SessionStart) -> int:
        """Returns: the new world's name."""
        world = self._next
        self._next += 1
        self._worlds[world] = World(start=start)
        return world

    def get(self, world: int) -> World | None:
        """None for one that was removed."""
        return self._worlds.get(world)

    def remove(self, world: int) -> World | None:
        """Returns: it, None if it was removed before."""
        return self._worlds.pop(world, None)

    @property
    def next_to_begin(self) -> tuple[int, SessionStart] | None:
        """The oldest world that has not begun, None when all have."""
        return next(((world, known.start) for world, known in self._worlds.items() if known.state is None), None)

    def states(self) -> Iterator[tuple[int, State]]:
        """Of every world that has begun, by name."""
        for world, known in self._worlds.items():
            if known.state is not None:
                yield world, known.state

    def is_suspect(self, world: int) -> bool:
        """A process ended over it, perhaps, and it has made no whole chunk since."""
        known = self._worlds.get(world)
        return known is not None and known.deaths > 0

    def clear(self, world: int) -> None:
        """A chunk of it is whole: nothing about it ends a process."""
        if (known := self._worlds.get(world)) is not None:
            known.deaths = 0

    def blame(self, worlds: Sequence[int]) -> list[tuple[int, World]]:
        """A process ended while it was at work on `worlds`. Returns: those given up for it, which are removed."""
        given_up = []
        for world in worlds:
            known = self._worlds.get(world)
            if known is not None:
                known.deaths += 1
                if known.deaths >= self._attempts:
                    del self._worlds[world]
                    given_up.append((world, known))
        return given_up
