"""Keeps one engine process alive beside the server, without ever making the server wait.

Here live watching, killing and replacing the process (`link.py` runs one), the ring it writes into, and the newest
state of every world, from which a fresh process goes on. All methods are for the server's thread.
"""

from __future__ import annotations

import enum
import logging
import queue
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.clock import Clock
from bridge.engine import ControlWindow, EngineInfo, Plan, SessionStart, State
from bridge.errors import ConfigError, EngineError, EngineIncompatible, EngineUnavailable
from bridge.frames import SharedFrameRing
from bridge.link import Ended, EngineConfig, Inbox, Link, Wake
from bridge.worker import (
    Adopt,
    Attach,
    Began,
    Failed,
    Forget,
    Made,
    Open,
    Ready,
    Refused,
    Report,
    Step,
    Unusable,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUp:
    """A process is ready; worlds of an earlier one go on in it."""

    info: EngineInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDown:
    """The process is gone and will be replaced. `lost`: the world whose step died with it."""

    reason: str
    lost: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGivenUp:
    """No engine process can be had."""

    error: EngineError | ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldOpened:
    world: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldRefused:
    """The engine cannot show this world, or keeps dying over it; it is forgotten."""

    world: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChunkMade:
    """`frames` (N, H, W, 3) and `depth` (N, h, w) are views of ring slot `slot`, valid until it is released."""

    world: int
    slot: int
    frames: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    actions: tuple[str, ...]
    stage_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkFailed:
    world: int
    text: str


EngineEvent = EngineUp | EngineDown | EngineGivenUp | WorldOpened | WorldRefused | ChunkMade | ChunkFailed


class _Phase(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    ENDED = "ended"


@dataclass(slots=True)
class _World:
    start: SessionStart
    state: State | None = None
    deaths: int = 0


@dataclass(slots=True)
class _InFlight:
    world: int
    slot: int
    since_us: int


class EngineSupervisor:
    """Owns the engine process, the ring, and the newest state of every world."""

    def __init__(self, config: EngineConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._wake = Wake()
        self._inbox: Inbox = queue.SimpleQueue()
        self._worlds: dict[int, _World] = {}
        self._next_world = 0
        self._ring: SharedFrameRing | None = None
        self._info: EngineInfo | None = None
        self._in_flight: _InFlight | None = None
        self._opening: dict[int, int] = {}
        self._kill_reason = ""
        self._failed_starts = 0
        self._backoff_us = config.first_backoff_us
        self._again_us = 0
        self.restarts = 0
        self._phase = _Phase.STARTING
        self._started_us = clock.now_us()
        self._link = Link(config, self._inbox, self._wake)

    def fileno(self) -> int:
        """Readable when `poll` has something to say."""
        return self._wake.fileno()

    def wake(self) -> None:
        """Makes `fileno` readable; may be called from any thread and from signal handlers."""
        self._wake.set()

    @property
    def idle(self) -> bool:
        """True when a step would begin at once."""
        return self._phase is _Phase.READY and self._in_flight is None

    def open(self, start: SessionStart) -> int:
        """Begins a world and names it. WorldOpened or WorldRefused follows."""
        world = self._next_world
        self._next_world += 1
        self._worlds[world] = _World(start=start)
        if self._phase is _Phase.READY:
            self._send_open(world)
        return world

    def forget(self, world: int) -> None:
        """Nothing more will be heard of `world` but, perhaps, the failure or chunk of a step already begun."""
        if self._worlds.pop(world, None) is not None and self._phase is _Phase.READY:
            self._link.send(Forget(world=world))

    def step(self, world: int, window: ControlWindow, plan: Plan) -> bool:
        """Begins a chunk if it can begin now. ChunkMade, ChunkFailed or EngineDown follows."""
        if not self.idle or world not in self._worlds or self._ring is None:
            return False
        slot = self._ring.acquire()
        if slot is None:
            return False
        self._in_flight = _InFlight(world=world, slot=slot, since_us=self._clock.now_us())
        self._link.send(Step(world=world, window=window, plan=plan, slot=slot))
        return True

    def release(self, slot: int) -> None:
        """The views of this slot are no longer used."""
        if self._ring is not None:
            self._ring.release(slot)

    @property
    def next_timeout_us(self) -> int | None:
        """When `poll` must be called even if nothing was heard."""
        if self._phase is _Phase.WAITING:
            return self._again_us
        if self._kill_reason:
            return None
        if self._phase is _Phase.STARTING:
            return self._started_us + self._config.start_timeout_us
        busy_since_us = [*self._opening.values(), *([self._in_flight.since_us] if self._in_flight else [])]
        if self._phase is _Phase.READY and busy_since_us:
            return min(busy_since_us) + self._config.step_timeout_us
        return None

    def poll(self) -> list[EngineEvent]:
        """What happened since the last call. Never blocks."""
        self._wake.clear()
        events: list[EngineEvent] = []
        while True:
            try:
                link, word = self._inbox.get_nowait()
            except queue.Empty:
                break
            if link is self._link and self._phase is not _Phase.ENDED:
                events += self._on_word(word)
        timeout_us, now_us = self.next_timeout_us, self._clock.now_us()
        if timeout_us is not None and now_us >= timeout_us:
            if self._phase is _Phase.WAITING:
                self.restarts += 1
                self._start()
            else:
                self._kill_reason = "hung"
                self._link.kill()
        return events

    def stop(self, patience_s: float = 1.0) -> None:
        """Ends the process and frees the ring. Blocks shortly. May be called twice."""
        if self._phase is not _Phase.ENDED:
            self._link.finish(patience_s)
        self._phase = _Phase.ENDED
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        self._wake.close()

    def _start(self) -> None:
        self._phase = _Phase.STARTING
        self._kill_reason = ""
        self._started_us = self._clock.now_us()
        self._link = Link(self._config, self._inbox, self._wake)

    def _send_open(self, world: int) -> None:
        self._opening[world] = self._clock.now_us()
        self._link.send(Open(world=world, start=self._worlds[world].start))

    def _on_word(self, word: Report | Ended) -> list[EngineEvent]:
        match word:
            case Ready():
                return self._on_ready(word.info)
            case Began():
                self._opening.pop(word.world, None)
                if word.world not in self._worlds:
                    return []
                self._worlds[word.world].state = word.state
                return [WorldOpened(world=word.world)]
            case Refused():
                self._opening.pop(word.world, None)
                if self._worlds.pop(word.world, None) is None:
                    return []
                return [WorldRefused(world=word.world, text=word.text)]
            case Made():
                return self._on_made(word)
            case Failed():
                self._in_flight = None
                self.release(word.slot)
                return [ChunkFailed(world=word.world, text=word.text)]
            case Unusable():
                if self._info is None:
                    return self._give_up(word.error)
                _log.error("engine.unusable error=%s", word.error)
                return []
            case Ended():
                return self._on_ended(word.reason)

    def _on_ready(self, info: EngineInfo) -> list[EngineEvent]:
        if self._info is not None and self._info != info:
            return self._give_up(EngineIncompatible(f"engine: came back as {info}, expected {self._info} as before"))
        if self._ring is None:
            try:
                self._ring = SharedFrameRing.create(info, self._config.slots)
            except EngineUnavailable as exc:
                return self._give_up(exc)
        self._info = info
        self._phase = _Phase.READY
        self._failed_starts = 0
        self._link.send(Attach(layout=self._ring.layout))
        for world, known in self._worlds.items():
            if known.state is None:
                self._send_open(world)
            else:
                self._link.send(Adopt(world=world, state=known.state))
        _log.info("engine.up model=%s runner=%s pid=%s", info.model, info.runner, self._link.process.pid)
        return [EngineUp(info=info)]

    def _on_made(self, made: Made) -> list[EngineEvent]:
        assert self._ring is not None, "a step needs the ring"
        self._in_flight = None
        self._backoff_us = self._config.first_backoff_us
        known = self._worlds.get(made.world)
        if known is None:
            self.release(made.slot)
            return []
        known.state = made.state
        known.deaths = 0
        frames, depth = self._ring.view(made.slot, made.frames, with_depth=made.with_depth)
        return [
            ChunkMade(
                world=made.world,
                slot=made.slot,
                frames=frames,
                depth=depth,
                actions=made.actions,
                stage_ms=made.stage_ms,
            )
        ]

    def _on_ended(self, reason: str) -> list[EngineEvent]:
        reason = self._kill_reason or reason
        if self._phase is _Phase.STARTING:
            self._failed_starts += 1
            # Once it has worked, games depend on it: then it is tried for ever, at a growing distance.
            if self._info is None and self._failed_starts >= self._config.start_attempts:
                text = f"engine: the process ended {self._failed_starts} times while starting ({reason}); see its log"
                return self._give_up(EngineUnavailable(text))
        stepping, self._in_flight = self._in_flight, None
        opening, self._opening = list(self._opening), {}
        if stepping is not None:
            self.release(stepping.slot)
        self._phase = _Phase.WAITING
        self._again_us = self._clock.now_us() + self._backoff_us
        _log.warning("engine.down reason=%s again_ms=%d", reason, self._backoff_us // 1000)
        self._backoff_us = min(2 * self._backoff_us, self._config.longest_backoff_us)
        lost = None if stepping is None else stepping.world
        events: list[EngineEvent] = [EngineDown(reason=reason, lost=lost)]
        # Whoever was being worked on may be the reason; after a few times it is, and the others shall live.
        for world in ([stepping.world] if stepping is not None else []) + opening[:1]:
            known = self._worlds.get(world)
            if known is not None:
                known.deaths += 1
                if known.deaths >= self._config.world_attempts:
                    del self._worlds[world]
                    text = f"the engine process ended {known.deaths} times in a row over this session ({reason})"
                    events.append(WorldRefused(world=world, text=text))
        return events

    def _give_up(self, error: EngineError | ConfigError) -> list[EngineEvent]:
        self._link.finish(0.5)
        self._phase = _Phase.ENDED
        return [EngineGivenUp(error=error)]
