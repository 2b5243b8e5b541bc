"""The server's side of the engine's process: requests in, events out, never blocking.

**Supervision.** The model runs in a process of its own, so that a CUDA fault or an out-of-memory kill ends no game.
After every step the process sends the session's new state, plain arrays, over the pipe; the server keeps the newest
one of each session (session_table.py). When the process ends or hangs (process.py), another one is started with
growing pauses; it adopts these states, and sessions continue where their last chunk ended. A step under way is lost:
its session asks again.

**Frames being written.** Frames lie in shared memory that the server owns (chunk_pool.py) and that outlives a
process. A slot is taken before a step begins and is the writer's until the chunk is whole, which may be after the
step's result, when the decoder runs beside the next step. If the process ends in between, the frames that were
reported stay valid, the missing ones never come, and the slot is freed when the server releases it
(work_tracker.py).

**Blame.** A session that was being worked on when a process ended is suspect. A suspect's next step runs alone,
beside no other session's step and no other's last frames, so that nobody else is blamed for it. It is cleared by a
whole chunk and given up after several deaths in a row.

All methods belong to the server's thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bridge.clock import Clock
from bridge.engine.interface import ControlWindow, EngineInfo, Plan, SessionStart
from bridge.engine.ipc_messages import (
    Adopt,
    ArrivingChunk,
    Attach,
    ChunkFailed,
    Forget,
    Open,
    PrefetchPrompt,
    Ready,
    Report,
    Save,
    SessionOpened,
    SessionRefused,
    StateSaved,
    Step,
    StepBatch,
    Unusable,
)
from bridge.engine.pipe import Ended, EngineConfig
from bridge.engine.process import EngineProcess
from bridge.engine.session_table import REPLACED, SaveTracker, SessionTable, refused
from bridge.engine.work_tracker import WorkTracker
from bridge.errors import ConfigError, EngineError, EngineIncompatible, EngineUnavailable

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineUp:
    """A process is ready; sessions of an earlier one continue in it."""

    info: EngineInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineDown:
    """The process ended and will be replaced; what it was doing is lost."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineGivenUp:
    """No engine process can be started."""

    error: EngineError | ConfigError


EngineEvent = (
    EngineUp | EngineDown | EngineGivenUp | SessionOpened | SessionRefused | StateSaved | ArrivingChunk | ChunkFailed
)


