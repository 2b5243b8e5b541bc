"""The service: one thread that wires the socket, sessions, players and the engine together.

Decisions are made elsewhere (`session.py` what a message means, `frame_pacing.py` what to answer, `chunk_dispatcher.py`
what the engine is asked for); here is only who calls whom, in which order. Nothing here blocks: a control is answered
from what there is.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable, Sequence

import msgspec

from bridge.clock import Clock, MonotonicClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo
from bridge.engine.pipe import EngineConfig
from bridge.engine.supervisor import EngineGivenUp, EngineSupervisor, EngineUp
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.input.motion_prediction import MotionLimits
from bridge.protocol.codec import Buffer, decode, encode
from bridge.protocol.messages import FrameHeader, Hello, MessageType
from bridge.scheduling.chunk_scheduler import ChunkScheduler, ChunkSchedulerConfig
from bridge.scheduling.replanning import ReplanConfig
from bridge.service.chunk_dispatcher import ChunkDispatcher, SessionNotice
from bridge.service.inbound_queue import Admission, InboundQueue
from bridge.service.render_session import RenderSession
from bridge.service.ring_registry import RingRegistry
from bridge.session.capabilities import capabilities_of
from bridge.session.events import (
    Closed,
    ControlAccepted,
    Lost,
    Opened,
    ResetAccepted,
    SaveRequested,
    SceneAccepted,
    Send,
    StatsRequested,
)
from bridge.session.registry import Outgoing, SessionRegistry
from bridge.session.session import Session
from bridge.session.states import SessionState
from bridge.transport.curve_keys import load_server_keys
from bridge.transport.sockets import Poller, RouterSocket, SendResult

_TURN_US = 10_000  # of small messages; then the engine and the clock get a look, however busy the socket is
_BIG_WAITS_US = 1_000_000  # at most, while small messages leave no gap
_CHUNKS_A_SESSION = 3
_LONGEST_WAIT_US = 1_000_000
_BYE_MS = 100  # how long stopping waits for BYE to leave; on a live connection it is well under one

_log = logging.getLogger(__name__)


class Server:
    """Serves until `stop`. All but `stop` belongs to the thread that calls `run`. info: from `on_ready` on.

    Raises: ConfigError: the address is not one, or it is taken.
    """

    def __init__(self, config: ServeConfig, engine: EngineConfig, *, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or MonotonicClock()
        self._router = RouterSocket(config.bind, load_server_keys(config.curve) if config.curve is not None else None)
        self.address = self._router.address
        self._stopping = threading.Event()
        # A session holds the chunk being shown, the next one, and the one being made.
        slots = max(engine.slots, _CHUNKS_A_SESSION * config.max_sessions)
        self._supervisor = EngineSupervisor(dataclasses.replace(engine, slots=slots), self._clock)
        self._inbound = InboundQueue()
        self._rings = RingRegistry()
        self._big_due_us = 0
        self._render_sessions: dict[str, RenderSession] = {}
        self._unanswered: dict[str, tuple[Session, list[ControlAccepted]]] = {}  # controls taken in, by session id

    def stop(self) -> None:
        """Makes `run` return soon; for other threads and signal handlers."""
        self._stopping.set()
        self._supervisor.wake()

    def run(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Serves. `on_ready` gets the bound address as soon as clients are answered.

        Raises: EngineError, ConfigError: the engine cannot be had, or never came back.
        """
        try:
            info = self._wait_for_engine()
            if info is not None:
                self._begin(info)
                if on_ready is not None:
                    on_ready(self.address)
                while not self._stopping.is_set():
                    self._turn()
                self._send_all(self._registry.close("the server stops"))
        finally:
            for render_session in self._render_sessions.values():
                render_session.store.clear()
            self._render_sessions.clear()
            # The engine first: the moment it takes is the clients' to read BYE, which a closed connection may swallow.
            self._supervisor.stop()
            self._rings.close()
            self._router.close(linger_ms=_BYE_MS)

    # -- the loop --------------------------------------------------------------------------------------------------

    def _wait_for_engine(self) -> EngineInfo | None:
        """The engine's info, or None when `stop` came first. Clients that call meanwhile wait in the socket."""
        poller = Poller()
        poller.watch(self._supervisor.fileno())
        while not self._stopping.is_set():
            poller.wait(self._wait_us(self._supervisor.next_timeout_us))
            for event in self._supervisor.poll():
                if isinstance(event, EngineGivenUp):
                    raise event.error
                if isinstance(event, EngineUp):
                    return event.info
        return None

    def _begin(self, info: EngineInfo) -> None:
        self.info = info
        scheduler = ChunkScheduler(
            ChunkSchedulerConfig(
                fps=self._config.fps,
                quality=self._config.quality,
                replan=ReplanConfig(waste_share=self._config.waste),
            ),
            info,
            self._clock.now_us(),
        )
        self._room = ChunkDispatcher(self._supervisor, scheduler, self._render_sessions, self._config.states)
        self._registry = SessionRegistry(
            offer=capabilities_of(info, self._config), config=self._config, refusal=scheduler.refusal
        )
        self._poller = Poller()
        self._poller.watch(self._router)
        self._poller.watch(self._supervisor.fileno())

    def _turn(self) -> None:
        """Waits for something to happen, and deals with it."""
        intake_us = self._clock.now_us() if self._inbound else None
        self._poller.wait(
            self._wait_us(
                self._room.starts_us, intake_us, self._registry.next_tick_us, self._supervisor.next_timeout_us
            )
        )
        self._take_messages()
        for event in self._supervisor.poll():
            if isinstance(event, EngineGivenUp):
                self._send_all(self._registry.close(f"the engine failed: {event.error}"[:512]))
                raise event.error
            for notice in self._room.on_event(event, self._clock.now_us()):
                self._notify(notice)
        self._send_all(self._registry.tick(self._clock.now_us()))
        active = (session.session_id for session in self._registry if session.state is SessionState.ACTIVE)
        self._room.make_frames(self._clock.now_us(), active)

    def _take_messages(self) -> None:
        """Handles the small messages that wait, as many as fit in a turn, and one big one when they are done.

        Controls that come together are all taken in before any is answered: where there is no credit for all, the
        newest get it, and each chunk asked for meanwhile knows what the player did last.
        """
        turn_ends_us = self._clock.now_us() + _TURN_US
        while (received := self._router.receive()) is not None:
            peer, parts = received
            admission = self._inbound.admit(peer, parts)
            if admission is Admission.NOW:
                self._on_bytes(peer, parts)
            elif admission is Admission.TOO_MANY:
                text = "too many messages wait behind a big one; send SCENE in pieces, or less often"
                self._refuse(peer, RemoteProtocolError(ErrorCode.TOO_LARGE, text))
            if self._clock.now_us() >= turn_ends_us:
                break
        self._answer_all()
        now_us = self._clock.now_us()
        if self._inbound and (received is None or now_us >= self._big_due_us):
            self._big_due_us = now_us + _BIG_WAITS_US
            slow_peer, held = self._inbound.take()
            for each in held:
                self._on_bytes(slow_peer, each)
            self._answer_all()  # the controls behind the big one

    def _wait_us(self, *moments_us: int | None) -> int:
        now_us = self._clock.now_us()
        waits_us = [moment_us - now_us for moment_us in moments_us if moment_us is not None]
        return max(0, min([*waits_us, _LONGEST_WAIT_US]))

    # -- clients ---------------------------------------------------------------------------------------------------

    def _on_bytes(self, peer: bytes, parts: Sequence[Buffer]) -> None:
        now_us = self._clock.now_us()
        try:
            self._send_all(self._registry.receive(peer, decode(parts).message, now_us))
        except RemoteProtocolError as exc:
            self._refuse(peer, exc)
        except Exception:
            self._failed_on(peer, "message")

    def _failed_on(self, peer: bytes, what: str) -> None:
        """The process's top loop: a mistake of ours in one client's message must not end everyone's game."""
        _log.exception("%s.failed peer=%s", what, peer.hex())
        text = "the service failed on this message; see its log"
        self._refuse(peer, RemoteProtocolError(ErrorCode.INTERNAL, text, fatal=True))

    def _refuse(self, peer: bytes, error: RemoteProtocolError) -> None:
        _log.debug("refused code=%s text=%s", error.code.value, error.text)
        self._send_all(self._registry.refuse(peer, error, self._clock.now_us()))

    def _send_all(self, addressed: Iterable[Outgoing]) -> None:
        for each in addressed:
            if each.session is not None and not isinstance(each.output, ControlAccepted):
                self._answer(each.session)  # what was heard before this is answered before it
            if isinstance(each.output, Send):
                self._send(each.peer, each.session, each.output)
            elif each.session is not None:
                self._act(each.session, each.output)

    def _send(self, peer: bytes, session: Session | None, send: Send) -> None:
        send = self._rings.prepare(session, send)
        result = self._router.send(peer, encode(send.message, send.pixels))
        if result is SendResult.SENT or session is None:
            return
        if isinstance(send.message, FrameHeader):
            session.not_delivered(send.message)
        if result is SendResult.GONE:
            self._send_all(self._registry.unreachable(peer, self._clock.now_us()))

    def _act(self, session: Session, output: object) -> None:
        render_session = self._render_sessions.get(session.session_id)
        if isinstance(output, Opened) and render_session is None:
            self._render_sessions[session.session_id] = RenderSession(
                config=self._config, info=self.info, clock=self._clock, limits=_limits_of(output.hello)
            )
            _log.info("session.open session=%s client=%r", session.session_id[:8], output.hello.client)
        if render_session is None:
            return
        match output:
            case ControlAccepted():
                self._room.push(render_session, output)
                self._unanswered.setdefault(session.session_id, (session, []))[1].append(output)
            case SceneAccepted(update=update):
                self._room.change_scene(render_session, update)
            case ResetAccepted(reset=reset):
                self._room.reset(render_session, reset)
            case SaveRequested(name=name):
                if not self._room.save(session.session_id, name):
                    self._report(session, "there is nothing to save yet", in_reply_to=MessageType.SAVE.name)
            case StatsRequested():
                stats = self._room.fill_stats(session.session_id, session.ledger, self._clock.now_us())
                stats = msgspec.structs.replace(stats, sessions=len(self._registry))
                self._send(self._registry.peer_of(session), session, Send(message=stats))
            case Lost(reason=reason):
                _log.info("session.lost session=%s reason=%s", session.session_id[:8], reason)
            case Closed(reason=reason):
                _log.info("session.closed session=%s reason=%s", session.session_id[:8], reason)
                self._room.leave(session.session_id)
                self._rings.forget(session.session_id)

    def _notify(self, notice: SessionNotice) -> None:
        """Tells a session of what became of its world, and its client too while that can be reached."""
        session = next((one for one in self._registry if one.session_id == notice.session_id), None)
        if session is None:
            return
        if notice.saved is not None and session.state is SessionState.ACTIVE:
            self._send(self._registry.peer_of(session), session, Send(message=notice.saved))
        elif notice.text:
            self._report(session, notice.text[:512], in_reply_to=notice.in_reply_to)
        if notice.restored:
            self._send_all(self._registry.settle(session, session.restored(notice.scene)))

    def _report(self, session: Session, text: str, *, in_reply_to: str) -> None:
        outputs = session.report(ErrorCode.ENGINE_FAILED, text, in_reply_to=in_reply_to)
        self._send_all(self._registry.settle(session, outputs))

    def _answer(self, session: Session) -> None:
        """Answers the controls of a session that were taken in, as far as they still wait and there is credit."""
        _, controls = self._unanswered.pop(session.session_id, (session, []))
        render_session = self._render_sessions.get(session.session_id)
        for accepted in controls:
            if render_session is not None and session.awaits(accepted.control.seq):
                peer = self._registry.peer_of(session)
                try:
                    header, pixels = render_session.answer(accepted, session.pixel_format, session.jpeg_quality)
                    self._send_all(self._registry.settle(session, session.answer(header, pixels)))
                except Exception:
                    self._failed_on(peer, "answer")

    def _answer_all(self) -> None:
        for session, _ in tuple(self._unanswered.values()):
            self._answer(session)


def _limits_of(hello: Hello) -> MotionLimits:
    """What the client declared of its camera, ours where it declared nothing."""
    ours = MotionLimits()
    return MotionLimits(
        speed_m_per_s=hello.max_speed / hello.units_per_metre or ours.speed_m_per_s,
        turn_rate_deg_per_s=hello.max_turn_deg_per_s or ours.turn_rate_deg_per_s,
    )
