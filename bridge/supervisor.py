"""Keeps one engine process alive beside the server, without ever making the server wait.

Here live watching, killing and replacing the process (`link.py` runs one), the ring it writes into, and the newest
state of every world, from which a fresh process goes on. All methods are for the server's thread.
"""

from __future__ import annotations

import enum
import logging
import queue
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bridge.chunk_ring import SharedFrameRing
from bridge.clock import Clock
from bridge.engine import ControlWindow, EngineInfo, Plan, SessionStart, State
from bridge.engine_events import (
    ChunkFailed,
    ChunkGrowing,
    ChunkMade,
    EngineDown,
    EngineEvent,
    EngineGivenUp,
    EngineUp,
    WorldOpened,
    WorldRefused,
    WorldSaved,
)
from bridge.engine_words import (
    Adopt,
    Attach,
    Began,
    Failed,
    Forget,
    Growing,
    Hear,
    Made,
    Open,
    Ready,
    Refused,
    Report,
    Save,
    SaveDone,
    Step,
    Together,
    Unusable,
)
from bridge.errors import ConfigError, EngineError, EngineIncompatible, EngineUnavailable
from bridge.link import Ended, EngineConfig, Inbox, Link, Wake

_log = logging.getLogger(__name__)


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
    saves: list[Path] = field(default_factory=list)  # asked for before it began


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedStep:
    """See `EngineSupervisor.step`."""

    world: int
    window: ControlWindow
    plan: Plan
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class _InFlight:
    world: int
    slot: int
    since_us: int