class EngineSupervisor:
    """Owns the engine's process and its sessions. All methods belong to the server's thread."""

    def __init__(self, config: EngineConfig, clock: Clock) -> None:
        self._config = config
        self._sessions = SessionTable(config.world_attempts)
        self._info: EngineInfo | None = None
        self._saves = SaveTracker()
        self._work = WorkTracker(clock)
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
        """True when a step would begin at once; a suspect's (see `step_batch`) may have to wait all the same."""
        if not self._process.is_ready or self._work.is_stepping:
            return False
        return not any(map(self._sessions.is_suspect, self._work.engine_sessions))

    def open(self, start: SessionStart) -> int:
        """Opens an engine session. Returns: its id. SessionOpened or SessionRefused follows."""
        engine_session = self._sessions.add(start)
        self._open_next()
        return engine_session

    def forget(self, engine_session: int) -> None:
        """Nothing more is heard of `engine_session` but what became of its saves and, perhaps, the failure or chunk of
        a step already begun."""
        known = self._sessions.remove(engine_session)
        if known is None:
            return
        if known.saves:
            self._saves.fail(engine_session, known.saves, "it was replaced before it had begun")
            self._process.wake()
        if self._process.is_ready:
            self._process.send(Forget(engine_session=engine_session))

    def step(self, engine_session: int, window: ControlWindow, plan: Plan, *, keep: int | None = None) -> bool:
        """Begins a chunk if it can begin now. An ArrivingChunk with its result, ChunkFailed or EngineDown follows.

        keep: go on after so many frames of the session's newest chunk (one of its `cuts`) instead of after all.
        """
        return bool(self.step_batch([Step(engine_session=engine_session, window=window, plan=plan, keep=keep)]))

    def step_batch(self, wanted: Sequence[Step]) -> int:
        """As `step` for several sessions at once, all of one plan. Returns: how many were begun, the first ones.

        A slot of the ring may not be free for every one; and who was at work when a process ended is tried alone,
        beside nobody's step and nobody's last frames, so that nobody else is taken for the cause.
        """
        if not self.idle or any(each.engine_session not in self._sessions for each in wanted):
            return 0
        if any(self._sessions.is_suspect(each.engine_session) for each in wanted):
            wanted = wanted[:1]
            if self._work.is_growing and self._sessions.is_suspect(wanted[0].engine_session):
                return 0
        slots = self._work.begin_steps([each.engine_session for each in wanted])
        steps = [replace(each, slot=slot) for each, slot in zip(wanted, slots, strict=False)]
        if len(steps) == 1:
            self._process.send(steps[0])
        elif steps:
            self._process.send(StepBatch(steps=tuple(steps)))
        return len(steps)

    def save(self, engine_session: int, path: Path) -> None:
        """Writes a session's state, as it is after its newest chunk, to `path`. StateSaved follows."""
        known = self._sessions.get(engine_session)
        if self._process.is_ready and known is not None and known.state is None:
            known.saves.append(path)
        elif self._process.is_ready and known is not None:
            self._saves.sent(engine_session, path)
            self._process.send(Save(engine_session=engine_session, path=path))
        else:
            self._saves.fail(engine_session, [path], REPLACED)
            self._process.wake()

    def prefetch_prompt(self, engine_session: int, prompt: str | None, action: str) -> None:
        """A chunk of `engine_session` will soon be told this; an engine that can gets ready for it meanwhile."""
        if self._process.is_ready and engine_session in self._sessions:
            self._process.send(PrefetchPrompt(engine_session=engine_session, prompt=prompt, action=action))

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
        """Opens the oldest session that waits for it.

        One at a time: a client that opens many must not delay steps, and of sessions that are forgotten in quick
        succession most are never opened.
        """
        if not self._process.is_ready or self._work.is_opening:
            return
        if (waiting := self._sessions.next_to_begin) is not None:
            engine_session, start = waiting
            self._work.begin_opening(engine_session)
            self._process.send(Open(engine_session=engine_session, start=start))

    def _on_word(self, word: Report | Ended) -> list[EngineEvent]:
        match word:
            case Ready():
                return self._on_ready(word.info)
            case SessionOpened() | SessionRefused():
                return self._on_opened(word)
            case StateSaved():
                self._saves.answered(word)
                return [word]
            case ArrivingChunk():
                return self._on_chunk(word)
            case ChunkFailed():
                self._work.landed(word.slot)
                self._work.release(word.slot)
                return [word]
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
        for engine_session, state in self._sessions.states():
            self._process.send(Adopt(engine_session=engine_session, state=state))
        self._open_next()
        _log.info("engine.up model=%s runner=%s pid=%s", info.model, info.runner, self._process.pid)
        return [EngineUp(info=info)]

    def _on_opened(self, word: SessionOpened | SessionRefused) -> list[EngineEvent]:
        self._work.opened()
        known = self._sessions.get(word.engine_session)
        events: list[EngineEvent] = []
        if known is not None and isinstance(word, SessionOpened):
            known.state = word.state
            for path in known.saves:
                self.save(word.engine_session, path)
            known.saves.clear()
            events = [word]
        elif known is not None and isinstance(word, SessionRefused):
            self._sessions.remove(word.engine_session)
            events += refused(word.engine_session, known.saves, word.text)
        self._open_next()
        return events

    def _on_chunk(self, chunk: ArrivingChunk) -> list[EngineEvent]:
        if chunk.result is None:
            unwanted = self._work.is_unwanted(chunk.slot)
            if self._work.grew(chunk):
                self._succeeded(chunk.engine_session)
            if unwanted or chunk.engine_session not in self._sessions:
                return []
        else:
            self._work.landed(chunk.slot)
            if chunk.missing:
                self._work.grows_on(chunk.engine_session, chunk.slot)
            else:
                self._succeeded(chunk.engine_session)
            known = self._sessions.get(chunk.engine_session)
            if known is None:
                self._work.release(chunk.slot)
                return []
            known.state = chunk.result.state
        frames, depth = self._work.view(chunk)
        return [replace(chunk, frames=frames, depth=depth)]

    def _succeeded(self, engine_session: int) -> None:
        """A chunk of `engine_session` has all its frames."""
        self._process.proved()
        self._sessions.clear(engine_session)

    def _on_ended(self, reason: str) -> list[EngineEvent]:
        try:
            reason = self._process.ended(reason)
        except EngineUnavailable as exc:
            return self._give_up(exc)
        events: list[EngineEvent] = [EngineDown(reason=reason), *self._saves.lost()]
        for engine_session, given_up in self._sessions.blame(self._work.abandon()):
            text = f"the engine process ended {given_up.deaths} times in a row over this session ({reason})"
            events += refused(engine_session, given_up.saves, text)
        return events

    def _give_up(self, error: EngineError | ConfigError) -> list[EngineEvent]:
        self._process.give_up()
        return [EngineGivenUp(error=error)]
