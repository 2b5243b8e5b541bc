"""Tracks what the engine's process is working on, since when, and in which slots of the pool.

A slot is taken before its step begins, written until the chunk is whole (which may be after the step's result), and
freed when its views are no longer used. Plain bookkeeping; owned by supervisor.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bridge.clock import Clock
from bridge.engine.chunk_pool import ChunkPool, PoolLayout
from bridge.engine.interface import EngineInfo
from bridge.engine.ipc_messages import ArrivingChunk


@dataclass(frozen=True, slots=True)
class _Chunk:
    engine_session: int
    slot: int
    since_us: int


@dataclass(frozen=True, slots=True)
class _Opening:
    engine_session: int
    since_us: int


class WorkTracker:
    """Sessions go by the ids that the supervisor gave them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ring: ChunkPool | None = None
        self._steps: list[_Chunk] = []  # sent together
        self._growing: dict[int, _Chunk] = {}  # by slot: chunks that are made, but for some of their frames
        self._unwanted: set[int] = set()  # those of them that were released
        self._opening: _Opening | None = None

    def attach(self, info: EngineInfo, slots: int) -> PoolLayout:
        """Where the ring is, which is made at the first call. Raises: EngineUnavailable: no memory for it."""
        if self._ring is None:
            self._ring = ChunkPool.create(info, slots)
        return self._ring.layout

    def close(self) -> None:
        """Frees the ring."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    @property
    def is_stepping(self) -> bool:
        """True while a step has no answer."""
        return bool(self._steps)

    @property
    def is_opening(self) -> bool:
        """Whether a session is being opened."""
        return self._opening is not None

    @property
    def is_growing(self) -> bool:
        """True while a chunk lacks frames whose step has its answer."""
        return bool(self._growing)

    @property
    def engine_sessions(self) -> list[int]:
        """Whose steps have no answer, whose chunks grow, and which is being begun."""
        engine_sessions = [chunk.engine_session for chunk in (*self._growing.values(), *self._steps)]
        engine_sessions += [] if self._opening is None else [self._opening.engine_session]
        return list(dict.fromkeys(engine_sessions))

    @property
    def since_us(self) -> int | None:
        """Since when whatever is worked on longest is; None when nothing is."""
        since_us = [chunk.since_us for chunk in (*self._steps, *self._growing.values())]
        since_us += [] if self._opening is None else [self._opening.since_us]
        return min(since_us, default=None)

    def begin_opening(self, engine_session: int) -> None:
        self._opening = _Opening(engine_session=engine_session, since_us=self._clock.now_us())

    def opened(self) -> None:
        """The session that was being opened has its answer."""
        self._opening = None

    def begin_steps(self, engine_sessions: list[int]) -> list[int]:
        """Takes a slot for a step of each. Returns: the slots, fewer than there are sessions when no more are free."""
        assert self._ring is not None, "a step needs the ring"
        now_us = self._clock.now_us()
        self._steps = []
        for engine_session in engine_sessions:
            slot = self._ring.acquire()
            if slot is None:
                break
            self._steps.append(_Chunk(engine_session=engine_session, slot=slot, since_us=now_us))
        return [step.slot for step in self._steps]

    def landed(self, slot: int) -> None:
        """A step has its answer; those sent with it are given their full time from now on."""
        now_us = self._clock.now_us()
        self._steps = [replace(step, since_us=now_us) for step in self._steps if step.slot != slot]

    def grows_on(self, engine_session: int, slot: int) -> None:
        """The chunk of a step that landed lacks frames, which are still being written."""
        self._growing[slot] = _Chunk(engine_session=engine_session, slot=slot, since_us=self._clock.now_us())

    def grew(self, arriving: ArrivingChunk) -> bool:
        """More frames came. Returns: True when that made a chunk whole whose step had landed before."""
        chunk = self._growing.get(arriving.slot)
        if chunk is None:
            return False
        if arriving.missing:
            self._growing[arriving.slot] = replace(chunk, since_us=self._clock.now_us())
            return False
        self._whole(arriving.slot)
        return True

    def is_unwanted(self, slot: int) -> bool:
        """True for a slot that was released before its chunk was whole."""
        return slot in self._unwanted

    def view(self, chunk: ArrivingChunk) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """Frames and depth as they lie in the ring, not copied."""
        assert self._ring is not None, "a step needs the ring"
        return self._ring.view(chunk.slot, chunk.frame_count, with_depth=chunk.with_depth)

    def release(self, slot: int) -> None:
        """The views of this slot are no longer used. One that is still written into is free once it is whole."""
        if slot in self._growing:
            self._unwanted.add(slot)
        elif self._ring is not None:
            self._ring.release(slot)

    def abandon(self) -> list[int]:
        """The process ended. Returns: the sessions that it was working on."""
        engine_sessions, steps = self.engine_sessions, self._steps
        self._steps, self._opening = [], None
        for step in steps:
            self.release(step.slot)
        for slot in tuple(self._growing):
            self._whole(slot)
        return engine_sessions

    def _whole(self, slot: int) -> None:
        """Nothing more is written into this slot."""
        self._growing.pop(slot, None)
        if slot in self._unwanted:
            self._unwanted.discard(slot)
            self.release(slot)
