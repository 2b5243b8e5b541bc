"""The service without I/O: what follows from a client's message, from the engine's news and from time.

A CONTROL's way to its FRAME, in the order in which it goes:

1. `receive` puts big messages behind small ones (inbound_queue.py) and decodes (protocol/codec.py);
2. the registry finds the sender's session, which checks the message and converts it to our axes (session/);
3. the render session's timeline takes the control, and the engine hears of a new prompt early (chunk_dispatcher.py);
4. `start_chunks` asks the scheduler which chunk to make next, and when (scheduling/), and hands it to the engine;
5. `on_engine_event` puts the frames that arrive into the session's frame buffer;
6. `answer_controls` picks a frame for each control, bends it to the control's camera and encodes it (presentation/);
7. the session spends a credit on it, converts its pose to the client's axes, and the FRAME leaves as an `Outgoing`.

Steps 4 and 5 run at the engine's pace; a control is answered at once from whatever frames are there.

The core opens no socket, starts no process and never waits. The server (server.py), the simulation and the benchmarks
drive the same object: they bring bytes and events, and send what it yields. Methods that yield do their work between
yields, so that each answer leaves before the next is drawn: exhaust them. Single-threaded.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from bridge.clock import Clock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo
from bridge.engine.supervisor import EngineEvent
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.input.motion_prediction import MotionLimits
from bridge.protocol.codec import Buffer, decode
from bridge.protocol.messages import FrameHeader, Hello, MessageType
from bridge.scheduling.chunk_scheduler import ChunkScheduler, ChunkSchedulerConfig
from bridge.scheduling.replanning import ReplanConfig
from bridge.service.chunk_dispatcher import ChunkDispatcher, EnginePort, SessionNotice
from bridge.service.inbound_queue import Admission, InboundQueue
from bridge.service.render_session import RenderSession
from bridge.session.capabilities import ServerCapabilities, capabilities_of
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
from bridge.session.registry import Outgoing, SessionRegistry, new_secret
from bridge.session.session import Session
from bridge.session.states import SessionState

_BIG_WAITS_US = 1_000_000  # at most, while small messages leave no gap

_log = logging.getLogger(__name__)


class ServiceCore:
    """All sessions of one service over one engine.

    Methods that yield `Outgoing`s yield two kinds of output: `Send` (hand this message to the peer) and `Closed` (let
    go of whatever is kept for this session). Report a message that could not be handed over to `undeliverable`.

    Args:
        engine: the engine's process, or a stand-in for it.
        capabilities: what WELCOME tells; None takes what `info` and `config` say.
        scheduler_config: None takes what `config` says.
        new_render_session: makes the state of a session that said HELLO; None makes a `RenderSession`.
        new_secret: makes session ids and resume tokens.

    Raises:
        ConfigError: the engine has no quality level of the name in `config`.
    """

    def __init__(
        self,
        config: ServeConfig,
        info: EngineInfo,
        engine: EnginePort,
        clock: Clock,
        *,
        capabilities: ServerCapabilities | None = None,
        scheduler_config: ChunkSchedulerConfig | None = None,
        new_render_session: Callable[[Hello], RenderSession] | None = None,
        new_secret: Callable[[], str] = new_secret,
    ) -> None:
        self._clock = clock
        self.scheduler = ChunkScheduler(scheduler_config or _scheduler_config(config), info, clock.now_us())
        self.registry = SessionRegistry(
            offer=capabilities or capabilities_of(info, config),
            config=config,
            refusal=self.scheduler.refusal,
            new_secret=new_secret,
        )
        self.render_sessions: dict[str, RenderSession] = {}
        self._dispatcher = ChunkDispatcher(engine, self.scheduler, self.render_sessions, config.states)
        self._new_render_session = new_render_session or (
            lambda hello: RenderSession(config=config, info=info, clock=clock, limits=_motion_limits(hello))
        )
        self._inbound = InboundQueue()
        self._big_due_us = 0
        self._unanswered: dict[str, tuple[Session, list[ControlAccepted]]] = {}  # by session id

    # -- from a CONTROL to its FRAME -------------------------------------------------------------------------------

    def receive(self, peer: bytes, parts: Sequence[Buffer]) -> Iterator[Outgoing]:
        """Takes a message in. Big messages wait for `receive_big`, controls for `answer_controls`."""
        match self._inbound.admit(peer, parts):
            case Admission.NOW:
                yield from self._handle(peer, parts)
            case Admission.TOO_MANY:
                text = "too many messages wait behind a big one; send SCENE in pieces, or less often"
                yield from self._refuse(peer, RemoteProtocolError(ErrorCode.TOO_LARGE, text))

    def answer_controls(self) -> Iterator[Outgoing]:
        """Answers the controls that were taken in.

        Call it when every message that waits has been received: where there is no credit for all controls the newest
        get it, and chunks that are started meanwhile know what the player did last.
        """
        for session, _ in tuple(self._unanswered.values()):
            yield from self._answer(session)

    def receive_big(self, *, socket_is_empty: bool) -> Iterator[Outgoing]:
        """Takes in one big message and the small ones behind it, if small ones leave a gap or it has waited long."""
        now_us = self._clock.now_us()
        if not self._inbound or not (socket_is_empty or now_us >= self._big_due_us):
            return
        self._big_due_us = now_us + _BIG_WAITS_US
        peer, messages = self._inbound.take()
        for parts in messages:
            yield from self._handle(peer, parts)
        yield from self.answer_controls()

    def _handle(self, peer: bytes, parts: Sequence[Buffer]) -> Iterator[Outgoing]:
        try:
            message = decode(parts).message
            yield from self.process(self.registry.receive(peer, message, self._clock.now_us()))
        except RemoteProtocolError as exc:
            yield from self._refuse(peer, exc)
        except Exception:
            yield from self.fail(peer, "message")

    def process(self, outputs: Iterable[Outgoing]) -> Iterator[Outgoing]:
        """Does what sessions want done, in order; yields what is left for the caller to do."""
        for each in outputs:
            session, output = each.session, each.output
            if isinstance(output, Send):
                if session is not None:
                    yield from self._answer(session)  # controls that came before this are answered before it
                yield each
            elif isinstance(output, ControlAccepted) and session is not None:
                self._take_control(session, output)
            elif session is not None:
                yield from self._answer(session)
                yield from self._act(each, session)

    def _take_control(self, session: Session, accepted: ControlAccepted) -> None:
        render_session = self.render_sessions.get(session.session_id)
        if render_session is not None:
            self._dispatcher.take_control(render_session, accepted)
            self._unanswered.setdefault(session.session_id, (session, []))[1].append(accepted)

    def _answer(self, session: Session) -> Iterator[Outgoing]:
        """Answers the session's controls that still wait, as far as there is credit."""
        _, controls = self._unanswered.pop(session.session_id, (session, []))
        render_session = self.render_sessions.get(session.session_id)
        for accepted in controls:
            if render_session is None or not session.awaits(accepted.control.seq):
                continue
            peer = self.registry.peer_of(session)
            try:
                header, pixels = render_session.answer(accepted, session.pixel_format, session.jpeg_quality)
                yield from self.registry.settle(session, session.answer(header, pixels))
            except Exception:
                yield from self.fail(peer, "answer")

    # -- the engine and time ---------------------------------------------------------------------------------------

    def start_chunks(self) -> None:
        """Starts the next chunk if its time has come and the engine is idle."""
        active = [session.session_id for session in self.registry if session.state is SessionState.ACTIVE]
        self._dispatcher.start_chunks(self._clock.now_us(), active)

    def on_engine_event(self, event: EngineEvent) -> Iterator[Outgoing]:
        """Takes in what the engine did."""
        for notice in self._dispatcher.on_event(event, self._clock.now_us()):
            yield from self._tell(notice)

    def tick(self) -> Iterator[Outgoing]:
        """PINGs to silent clients, lost and expired sessions."""
        yield from self.process(self.registry.tick(self._clock.now_us()))

    @property
    def next_start_us(self) -> int | None:
        """When `start_chunks` has the next chunk to start; None while that is unknown."""
        return self._dispatcher.next_start_us

    @property
    def next_wakeup_us(self) -> int | None:
        """When something is due even if nothing comes in; the past for now, None for never."""
        waiting_us = self._clock.now_us() if self._inbound else None
        moments_us = (waiting_us, self.next_start_us, self.registry.next_tick_us)
        return min((moment_us for moment_us in moments_us if moment_us is not None), default=None)

    # -- failures and the end --------------------------------------------------------------------------------------

    def undeliverable(self, outgoing: Outgoing, *, peer_is_gone: bool) -> Iterator[Outgoing]:
        """The transport could not hand `outgoing` over: its queue is full, or (peer_is_gone) nobody is there."""
        output = outgoing.output
        if outgoing.session is None:
            return
        if isinstance(output, Send) and isinstance(output.message, FrameHeader):
            outgoing.session.not_delivered(output.message)
        if peer_is_gone:
            yield from self.process(self.registry.unreachable(outgoing.peer, self._clock.now_us()))

    def fail(self, peer: bytes, what: str) -> Iterator[Outgoing]:
        """Ends the session of a peer whose message met a mistake of ours: it must not end everyone's game.

        Call it from an `except` block; the exception is logged.
        """
        _log.exception("%s.failed peer=%s", what, peer.hex())
        text = "the service failed on this message; see its log"
        yield from self._refuse(peer, RemoteProtocolError(ErrorCode.INTERNAL, text, fatal=True))

    def close(self, reason: str) -> Iterator[Outgoing]:
        """Says BYE to everyone."""
        yield from self.process(self.registry.close(reason))

    def release(self) -> None:
        """Lets go of all frames, which may be views of memory that is about to be freed."""
        for render_session in self.render_sessions.values():
            render_session.release_frames()
        self.render_sessions.clear()

    # -- what sessions want done -----------------------------------------------------------------------------------

    def _act(self, outgoing: Outgoing, session: Session) -> Iterator[Outgoing]:
        """Carries out an output that is neither a message nor a control."""
        session_id, output = session.session_id, outgoing.output
        if isinstance(output, Opened) and session_id not in self.render_sessions:
            self.render_sessions[session_id] = self._new_render_session(output.hello)
            _log.info("session.open session=%s client=%r", session_id[:8], output.hello.client)
        render_session = self.render_sessions.get(session_id)
        if render_session is None:
            return
        match output:
            case SceneAccepted(update=update):
                self._dispatcher.change_scene(render_session, update)
            case ResetAccepted(reset=reset):
                self._dispatcher.reset(render_session, reset)
            case SaveRequested(name=name):
                if not self._dispatcher.save(session_id, name):
                    yield from self._report(session, "there is nothing to save yet", in_reply_to=MessageType.SAVE.name)
            case StatsRequested():
                stats = self._dispatcher.fill_stats(session_id, session.ledger, self._clock.now_us())
                stats = msgspec.structs.replace(stats, sessions=len(self.registry))
                yield self._to(session, Send(message=stats))
            case Lost(reason=reason):
                _log.info("session.lost session=%s reason=%s", session_id[:8], reason)
            case Closed(reason=reason):
                _log.info("session.closed session=%s reason=%s", session_id[:8], reason)
                self._dispatcher.leave(session_id)
                yield outgoing

    def _tell(self, notice: SessionNotice) -> Iterator[Outgoing]:
        """Tells a session what became of its save, its reset or its chunk, and its client while that can be reached."""
        session = next((one for one in self.registry if one.session_id == notice.session_id), None)
        if session is None:
            return
        if notice.saved is not None and session.state is SessionState.ACTIVE:
            yield self._to(session, Send(message=notice.saved))
        elif notice.text:
            yield from self._report(session, notice.text[:512], in_reply_to=notice.in_reply_to)
        if notice.restored:
            yield from self.process(self.registry.settle(session, session.restored(notice.scene)))

    def _report(self, session: Session, text: str, *, in_reply_to: str) -> Iterator[Outgoing]:
        outputs = session.report(ErrorCode.ENGINE_FAILED, text, in_reply_to=in_reply_to)
        yield from self.process(self.registry.settle(session, outputs))

    def _refuse(self, peer: bytes, error: RemoteProtocolError) -> Iterator[Outgoing]:
        _log.debug("refused code=%s text=%s", error.code.value, error.text)
        yield from self.process(self.registry.refuse(peer, error, self._clock.now_us()))

    def _to(self, session: Session, send: Send) -> Outgoing:
        return Outgoing(peer=self.registry.peer_of(session), session=session, output=send)


def _scheduler_config(config: ServeConfig) -> ChunkSchedulerConfig:
    return ChunkSchedulerConfig(fps=config.fps, quality=config.quality, replan=ReplanConfig(waste_share=config.waste))


def _motion_limits(hello: Hello) -> MotionLimits:
    """What the client declared of its camera, our defaults where it declared nothing."""
    default = MotionLimits()
    return MotionLimits(
        speed_m_per_s=hello.max_speed / hello.units_per_metre or default.speed_m_per_s,
        turn_rate_deg_per_s=hello.max_turn_deg_per_s or default.turn_rate_deg_per_s,
    )
