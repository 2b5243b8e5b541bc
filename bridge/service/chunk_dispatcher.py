"""The players' worlds at the engine: opened, saved, closed; their chunks begun in turn, and handed over as they come.

Whose turn it is and when is chunk_scheduler.py's decision, keeping the process alive supervisor.py's care. What a
client must hear of it is handed back as `SessionNotice`s: sessions and sockets are the server's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bridge.engine.interface import Pictures
from bridge.engine.ipc_messages import ArrivingChunk, ChunkFailed, SessionOpened, SessionRefused, StateSaved, Step
from bridge.engine.state_file import name_of, path_of
from bridge.engine.supervisor import EngineDown, EngineEvent, EngineSupervisor, EngineUp
from bridge.input.scene_state import SceneState
from bridge.protocol.messages import MessageType, Reset, Saved, SceneUpdate, Stats
from bridge.scheduling.chunk_scheduler import ChunkScheduler
from bridge.scheduling.edf import ScheduledChunk
from bridge.service.render_session import RenderSession
from bridge.session.events import ControlAccepted

_RETRY_FAILED_CHUNK_US = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionNotice:
    """What a session must know: its state was `saved`; or, where there is a text, the engine failed; or (restored) the
    saved state that it asked for was read and shows `scene`, or could not be."""

    session_id: str
    saved: Saved | None = None
    text: str = ""
    in_reply_to: str = ""
    restored: bool = False
    scene: SceneUpdate | None = None


class ChunkDispatcher:
    """players: by session id; shared with the server, which lets them in. states: the folder that SAVE writes into."""

    def __init__(
        self,
        supervisor: EngineSupervisor,
        scheduler: ChunkScheduler,
        render_sessions: dict[str, RenderSession],
        states: Path | None,
    ) -> None:
        self._supervisor = supervisor
        self._scheduler = scheduler
        self._render_sessions = render_sessions
        self._states = states
        self._start: ScheduledChunk | None = None
        self._savers: dict[tuple[int, Path], list[str]] = {}  # whose SAVE is unanswered, by what it shall keep where

    @property
    def starts_us(self) -> int | None:
        """When `make_frames` shall begin the next chunk; None while nobody knows."""
        return self._start.at_us if self._start is not None else None

    # -- what players want -----------------------------------------------------------------------------------------

    def push(self, render_session: RenderSession, accepted: ControlAccepted) -> None:
        """Takes a control in; the first one opens a world."""
        self._release(render_session.push(accepted))
        if render_session.engine_session is None and not render_session.refused:
            self._open_world(render_session)
        elif render_session.engine_session is not None and (told := render_session.newly_told()) is not None:
            self._supervisor.prefetch_prompt(render_session.engine_session, *told)

    def change_scene(self, render_session: RenderSession, update: SceneUpdate) -> None:
        render_session.change_scene(update)
        if render_session.engine_session is None:
            self._open_world(render_session)

    def reset(self, render_session: RenderSession, reset: Reset) -> None:
        render_session.blockout.apply_reset(reset)
        self._close_world(render_session)
        self._open_world(render_session, reset)

    def save(self, session_id: str, name: str) -> bool:
        """A `SessionNotice` follows. Returns: False when there is nothing to save yet; then none does."""
        assert self._states is not None, "the session checks what is offered"
        engine_session, path = self._render_sessions[session_id].engine_session, path_of(self._states, name)
        if engine_session is None:
            return False
        self._savers.setdefault((engine_session, path), []).append(session_id)
        self._supervisor.save(engine_session, path)
        return True

    def leave(self, session_id: str) -> None:
        """The session is over."""
        self._close_world(self._render_sessions[session_id])
        self._scheduler.forget(session_id)
        del self._render_sessions[session_id]

    def fill_stats(self, session_id: str, ledger: Stats, now_us: int) -> Stats:
        """The session's ledger with what is known of its chunks, and of the engine."""
        return msgspec.structs.replace(
            self._render_sessions[session_id].fill_stats(ledger, now_us),
            engine_restarts=self._supervisor.restarts,
            margin_us=self._scheduler.margin.us,
            wasted_us=self._scheduler.wasted_us(session_id),
        )

    def _open_world(self, render_session: RenderSession, reset: Reset | None = None) -> None:
        """reset: what the client asked to begin with, if it did."""
        pictures, restore = None, None
        if reset is not None and reset.pictures:
            size = (reset.picture_width, reset.picture_height)
            pictures = Pictures(data=reset.pictures, pixel_format=reset.picture_format, width=size[0], height=size[1])
        if reset is not None and reset.restore:
            assert self._states is not None, "the session checks what is offered"
            restore = path_of(self._states, reset.restore)
        render_session.refused = False
        render_session.begun_by = None if pictures is None and restore is None else reset
        render_session.engine_session = self._supervisor.open(
            render_session.blockout.start(pictures=pictures, restore=restore)
        )

    def _close_world(self, render_session: RenderSession) -> None:
        if render_session.engine_session is not None:
            self._supervisor.forget(render_session.engine_session)
        self._release(render_session.restart())

    def _release(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._supervisor.release(slot)

    # -- chunks ----------------------------------------------------------------------------------------------------

    def make_frames(self, now_us: int, active: Iterable[str]) -> None:
        """Starts the next chunk when its time has come; else remembers when that will be.

        active: the sessions whose clients can be reached.
        """
        self._start = None
        if not self._supervisor.idle:
            return
        playing = {
            session_id: render_session
            for session_id in active
            if (render_session := self._render_sessions[session_id]).wants_frames(now_us)
        }
        start = self._scheduler.next_start(now_us, playing)
        if start is None or start.at_us > now_us:
            self._start = start
            return
        for each in self._render_sessions.values():
            self._release(each.store.evict(now_us))
        begun = [(playing[one.session], one) for one in (start, *start.beside)]
        in_flight = [render_session.ask(now_us, one, cause=self._scheduler.cause(one)) for render_session, one in begun]
        wanted = [
            Step(engine_session=_world_of(render_session), window=chunk.window, plan=chunk.plan, keep=chunk.keep)
            for (render_session, _), chunk in zip(begun, in_flight, strict=True)
        ]
        count = self._supervisor.step_batch(wanted)
        for chunk in in_flight[:count]:
            self._scheduler.begun(now_us, chunk)
        for render_session, _ in begun[count:]:
            # No slot is free: clients hold none, so the next eviction frees one. Or it shall be tried alone, soon.
            render_session.not_begun()

    def on_event(self, event: EngineEvent, now_us: int) -> list[SessionNotice]:
        """What follows from what the supervisor said, but for its giving up."""
        match event:
            case EngineUp():
                self._scheduler.replaced(now_us)
            case EngineDown():
                for render_session in self._render_sessions.values():
                    render_session.lose()
            case ArrivingChunk(engine_session=engine_session, result=None):
                if (growing := self._player_of(engine_session)) is not None:
                    growing.grow(event, now_us)
            case ArrivingChunk(engine_session=engine_session):
                self._on_chunk(self._player_of(engine_session), event, now_us)
            case SessionOpened(engine_session=engine_session):
                return self._on_opened(engine_session, event.scene)
            case StateSaved():
                return self._on_saved(event)
            case (
                SessionRefused(engine_session=engine_session, text=text)
                | ChunkFailed(engine_session=engine_session, text=text)
            ):
                return self._on_refused(engine_session, text, now_us, over=isinstance(event, SessionRefused))
        return []

    def _on_opened(self, engine_session: int, scene: SceneUpdate | None) -> list[SessionNotice]:
        session_id = self._session_of(engine_session)
        if session_id is None:
            return []
        render_session = self._render_sessions[session_id]
        render_session.opened = True
        render_session.begun_by = None
        if scene is None:
            return []
        render_session.blockout = SceneState.of(scene)
        return [SessionNotice(session_id=session_id, restored=True, scene=scene)]

    def _on_chunk(self, render_session: RenderSession | None, made: ArrivingChunk, now_us: int) -> None:
        in_flight = None if render_session is None else render_session.in_flight
        if render_session is None or in_flight is None:
            self._supervisor.release(made.slot)
            return
        delivered = render_session.deliver(made, now_us)
        self._scheduler.made(now_us, in_flight, delivered)
        if not delivered.useful:
            self._supervisor.release(made.slot)

    def _on_saved(self, saved: StateSaved) -> list[SessionNotice]:
        # Not whose world it is: a RESET may have begun another since, and SAVE has an answer all the same.
        waiting = self._savers[saved.engine_session, saved.path]
        session_id = waiting.pop(0)
        if not waiting:
            del self._savers[saved.engine_session, saved.path]
        if saved.text:
            return [SessionNotice(session_id=session_id, text=saved.text, in_reply_to=MessageType.SAVE.name)]
        told = Saved(name=name_of(saved.path), size_bytes=saved.size_bytes)
        return [SessionNotice(session_id=session_id, saved=told)]

    def _on_refused(self, engine_session: int, text: str, now_us: int, *, over: bool) -> list[SessionNotice]:
        """Tells that client alone. Its world waits for another SCENE or RESET when it is `over`, else it goes on."""
        session_id = self._session_of(engine_session)
        if session_id is None:
            return []
        render_session = self._render_sessions[session_id]
        in_flight = render_session.in_flight
        scene = bool(in_flight.window.scene_updates) if in_flight is not None else render_session.blockout.has_parts
        reset = render_session.begun_by if over else None
        if reset is not None:
            return self._on_refused_reset(session_id, reset, text)
        if over:
            self._release(render_session.restart())
            render_session.refused = True
        else:
            render_session.fail(now_us, wait_us=_RETRY_FAILED_CHUNK_US)
        return [SessionNotice(session_id=session_id, text=text, in_reply_to="SCENE" if scene else "")]

    def _on_refused_reset(self, session_id: str, reset: Reset, text: str) -> list[SessionNotice]:
        """The pictures or the state that a world was to begin with are no good: it begins as it would without."""
        render_session = self._render_sessions[session_id]
        render_session.blockout.forget_reset(reset)
        self._release(render_session.restart())
        self._open_world(render_session)
        return [SessionNotice(session_id=session_id, text=text, in_reply_to="RESET", restored=bool(reset.restore))]

    def _session_of(self, engine_session: int) -> str | None:
        return next(
            (
                session_id
                for session_id, render_session in self._render_sessions.items()
                if render_session.engine_session == engine_session
            ),
            None,
        )

    def _player_of(self, engine_session: int) -> RenderSession | None:
        session_id = self._session_of(engine_session)
        return None if session_id is None else self._render_sessions[session_id]


def _world_of(render_session: RenderSession) -> int:
    assert render_session.engine_session is not None, "who wants frames has a world"
    return render_session.engine_session
