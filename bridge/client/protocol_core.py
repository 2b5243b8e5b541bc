"""The client's half of the protocol, without I/O: what to send, what a message means, and counts of both.

client.py adds the socket and the waiting. All values are in the client's axes, all times on its clock.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.client.jitter_buffer import MOST_WAITING, ClockSync, JitterBuffer, JitterBufferConfig
from bridge.client.pixels import decode_pixels
from bridge.client.resend_queue import ResendQueue
from bridge.client.types import Answer, Camera, Counts, Frame
from bridge.errors import ErrorCode, RemoteProtocolError, SessionBusy, SessionClosed
from bridge.protocol.codec import Decoded
from bridge.protocol.messages import (
    Busy,
    Bye,
    Control,
    ErrorMessage,
    Event,
    FrameHeader,
    Hello,
    Message,
    Ping,
    Pong,
    Saved,
    Stats,
    Welcome,
)
from bridge.transport.frame_ring import FrameRingReader

log = logging.getLogger(__name__)
_MAX_PENDING: Final = 1024
# The server gave us up after a silence (a loading screen, a debugger), or the connection broke and zmq made a new one
# that the server does not know. Its world is kept for a while: HELLO with the token takes it up again.
_RESUMABLE: Final = (ErrorCode.SESSION_EXPIRED, ErrorCode.UNEXPECTED_MESSAGE)


class ClientCore:
    """Not thread-safe. `errors` keeps the newest refusals that did not end the session.

    open_ring: gets WELCOME's ring by name, width and height; None when it cannot be read here. playout: when frames are
    returned. clock_sync: round trip and the server's clock.
    """

    def __init__(
        self,
        hello: Hello,
        open_ring: Callable[[str, int, int], FrameRingReader | None] = lambda *_: None,
        playout: JitterBufferConfig | None = None,
    ) -> None:
        self.welcome: Welcome | None = None
        self.stats: Stats | None = None
        self.saved: Saved | None = None
        self.counts = Counts()
        self.errors: deque[ErrorMessage] = deque(maxlen=64)
        self._hello = hello
        self._open_ring = open_ring
        self._ring: FrameRingReader | None = None
        self._next_seq = 0
        self._sent_us: OrderedDict[int, int] = OrderedDict()
        self._answers: deque[Answer] = deque(maxlen=_MAX_PENDING)
        self.playout = JitterBuffer(playout)
        self.clock_sync = ClockSync()
        self._frames: dict[int, Frame] = {}  # read, and not shown yet
        self._newest_seq = -1
        self._lateness_us = 0
        self.resumes = 0
        self._resends = ResendQueue(_MAX_PENDING)
        self._resumed_from_seq: int | None = None  # the first control after HELLO, while WELCOME is awaited

    def hello(self) -> Hello:
        """Opens the session, or resumes it once WELCOME has told its token."""
        if self.welcome is None:
            return self._hello
        return msgspec.structs.replace(
            self._hello, session_id=self.welcome.session_id, resume_token=self.welcome.resume_token
        )

    def control(self, camera: Camera, action: str, events: Sequence[Event], now_us: int, *, teleport: bool) -> Control:
        """The next control. Numbers of any kind (numpy's too) are taken as floats."""
        x, y, z = camera.position
        qx, qy, qz, qw = camera.rotation
        return Control(
            seq=self._next_seq,
            t_us=now_us,
            position=(float(x), float(y), float(z)),
            rotation=(float(qx), float(qy), float(qz), float(qw)),
            vertical_fov_deg=float(camera.vertical_fov_deg),
            action=action,
            events=tuple(events),
            teleport=teleport,
            lateness_us=self._lateness_us,
            frame_received_seq=self._newest_seq,
            shared_frames=self._ring is not None,
        )

    def sent(self, control: Control) -> None:
        """`control` left the game; from now on it counts."""
        self._next_seq = control.seq + 1
        self.counts.controls += 1
        self._sent_us[control.seq] = control.t_us
        if len(self._sent_us) > _MAX_PENDING:
            self._sent_us.popitem(last=False)

    def told(self, message: Message) -> None:
        """A message that is no control left the game. What a lost session refuses is told again when it is resumed."""
        self._resends.sent(message, self._next_seq)

    def receive(self, decoded: Decoded, now_us: int) -> list[Message]:
        """Takes in one message; returns what to send because of it.

        Raises: SessionBusy, SessionClosed: the session cannot begin or is over. RemoteProtocolError: the server refused
        something that the caller must know about (all but single controls, which land in `errors`).
        """
        message = decoded.message
        match message:
            case FrameHeader():
                self._on_frame(message, decoded, now_us)
            case Ping():
                return [Pong(t_us=message.t_us)]
            case Welcome():
                return self._on_welcome(message)
            case Saved():
                self.saved = message
            case Stats():
                self.stats = message
            case ErrorMessage():
                return self._on_error(message)
            case Busy():
                raise SessionBusy(message.text, retry_after_us=message.retry_after_us)
            case Bye():
                raise SessionClosed(f"the server ended the session: {message.reason or 'no reason given'}")
            case _:
                log.debug("client.ignored message=%s", type(message).__name__)
        return []

    def take_newest(self, now_us: int) -> Frame | None:
        """The newest frame whose time has come, once; older ones are skipped."""
        due = self.playout.take(now_us)
        if due is None:
            return None
        newest = self._frames[due]
        self._frames = {seq: frame for seq, frame in self._frames.items() if seq > due}
        return newest

    def take_answers(self) -> list[Answer]:
        """Every FRAME since the last call, oldest first; at most the newest 1024."""
        answers = list(self._answers)
        self._answers.clear()
        return answers

    def close_ring(self) -> None:
        """Lets go of the shared memory; pixels travel in the message from now on."""
        if self._ring is not None:
            self._ring.close()
            self._ring = None

    def _on_welcome(self, welcome: Welcome) -> list[Message]:
        if self.welcome is not None and not welcome.resumed:
            raise SessionClosed("the server no longer has this session; open a new one")
        self.resumes += self.welcome is not None
        self.welcome = welcome
        self.close_ring()
        self._ring = self._open_ring(welcome.ring, welcome.frame_width, welcome.frame_height)
        self._resumed_from_seq = None
        self._next_seq = max(self._next_seq, welcome.last_seq + 1)
        again = self._resends.take_refused()
        for message in again:
            self.told(message)
        return again

    def _on_frame(self, header: FrameHeader, decoded: Decoded, now_us: int) -> None:
        if not self._newest_seq < header.seq < self._next_seq:
            log.warning("client.ignored seq=%d: never sent, or not newer than what was read", header.seq)
            return
        if header.ring_slot >= 0 and self._ring is None:
            log.warning("client.ignored seq=%d: its pixels lie in a ring that is not open", header.seq)
            return
        self._resends.answered(header.seq)
        latency_us = now_us - self._sent_us.pop(header.seq, header.t_us)
        self._lateness_us = latency_us - self._hello.budget_us
        if header.server_t_us:
            self.clock_sync.add(
                sent_us=now_us - latency_us, received_us=now_us, server_sent_us=header.server_t_us,
                server_us=header.server_us,
            )  # fmt: skip
        self._answers.append(Answer(header=header, latency_ms=latency_us / 1e3))
        self.counts.by_source[header.source] += 1
        if self._lateness_us <= 0:
            self.counts.in_budget += 1
        else:
            self.counts.late += 1
        if (pixels := self._pixels_of(decoded, header)) is not None:
            self._frames[header.seq] = Frame(header=header, pixels=pixels, latency_ms=latency_us / 1e3)
            self.playout.arrived(now_us, seq=header.seq, sent_us=now_us - latency_us)
            while len(self._frames) > MOST_WAITING:
                del self._frames[next(iter(self._frames))]
        self._newest_seq = header.seq

    def _pixels_of(self, decoded: Decoded, header: FrameHeader) -> NDArray[np.uint8] | None:
        """The frame's pixels, from the message or the ring; None when the ring does not hold it any more."""
        assert decoded.pixels is not None
        if header.ring_slot < 0 or self._ring is None:
            return decode_pixels(header, bytes(decoded.pixels))
        pixels = self._ring.read(header.ring_slot, header.ring_sequence)
        if pixels is None or pixels.shape != (header.height, header.width, 3):
            log.warning("client.ring_lost seq=%d: pixels travel in the message from now on", header.seq)
            self.close_ring()
            return None
        return pixels

    def _on_error(self, error: ErrorMessage) -> list[Message]:
        if error.in_reply_to == "CONTROL":
            self.counts.refused += 1
            self._sent_us.pop(error.seq, None)
        if error.fatal and error.code in _RESUMABLE and self.welcome is not None:
            self._resends.refused(error.in_reply_to)
            # What was under way before HELLO is refused as well; if later controls are, HELLO never arrived.
            if self._resumed_from_seq is not None and error.seq < self._resumed_from_seq:
                return []
            self._resumed_from_seq = self._next_seq
            self._resends.resuming()
            log.info("client.resume session=%s", self.welcome.session_id)
            return [self.hello()]
        if error.fatal or error.in_reply_to in ("HELLO", "SCENE", "RESET", "SAVE"):
            raise RemoteProtocolError(
                error.code, error.text, seq=error.seq, in_reply_to=error.in_reply_to, fatal=error.fatal
            )
        self.errors.append(error)
        log.warning("client.refused code=%s seq=%d text=%s", error.code.value, error.seq, error.text)
        return []
