"""One client's session on the server, as a state machine without I/O.

Messages and times go in, `Output`s come out. This is the border between axes: outside, values are in the client's
axes and units, inside in ours. states.py says which message is allowed when, flow_control.py counts credit,
scene_admission.py checks SCENE and RESET, registry.py knows which connection belongs to which session.
"""

from __future__ import annotations

from typing import Final

from bridge.config import ServeConfig
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.axes import client_from_ours, ours_from_client
from bridge.protocol.codec import Buffer
from bridge.protocol.messages import (
    TYPE_OF_STRUCT,
    VERSION_MAJOR,
    VERSION_MINOR,
    Bye,
    Control,
    ErrorMessage,
    FrameHeader,
    Hello,
    Message,
    Ping,
    PixelFormat,
    Pong,
    Reset,
    Save,
    SceneUpdate,
    Stats,
)
from bridge.session.capabilities import ServerCapabilities
from bridge.session.events import (
    Closed,
    ControlAccepted,
    Lost,
    Opened,
    Output,
    SaveRequested,
    Send,
    StatsRequested,
)
from bridge.session.flow_control import Account, FlowControl
from bridge.session.jpeg_rate_control import JpegRateControl
from bridge.session.scene_admission import SceneAdmission, check_reach
from bridge.session.states import SessionState, state_after

MAX_STRIKES: Final = 64  # refused messages in a row that end a session
_SAID_TO_ANYBODY: Final = (ErrorCode.UNEXPECTED_MESSAGE, ErrorCode.BAD_FRAMING, ErrorCode.UNKNOWN_TYPE)