@dataclass(slots=True)
class _Opening:
    world: int
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
        self._in_flight: list[_InFlight] = []  # steps sent together
        self._growing: dict[int, _InFlight] = {}  # by slot: chunks that are made, but for some of their frames
        self._unwanted: set[int] = set()  # those of them that were released
        self._opening: _Opening | None = None
        self._saving: list[tuple[int, Path]] = []  # sent, not answered
        self._unsaved: list[tuple[int, Path]] = []  # could not be sent
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
        """True when a step would begin at once; a suspect's (see `step_together`) may have to wait all the same."""
        if self._phase is not _Phase.READY or self._in_flight:
            return False
        at_work = [chunk.world for chunk in self._growing.values()]
        at_work += [] if self._opening is None else [self._opening.world]
        return not any(map(self._is_suspect, at_work))

    def open(self, start: SessionStart) -> int:
        """Begins a world and names it. WorldOpened or WorldRefused follows."""
        world = self._next_world
        self._next_world += 1
        self._worlds[world] = _World(start=start)
        self._open_next()
        return world

    def forget(self, world: int) -> None:
        """Nothing more will be heard of `world` but, perhaps, the failure or chunk of a step already begun."""
        if self._worlds.pop(world, None) is not None and self._phase is _Phase.READY:
            self._link.send(Forget(world=world))

    def step(self, world: int, window: ControlWindow, plan: Plan, *, keep: int | None = None) -> bool:
        """Begins a chunk if it can begin now. ChunkMade, ChunkFailed or EngineDown follows.

        keep: go on after so many frames of the world's newest chunk (one of its `cuts`) instead of after all.
        """
        return bool(self.step_together([WantedStep(world=world, window=window, plan=plan, keep=keep)]))

    def step_together(self, wanted: Sequence[WantedStep]) -> int:
        """As `step` for several worlds at once, all of one plan. Returns: how many were begun, the first ones.

        A slot of the ring may not be free for every one; and who was at work when a process ended is tried alone,
        beside nobody's step and nobody's last frames, so that nobody else is taken for the cause.
        """
        if not self.idle or self._ring is None or any(each.world not in self._worlds for each in wanted):
            return 0
        if any(self._is_suspect(each.world) for each in wanted):
            wanted = wanted[:1]
            if self._growing and self._is_suspect(wanted[0].world):
                return 0
        steps: list[Step] = []
        for each in wanted:
            slot = self._ring.acquire()
            if slot is None:
                break
            steps.append(Step(world=each.world, window=each.window, plan=each.plan, slot=slot, keep=each.keep))
        now_us = self._clock.now_us()
        self._in_flight = [_InFlight(world=step.world, slot=step.slot, since_us=now_us) for step in steps]
        if len(steps) == 1:
            self._link.send(steps[0])
        elif steps:
            self._link.send(Together(steps=tuple(steps)))
        return len(steps)

    def save(self, world: int, path: Path) -> None:
        """Writes a world's state, as it is after its newest chunk, to `path`. WorldSaved follows."""
        known = self._worlds.get(world)
        if self._phase is _Phase.READY and known is not None and known.state is None:
            known.saves.append(path)
        elif self._phase is _Phase.READY and known is not None:
            self._saving.append((world, path))
            self._link.send(Save(world=world, path=path))
        else:
            self._unsaved.append((world, path))
            self._wake.set()

    def hear(self, world: int, prompt: str | None, action: str) -> None:
        """A chunk of `world` will soon be told this; an engine that can gets ready for it meanwhile."""
        if self._phase is _Phase.READY and world in self._worlds:
            self._link.send(Hear(world=world, prompt=prompt, action=action))

    def release(self, slot: int) -> None:
        """The views of this slot are no longer used. One that is still written into is free once it is whole."""
        if slot in self._growing:
            self._unwanted.add(slot)
        elif self._ring is not None:
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
        busy_since_us = [chunk.since_us for chunk in (*self._in_flight, *self._growing.values())]
        busy_since_us += [] if self._opening is None else [self._opening.since_us]
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
        events += self._lost_saves(self._unsaved)
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

    def _open_next(self) -> None:
        """Begins the oldest world that has not begun. One at a time: whoever opens many shall not keep steps waiting,
        and of worlds that are forgotten in quick succession most are never begun."""
        if self._phase is not _Phase.READY or self._opening is not None:
            return
        for world, known in self._worlds.items():
            if known.state is None:
                self._opening = _Opening(world=world, since_us=self._clock.now_us())
                self._link.send(Open(world=world, start=known.start))
                return

    def _on_word(self, word: Report | Ended) -> list[EngineEvent]:
        match word:
            case Ready():
                return self._on_ready(word.info)
            case Began() | Refused():
                return self._on_opened(word)
            case SaveDone():
                self._saving.remove((word.world, word.path))
                return [WorldSaved(world=word.world, path=word.path, size_bytes=word.size_bytes, text=word.text)]
            case Growing():
                return self._on_growing(word)
            case Made():
                return self._on_made(word)
            case Failed():
                self._landed(word.slot)
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
            if known.state is not None:
                self._link.send(Adopt(world=world, state=known.state))
        self._open_next()
        _log.info("engine.up model=%s runner=%s pid=%s", info.model, info.runner, self._link.process.pid)
        return [EngineUp(info=info)]

    def _on_opened(self, word: Began | Refused) -> list[EngineEvent]:
        self._opening = None
        known = self._worlds.get(word.world)
        events: list[EngineEvent] = []
        if known is not None and isinstance(word, Began):
            known.state = word.state
            for path in known.saves:
                self.save(word.world, path)
            known.saves.clear()
            events = [WorldOpened(world=word.world)]
        elif known is not None and isinstance(word, Refused):
            del self._worlds[word.world]
            events = [WorldSaved(world=word.world, path=path, size_bytes=0, text=word.text) for path in known.saves]
            events.append(WorldRefused(world=word.world, text=word.text))
        self._open_next()
        return events

    def _lost_saves(self, lost: list[tuple[int, Path]]) -> list[EngineEvent]:
        text = "the engine process is being replaced; try again"
        events: list[EngineEvent] = [
            WorldSaved(world=world, path=path, size_bytes=0, text=text) for world, path in lost
        ]
        lost.clear()
        return events

    def _on_growing(self, growing: Growing) -> list[EngineEvent]:
        assert self._ring is not None, "a step needs the ring"
        unwanted = growing.slot in self._unwanted
        if (chunk := self._growing.get(growing.slot)) is not None:
            self._growing[growing.slot] = replace(chunk, since_us=self._clock.now_us())
            if growing.made == growing.frames:
                self._whole(growing.slot)
                self._succeeded(growing.world)
        if unwanted or growing.world not in self._worlds:
            return []
        frames, depth = self._ring.view(growing.slot, growing.frames, with_depth=growing.with_depth)
        return [
            ChunkGrowing(
                world=growing.world,
                slot=growing.slot,
                made=growing.made,
                frames=frames,
                depth=depth,
                actions=growing.actions,
                parts=growing.parts,
            )
        ]

    def _whole(self, slot: int) -> None:
        """Nothing more is written into this slot."""
        self._growing.pop(slot, None)
        if slot in self._unwanted:
            self._unwanted.discard(slot)
            self.release(slot)

    def _succeeded(self, world: int) -> None:
        """A chunk of `world` has all its frames: nothing about it ends the process."""
        self._backoff_us = self._config.first_backoff_us
        if (known := self._worlds.get(world)) is not None:
            known.deaths = 0

    def _is_suspect(self, world: int) -> bool:
        """A process ended over it, perhaps, and it has made no whole chunk since."""
        known = self._worlds.get(world)
        return known is not None and known.deaths > 0

    def _on_made(self, made: Made) -> list[EngineEvent]:
        assert self._ring is not None, "a step needs the ring"
        self._landed(made.slot)
        if made.missing:
            self._growing[made.slot] = _InFlight(world=made.world, slot=made.slot, since_us=self._clock.now_us())
        else:
            self._succeeded(made.world)
        known = self._worlds.get(made.world)
        if known is None:
            self.release(made.slot)
            return []
        known.state = made.state
        frames, depth = self._ring.view(made.slot, made.frames, with_depth=made.with_depth)
        return [
            ChunkMade(
                world=made.world,
                slot=made.slot,
                missing=made.missing,
                frames=frames,
                depth=depth,
                actions=made.actions,
                stage_ms=made.stage_ms,
                cuts=made.cuts,
                parts=made.parts,
            )
        ]

    def _landed(self, slot: int) -> None:
        """A step has its answer; those sent with it are given their full time from now on."""
        now_us = self._clock.now_us()
        left = [step for step in self._in_flight if step.slot != slot]
        self._in_flight = [replace(step, since_us=now_us) for step in left]

    def _on_ended(self, reason: str) -> list[EngineEvent]:
        reason = self._kill_reason or reason
        if self._phase is _Phase.STARTING:
            self._failed_starts += 1
            # Once it has worked, games depend on it: then it is tried for ever, at a growing distance.
            if self._info is None and self._failed_starts >= self._config.start_attempts:
                text = f"engine: the process ended {self._failed_starts} times while starting ({reason}); see its log"
                return self._give_up(EngineUnavailable(text))
        stepping, self._in_flight = self._in_flight, []
        opening, self._opening = self._opening, None
        for step in stepping:
            self.release(step.slot)
        growing = tuple(self._growing.values())
        for slot in tuple(self._growing):
            self._whole(slot)
        self._phase = _Phase.WAITING
        self._again_us = self._clock.now_us() + self._backoff_us
        _log.warning("engine.down reason=%s again_ms=%d", reason, self._backoff_us // 1000)
        self._backoff_us = min(2 * self._backoff_us, self._config.longest_backoff_us)
        events: list[EngineEvent] = [EngineDown(reason=reason), *self._lost_saves(self._saving)]
        # Whoever was being worked on may be the reason; after a few times it is, and the others shall live.
        for world in dict.fromkeys(busy.world for busy in (*growing, *stepping, opening) if busy is not None):
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
