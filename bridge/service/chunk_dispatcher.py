"""Drives the engine for all sessions: opens their engine sessions, starts chunks, hands over the frames that arrive.

A chunk's way through the service, in the order in which it goes:

1. `start_chunks` asks the scheduler which session's chunk is due, and when;
2. each of these says what its chunk shows, a camera and an action a frame (`RenderSession.start_chunk`);
3. the engine begins the steps, as a batch where several sessions' chunks are made at once;
4. `on_event` hands arriving frames to the render session, a few at a time, and tells the scheduler what the chunk cost.

When a chunk is due is scheduling/'s decision. Keeping the engine's process alive is the engine supervisor's task.
Sessions and sockets are unknown here: what a client must be told is returned as `SessionNotice`s.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from bridge.engine.interface import SessionStart
from bridge.engine.ipc_messages import ArrivingChunk, ChunkFailed, SessionOpened, SessionRefused, StateSaved, Step
from bridge.engine.state_file import name_of, path_of
from bridge.engine.supervisor import EngineDown, EngineEvent, EngineUp
from bridge.protocol.messages import MessageType, Reset, Saved, SceneUpdate, Stats
from bridge.scheduling.chunk_scheduler import ChunkScheduler
from bridge.scheduling.edf import ScheduledChunk
from bridge.service.render_session import RenderSession
from bridge.session.events import ControlAccepted

_RETRY_FAILED_CHUNK_US = 500_000


class EnginePort(Protocol):
    """What the service asks of an engine. `EngineSupervisor` satisfies it; simulations bring their own."""

    @property
    def idle(self) -> bool:
        """Whether a step would begin at once."""
        ...

    @property
    def restarts(self) -> int:
        """How often the engine's process was replaced."""
        ...

    def open(self, start: SessionStart) -> int:
        """Opens an engine session and returns its id. `SessionOpened` or `SessionRefused` follows."""
        ...

    def forget(self, engine_session: int) -> None: ...

    def step_batch(self, steps: Sequence[Step]) -> int:
        """Begins chunks of one plan. Returns: how many were begun, the first ones."""
        ...

    def prefetch_prompt(self, engine_session: int, prompt: str | None, action: str) -> None: ...

    def save(self, engine_session: int, path: Path) -> None:
        """`StateSaved` follows."""
        ...

    def release(self, slot: int) -> None:
        """The frames in this slot of the chunk pool are no longer used."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionNotice:
    """News for a session: its state was `saved`; or the engine failed (`text`); or a RESET's saved state was read
    (`restored`) and shows `scene`, or could not be read (`scene` is None)."""

    session_id: str
    saved: Saved | None = None
    text: str = ""
    in_reply_to: str = ""
    restored: bool = False
    scene: SceneUpdate | None = None


class ChunkDispatcher:
    """Not thread-safe.

    Args:
        render_sessions: by session id; shared with the caller, who adds to it.
        states: the folder that SAVE writes into; None where the service offers no SAVE.
    """

    def __init__(
        self,
        engine: EnginePort,
        scheduler: ChunkScheduler,
        render_sessions: dict[str, RenderSession],
        states: Path | None,
    ) -> None:
        self._engine = engine
        self._scheduler = scheduler
        self._render_sessions = render_sessions
        self._states = states
        self._next: ScheduledChunk | None = None
        self._saving: dict[tuple[int, Path], list[str]] = {}  # session ids whose SAVE is unanswered

    # -- a chunk's way ---------------------------------------------------------------------------------------------

    @property
    def next_start_us(self) -> int | None:
        """When `start_chunks` has the next chunk to start; None while that is unknown."""
        return None if self._next is None else self._next.at_us

    def start_chunks(self, now_us: int, active: Iterable[str]) -> None:
        """Starts the next chunk if its time has come; else remembers when that will be.

        Args:
            active: ids of the sessions whose clients can be reached.
        """
        self._next = None
        if not self._engine.idle:
            return
        playing = {
            session_id: render_session
            for session_id in active
            if (render_session := self._render_sessions[session_id]).wants_frames(now_us)
        }
        scheduled = self._scheduler.next_start(now_us, playing)
        if scheduled is None or scheduled.at_us > now_us:
            self._next = scheduled
            return
        for each in self._render_sessions.values():
            self._release(each.store.evict(now_us))
        self._start(now_us, playing, (scheduled, *scheduled.beside))

    def _start(self, now_us: int, playing: Mapping[str, RenderSession], scheduled: Sequence[ScheduledChunk]) -> None:
        render_sessions = [playing[each.session] for each in scheduled]
        chunks = [
            render_session.start_chunk(now_us, each, cause=self._scheduler.cause(each))
            for render_session, each in zip(render_sessions, scheduled, strict=True)
        ]
        steps = [
            Step(engine_session=_opened(render_session), window=chunk.window, plan=chunk.plan, keep=chunk.keep)
            for render_session, chunk in zip(render_sessions, chunks, strict=True)
        ]
        begun = self._engine.step_batch(steps)
        for chunk in chunks[:begun]:
            self._scheduler.begun(now_us, chunk)
        for render_session in render_sessions[begun:]:
            # No slot of the pool is free (the next eviction frees one), or the session must be tried alone, soon.
            render_session.cancel_chunk()

    def on_event(self, event: EngineEvent, now_us: int) -> list[SessionNotice]:
        """Takes in what the engine did, except that it gave up."""
        match event:
            case ArrivingChunk():
                self._on_frames(event, now_us)
            case ChunkFailed(engine_session=engine_session, text=text):
                return self._on_chunk_failed(engine_session, text, now_us)
            case SessionOpened(engine_session=engine_session, scene=scene):
                return self._on_opened(engine_session, scene)
            case SessionRefused(engine_session=engine_session, text=text):
                return self._on_session_refused(engine_session, text)
            case StateSaved():
                return self._on_saved(event)
            case EngineUp():
                self._scheduler.replaced(now_us)
            case EngineDown():
                for render_session in self._render_sessions.values():
                    render_session.lose_engine()
        return []

    def _on_frames(self, chunk: ArrivingChunk, now_us: int) -> None:
        """More frames of a chunk are there, or the engine is done with it (its result has come)."""
        render_session = self._render_session_of(chunk.engine_session)
        in_flight = None if render_session is None else render_session.in_flight
        if chunk.result is None:
            if render_session is not None:
                render_session.add_frames(chunk, now_us)
        elif render_session is None or in_flight is None:
            self._engine.release(chunk.slot)
        else:
            outcome = render_session.finish_chunk(chunk, now_us)
            self._scheduler.made(now_us, in_flight, outcome)
            if not outcome.useful:
                self._engine.release(chunk.slot)

    def _on_chunk_failed(self, engine_session: int, text: str, now_us: int) -> list[SessionNotice]:
        """The engine refused a chunk: tells that client alone; its session goes on."""
        session_id = self._session_of(engine_session)
        if session_id is None:
            return []
        render_session = self._render_sessions[session_id]
        in_reply_to = "SCENE" if render_session.shows_new_scene else ""
        render_session.fail_chunk(now_us, wait_us=_RETRY_FAILED_CHUNK_US)
        return [SessionNotice(session_id=session_id, text=text, in_reply_to=in_reply_to)]

    # -- what clients want -----------------------------------------------------------------------------------------

    def take_control(self, render_session: RenderSession, accepted: ControlAccepted) -> None:
        """Takes a control in; the first one opens an engine session."""
        self._release(render_session.take_control(accepted))
        if render_session.engine_session is None and not render_session.refused:
            self._open(render_session)
        elif render_session.engine_session is not None and (texts := render_session.new_prompt()) is not None:
            self._engine.prefetch_prompt(render_session.engine_session, *texts)

    def change_scene(self, render_session: RenderSession, update: SceneUpdate) -> None:
        render_session.change_scene(update)
        if render_session.engine_session is None:
            self._open(render_session)

    def reset(self, render_session: RenderSession, reset: Reset) -> None:
        render_session.scene.apply_reset(reset)
        self._close(render_session)
        self._open(render_session, reset)

    def save(self, session_id: str, name: str) -> bool:
        """Saves the session's state under `name`; a `SessionNotice` follows. Returns: False if there is none yet."""
        assert self._states is not None, "the session refuses SAVE without a folder"
        engine_session = self._render_sessions[session_id].engine_session
        if engine_session is None:
            return False
        path = path_of(self._states, name)
        self._saving.setdefault((engine_session, path), []).append(session_id)
        self._engine.save(engine_session, path)
        return True

    def leave(self, session_id: str) -> None:
        """Forgets a session that is over."""
        self._close(self._render_sessions[session_id])
        self._scheduler.forget(session_id)
        del self._render_sessions[session_id]

    def fill_stats(self, session_id: str, ledger: Stats, now_us: int) -> Stats:
        """Returns: the session's ledger with the figures of its chunks and of the engine."""
        return msgspec.structs.replace(
            self._render_sessions[session_id].fill_stats(ledger, now_us),
            engine_restarts=self._engine.restarts,
            margin_us=self._scheduler.margin.us,
            wasted_us=self._scheduler.wasted_us(session_id),
        )

    # -- engine sessions -------------------------------------------------------------------------------------------

    def _open(self, render_session: RenderSession, reset: Reset | None = None) -> None:
        """Opens an engine session, with the pictures or the saved state that `reset` names."""
        render_session.opening(self._engine.open(render_session.session_start(reset, self._states)), reset)

    def _close(self, render_session: RenderSession) -> None:
        if render_session.engine_session is not None:
            self._engine.forget(render_session.engine_session)
        self._release(render_session.drop_engine_session())

    def _on_opened(self, engine_session: int, scene: SceneUpdate | None) -> list[SessionNotice]:
        session_id = self._session_of(engine_session)
        if session_id is None:
            return []
        self._render_sessions[session_id].opened_with(scene)
        return [] if scene is None else [SessionNotice(session_id=session_id, restored=True, scene=scene)]

    def _on_session_refused(self, engine_session: int, text: str) -> list[SessionNotice]:
        """The engine cannot open the session, or gave it up: it waits for another SCENE or RESET.

        If it was to begin with pictures or a saved state, it is opened without them instead.
        """
        session_id = self._session_of(engine_session)
        if session_id is None:
            return []
        render_session = self._render_sessions[session_id]
        reset = render_session.opening_reset
        if reset is not None:
            render_session.scene.forget_reset(reset)
            self._release(render_session.drop_engine_session())
            self._open(render_session)
            return [SessionNotice(session_id=session_id, text=text, in_reply_to="RESET", restored=bool(reset.restore))]
        in_reply_to = "SCENE" if render_session.shows_new_scene else ""
        self._release(render_session.drop_engine_session(refused=True))
        return [SessionNotice(session_id=session_id, text=text, in_reply_to=in_reply_to)]

    def _on_saved(self, saved: StateSaved) -> list[SessionNotice]:
        # By path, not by the session's present engine session: a RESET may have opened another since.
        waiting = self._saving[saved.engine_session, saved.path]
        session_id = waiting.pop(0)
        if not waiting:
            del self._saving[saved.engine_session, saved.path]
        if saved.text:
            return [SessionNotice(session_id=session_id, text=saved.text, in_reply_to=MessageType.SAVE.name)]
        return [
            SessionNotice(session_id=session_id, saved=Saved(name=name_of(saved.path), size_bytes=saved.size_bytes))
        ]

    def _session_of(self, engine_session: int) -> str | None:
        return next(
            (
                session_id
                for session_id, render_session in self._render_sessions.items()
                if render_session.engine_session == engine_session
            ),
            None,
        )

    def _render_session_of(self, engine_session: int) -> RenderSession | None:
        session_id = self._session_of(engine_session)
        return None if session_id is None else self._render_sessions[session_id]

    def _release(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._engine.release(slot)


def _opened(render_session: RenderSession) -> int:
    assert render_session.engine_session is not None, "a session that wants frames is open"
    return render_session.engine_session