class Session:
    """One client's session. Not thread-safe; owned by the I/O loop.

    Every control is answered once: by a FRAME, or by an ERROR when it was refused, or not at all when a newer control
    took its place, having come with it or while the client had no credit (counted as dropped).
    """

    def __init__(
        self, *, offer: ServerCapabilities, config: ServeConfig, session_id: str, resume_token: str, now_us: int
    ) -> None:
        self.state = SessionState.AWAITING_HELLO
        self.session_id = session_id
        self.resume_token = resume_token
        self.wants_ring = False
        self.shared_frames = False  # the newest control's: its answer's pixels may lie in the ring
        self._pixel_format = PixelFormat.RGB8
        self._offer = offer
        self._config = config
        self._heard_us = now_us
        self._pinged_us = now_us
        self._lost_us = now_us
        self._last_seq = -1
        self._admission = SceneAdmission(offer)
        self._strikes = 0
        self._budget_us = 0
        self._flow = FlowControl()
        self._quality = JpegRateControl(config.jpeg_quality)

    # -- what comes in ---------------------------------------------------------------------------------------------

    def receive(self, message: Message, now_us: int) -> list[Output]:
        """What follows from a client's message. Never raises on what a peer may do."""
        kind = TYPE_OF_STRUCT[type(message)]
        self._heard_us = now_us
        try:
            after = state_after(self.state, kind)
            outputs = self._handle(message, now_us)
        except RemoteProtocolError as exc:
            return self._refuse(exc, kind.name, message.seq if isinstance(message, Control) else -1)
        self.state = after
        if not isinstance(message, Ping | Pong):
            self._strikes = 0
        return outputs

    def refuse(self, error: RemoteProtocolError, now_us: int) -> list[Output]:
        """What follows from bytes that the codec refused."""
        self._heard_us = now_us
        return self._refuse(error, error.in_reply_to, error.seq)

    def tick(self, now_us: int) -> list[Output]:
        """What follows from time alone: PING to the silent, LOST, CLOSED. Call it at `next_tick_us` or earlier."""
        silent_us = now_us - self._heard_us
        if self.state is SessionState.LOST:
            if now_us - self._lost_us >= self._config.resume_window_us:
                return self._close(f"nobody resumed it within {self._config.resume_window_us / 1e6:g} s")
        elif self.state is SessionState.ACTIVE:
            if silent_us >= self._config.heartbeat_us * self._config.missed_heartbeats:
                text = f"nothing heard for {silent_us / 1e6:.1f} s; say HELLO with the resume token to go on"
                expired = ErrorMessage(code=ErrorCode.SESSION_EXPIRED, text=text, fatal=True)
                return [Send(message=expired), *self.lose("silent", now_us)]
            if min(silent_us, now_us - self._pinged_us) >= self._config.heartbeat_us:
                self._pinged_us = now_us
                return [Send(message=Ping(t_us=now_us))]
        return []

    @property
    def next_tick_us(self) -> int:
        """When time alone will next change something."""
        if self.state is SessionState.LOST:
            return self._lost_us + self._config.resume_window_us
        expiry_us = self._heard_us + self._config.heartbeat_us * self._config.missed_heartbeats
        return min(expiry_us, max(self._heard_us, self._pinged_us) + self._config.heartbeat_us)

    # -- what goes out ---------------------------------------------------------------------------------------------

    @property
    def pixel_format(self) -> PixelFormat:
        """Of the next answer."""
        return PixelFormat.RGB8 if self.shared_frames else self._pixel_format

    @property
    def jpeg_quality(self) -> int:
        """Of the next answer, where it is a JPEG."""
        return self._quality.quality

    def awaits(self, seq: int) -> bool:
        """Whether the control `seq` can be answered now; else its answer need not be made."""
        return self.state is SessionState.ACTIVE and self._flow.awaits(seq)

    def answer(self, header: FrameHeader, pixels: Buffer) -> list[Output]:
        """Answers the control `header.seq` with a pose in our axes.

        Nothing is sent without credit, nor for a control that waits no more (dropped, or from before a resume).
        """
        if self.state is not SessionState.ACTIVE or not self._flow.answer(header):
            return []
        self._quality.sent(header.seq, self._heard_us + header.server_us, len(pixels))
        return [Send(message=self._to_client.frame(header), pixels=pixels)]

    def not_delivered(self, header: FrameHeader) -> None:
        """Takes back a FRAME that the transport could not hand over: it counts as dropped, its credit is free again."""
        self._flow.take_back(header)

    def report(self, code: ErrorCode, text: str, *, in_reply_to: str = "") -> list[Output]:
        """Tells the client of something that failed on our side; the session goes on."""
        if self.state is not SessionState.ACTIVE:
            return []
        return [Send(message=ErrorMessage(code=code, text=text, in_reply_to=in_reply_to))]

    def restored(self, scene: SceneUpdate | None) -> list[Output]:
        """What follows from what came while a saved state was read. scene: what it shows, None: refused."""
        outputs: list[Output] = []
        for message in self._admission.restored(scene):
            try:
                outputs += self._admission.receive(message)
            except RemoteProtocolError as exc:
                if self.state is SessionState.ACTIVE:
                    outputs += self._refuse(exc, TYPE_OF_STRUCT[type(message)].name, -1)
        return outputs

    def lose(self, reason: str, now_us: int) -> list[Output]:
        """The client cannot be reached."""
        if self.state is not SessionState.ACTIVE:
            return []
        self.state = SessionState.LOST
        self._lost_us = now_us
        self._flow.drop_all()
        self._quality.restart()
        return [Lost(reason=reason)]

    def close(self, reason: str) -> list[Output]:
        """The server ends it. Who is lost was told so already, and BYE would end what else its connection carries."""
        if self.state is SessionState.CLOSED:
            return []
        farewell: list[Output] = [Send(message=Bye(reason=reason))] if self.state is SessionState.ACTIVE else []
        return [*farewell, *self._close(reason)]

    @property
    def ledger(self) -> Stats:
        """What this session counted; the server fills in the rest. The sums named in `Stats` hold at every moment."""
        return self._flow.ledger

    @property
    def accounts(self) -> dict[Account, int]:
        """Every control received, in the account that it ended in."""
        return self._flow.accounts

    # -- one handler a message -------------------------------------------------------------------------------------

    def _handle(self, message: Message, now_us: int) -> list[Output]:
        match message:
            case Control():
                return self._on_control(message, now_us)
            case Hello():
                return self._on_hello(message, now_us)
            case SceneUpdate():
                return [*self._admission.receive(self._to_ours.scene(message))]
            case Reset():
                return [*self._admission.receive(message)]
            case Save():
                self._offer.check("save", "SAVE", "start it with --states FOLDER")
                return [SaveRequested(name=message.name)]
            case Ping():
                return [Send(message=Pong(t_us=message.t_us))]
            case Pong():
                return []
            case Bye():
                return self._close(message.reason or "the client said BYE")
        return [StatsRequested()]

    def _on_hello(self, hello: Hello, now_us: int) -> list[Output]:
        if hello.version_major != VERSION_MAJOR:
            text = (
                f"the client speaks protocol {hello.version_major}.{hello.version_minor}, "
                f"this server {VERSION_MAJOR}.{VERSION_MINOR}; use versions with the same major number"
            )
            raise RemoteProtocolError(ErrorCode.VERSION_MISMATCH, text, fatal=True)
        offered = {pixel_format.value: pixel_format for pixel_format in self._offer.pixel_formats}
        usable = [offered[name] for name in hello.pixel_formats if name in offered]
        if not usable:
            text = f"pixel_formats: got {', '.join(hello.pixel_formats)}, this server has {', '.join(offered)}"
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED, text, fatal=True)
        resumed = self.state is SessionState.LOST
        self._pixel_format = usable[0]
        self.wants_ring, self.shared_frames = hello.shared_memory, False
        self._to_ours = ours_from_client(hello.axes, hello.units_per_metre)
        self._to_client = client_from_ours(hello.axes, hello.units_per_metre)
        self._flow.credit = min(hello.credit, self._config.max_credit)
        self._budget_us = hello.budget_us
        self._pinged_us = now_us
        welcome = self._offer.welcome(
            hello,
            session_id=self.session_id,
            resume_token=self.resume_token,
            resumed=resumed,
            last_seq=self._last_seq,
            heartbeat_us=self._config.heartbeat_us,
            credit=self._flow.credit,
            pixel_format=self._pixel_format,
        )
        return [Send(message=welcome), Opened(hello=hello, resumed=resumed)]

    def _on_control(self, control: Control, now_us: int) -> list[Output]:
        if control.seq <= self._last_seq:
            text = f"control {control.seq} after {self._last_seq}: seq must rise"
            raise RemoteProtocolError(ErrorCode.BAD_SEQUENCE, text, seq=control.seq)
        if control.frame_received_seq > self._flow.newest_sent_seq:
            text = f"frame_received_seq {control.frame_received_seq}, newest sent {self._flow.newest_sent_seq}"
            raise RemoteProtocolError(ErrorCode.BAD_SEQUENCE, text, seq=control.seq)
        ours = self._to_ours.control(control)
        check_reach(ours.position, "position", seq=control.seq)
        self._last_seq = control.seq
        self.shared_frames = control.shared_frames and self.wants_ring
        self._flow.acknowledge(control.frame_received_seq)
        self._quality.named(control.frame_received_seq, now_us)
        deadline_us = now_us + self._budget_us
        self._flow.accept(control.seq, deadline_us)
        if not self._flow.has_credit:
            self._quality.starved(now_us)
        return [ControlAccepted(control=ours, received_us=now_us, deadline_us=deadline_us)]

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _refuse(self, error: RemoteProtocolError, in_reply_to: str, seq: int) -> list[Output]:
        if self.state is SessionState.CLOSED:
            return []
        if in_reply_to == "CONTROL" and self.state is SessionState.ACTIVE:
            self._flow.refuse()
        self._strikes += 1
        fatal = error.fatal or self.state is not SessionState.ACTIVE
        code, text = error.code, error.text
        if fatal and not error.fatal and in_reply_to != "HELLO" and code not in _SAID_TO_ANYBODY:
            # Who reads `bad_mesh` would not know that a HELLO is due.
            text = f"{in_reply_to or 'a message'} while {self.state.value}: expected HELLO ({code.value}: {text})"
            code = ErrorCode.UNEXPECTED_MESSAGE
        if not fatal and self._strikes > MAX_STRIKES:
            code, fatal = ErrorCode.TOO_MANY_ERRORS, True
            text = f"{self._strikes} refused messages in a row, the last: {error.text}"
        refusal = ErrorMessage(code=code, text=text[:512], fatal=fatal, seq=seq, in_reply_to=in_reply_to)
        return [Send(message=refusal), *(self._close(text) if fatal else [])]

    def _close(self, reason: str) -> list[Output]:
        self.state = SessionState.CLOSED
        self._flow.drop_all()
        return [Closed(reason=reason)]
