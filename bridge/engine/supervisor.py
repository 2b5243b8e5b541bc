"""Asks the engine process for what the server wants, without ever making the server wait.

Here what is asked becomes words to the process, and what it says events. Which worlds there are, and who is to blame
when a process ends, is session_table.py's; when it is killed and started again process.py's; what it is at work
on, and where, work_tracker.py's.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from bridge.clock import Clock
from bridge.engine.events import (
    ChunkFailed,
    ChunkGrowing,
    ChunkMade,
    EngineDown,
    EngineEvent,
    EngineGivenUp,
    EngineUp,
    WorldOpened,
)
from bridge.engine.interface import ControlWindow, EngineInfo, Plan, SessionStart
from bridge.engine.ipc_messages import (
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
from bridge.engine.pipe import Ended, EngineConfig
from bridge.engine.process import EngineProcess
from bridge.engine.save_tracker import REPLACED, EngineSaves, refused
from bridge.engine.session_table import EngineWorlds, WantedStep
from bridge.engine.work_tracker import EngineWork
from bridge.errors import ConfigError, EngineError, EngineIncompatible, EngineUnavailable

_log = logging.getLogger(__name__)


class EngineSupervisor:
    """Owns the engine process and its worlds. All methods are for the server's thread."""

    def __init__(self, config: EngineConfig, clock: Clock) -> None:
        self._config = config
        self._worlds = EngineWorlds(config.world_attempts)
        self._info: EngineInfo | None = None
        self._saves = EngineSaves()
        self._work = EngineWork(clock)
        self._process = EngineProcess(config, clock)

    def fileno(self) -> int:
        """Readable when `poll` has something to say."""
        return self._process.fileno()

    def wake(self) -> None:
        """Makes `fileno` readable; may be called from any thread and from signal handlers."""
        self._process.wake()

    @property
    def restarts(self) -> int:
        """How often the process was replaced."""
        return self._process.restarts

    @property
    def idle(self) -> bool:
        """True when a step would begin at once; a suspect's (see `step_together`) may have to wait all the same."""
        if not self._process.is_ready or self._work.is_stepping:
            return False
        return not any(map(self._worlds.is_suspect, self._work.worlds))

    def open(self, start: SessionStart) -> int:
        """Begins a world and names it. WorldOpened or WorldRefused follows."""
        world = self._worlds.add(start)
        self._open_next()
        return world

    def forget(self, world: int) -> None:
        """Nothing more is heard of `world` but what became of its saves and, perhaps, the failure or chunk of a step
        already begun."""
        known = self._worlds.remove(world)
        if known is None:
            return
        if known.saves:
            self._saves.fail(world, known.saves, "it was replaced before it had begun")
            self._process.wake()
        if self._process.is_ready:
            self._process.send(Forget(world=world))

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
        if not self.idle or any(each.world not in self._worlds for each in wanted):
            return 0
        if any(self._worlds.is_suspect(each.world) for each in wanted):
            wanted = wanted[:1]
            if self._work.is_growing and self._worlds.is_suspect(wanted[0].world):
                return 0
        slots = self._work.begin_steps([each.world for each in wanted])
        steps = [
            Step(world=each.world, window=each.window, plan=each.plan, slot=slot, keep=each.keep)
            for each, slot in zip(wanted, slots, strict=False)
        ]
        if len(steps) == 1:
            self._process.send(steps[0])
        elif steps:
            self._process.send(Together(steps=tuple(steps)))
        return len(steps)

    def save(self, world: int, path: Path) -> None:
        """Writes a world's state, as it is after its newest chunk, to `path`. WorldSaved follows."""
        known = self._worlds.get(world)
        if self._process.is_ready and known is not None and known.state is None:
            known.saves.append(path)
        elif self._process.is_ready and known is not None:
            self._saves.sent(world, path)
            self._process.send(Save(world=world, path=path))
        else:
            self._saves.fail(world, [path], REPLACED)
            self._process.wake()

    def hear(self, world: int, prompt: str | None, action: str) -> None:
        """A chunk of `world` will soon be told this; an engine that can gets ready for it meanwhile."""
        if self._process.is_ready and world in self._worlds:
            self._process.send(Hear(world=world, prompt=prompt, action=action))

    def release(self, slot: int) -> None:
        """The views of this slot are no longer used. One that is still written into is free once it is whole."""
        self._work.release(slot)

    @property
    def next_timeout_us(self) -> int | None:
        """When `poll` must be called even if nothing was heard."""
        return self._process.next_timeout_us(self._work.since_us)

    def poll(self) -> list[EngineEvent]:
        """What happened since the last call. Never blocks."""
        events: list[EngineEvent] = []
        for word in self._process.reports():
            events += self._on_word(word)
        events += self._saves.take_failed()
        self._process.tick(self._work.since_us)
        return events

    def stop(self, patience_s: float = 1.0) -> None:
        """Ends the process and frees the ring. Blocks shortly. May be called twice."""
        self._process.stop(patience_s)
        self._work.close()

    def _open_next(self) -> None:
        """Begins the oldest world that has not begun. One at a time: whoever opens many shall not keep steps waiting,
        and of worlds that are forgotten in quick succession most are never begun."""
        if not self._process.is_ready or self._work.is_opening:
            return
        if (waiting := self._worlds.next_to_begin) is not None:
            world, start = waiting
            self._work.begin_opening(world)
            self._process.send(Open(world=world, start=start))

    def _on_word(self, word: Report | Ended) -> list[EngineEvent]:
        match word:
            case Ready():
                return self._on_ready(word.info)
            case Began() | Refused():
                return self._on_opened(word)
            case SaveDone():
                return [self._saves.answered(word)]
            case Growing():
                return self._on_growing(word)
            case Made():
                return self._on_made(word)
            case Failed():
                self._work.landed(word.slot)
                self._work.release(word.slot)
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
        try:
            layout = self._work.attach(info, self._config.slots)
        except EngineUnavailable as exc:
            return self._give_up(exc)
        self._info = info
        self._process.came_up(info.chunk_us)
        self._process.send(Attach(layout=layout))
        for world, state in self._worlds.states():
            self._process.send(Adopt(world=world, state=state))
        self._open_next()
        _log.info("engine.up model=%s runner=%s pid=%s", info.model, info.runner, self._process.pid)
        return [EngineUp(info=info)]

    def _on_opened(self, word: Began | Refused) -> list[EngineEvent]:
        self._work.opened()
        known = self._worlds.get(word.world)
        events: list[EngineEvent] = []
        if known is not None and isinstance(word, Began):
            known.state = word.state
            for path in known.saves:
                self.save(word.world, path)
            known.saves.clear()
            events = [WorldOpened(world=word.world, scene=word.scene)]
        elif known is not None and isinstance(word, Refused):
            self._worlds.remove(word.world)
            events = refused(word.world, known.saves, word.text)
        self._open_next()
        return events

    def _on_growing(self, growing: Growing) -> list[EngineEvent]:
        unwanted = self._work.is_unwanted(growing.slot)
        if self._work.grew(growing):
            self._succeeded(growing.world)
        if unwanted or growing.world not in self._worlds:
            return []
        frames, depth = self._work.view(growing)
        return [
            ChunkGrowing(
                world=growing.world, slot=growing.slot, made=growing.made, frames=frames, depth=depth,
                actions=growing.actions, parts=growing.parts,
            )
        ]  # fmt: skip

    def _succeeded(self, world: int) -> None:
        """A chunk of `world` has all its frames."""
        self._process.proved()
        self._worlds.clear(world)

    def _on_made(self, made: Made) -> list[EngineEvent]:
        self._work.landed(made.slot)
        if made.missing:
            self._work.grows_on(made.world, made.slot)
        else:
            self._succeeded(made.world)
        known = self._worlds.get(made.world)
        if known is None:
            self._work.release(made.slot)
            return []
        known.state = made.state
        frames, depth = self._work.view(made)
        return [
            ChunkMade(
                world=made.world, slot=made.slot, missing=made.missing, frames=frames, depth=depth,
                actions=made.actions, stage_ms=made.stage_ms, cuts=made.cuts, parts=made.parts,
            )
        ]  # fmt: skip

    def _on_ended(self, reason: str) -> list[EngineEvent]:
        try:
            reason = self._process.ended(reason)
        except EngineUnavailable as exc:
            return self._give_up(exc)
        events: list[EngineEvent] = [EngineDown(reason=reason), *self._saves.lost()]
        for world, given_up in self._worlds.blame(self._work.abandon()):
            text = f"the engine process ended {given_up.deaths} times in a row over this session ({reason})"
            events += refused(world, given_up.saves, text)
        return events

    def _give_up(self, error: EngineError | ConfigError) -> list[EngineEvent]:
        self._process.give_up()
        return [EngineGivenUp(error=error)]
