"""A scripted client and the server that is tested: one connection, what came over it, and whether that was allowed.

The scripts that server_scripts.py lists play on this. Every message of the server is decoded and checked as it comes;
an answer nobody asked for, out of order, or beyond the credit granted is a failure wherever it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import msgpack  # type: ignore[import-untyped]  # it ships no types

from bridge.clock import Clock
from bridge.conformance.outcome import Failed, require
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.codec import Buffer, Decoded, decode, encode
from bridge.protocol.messages import (
    PROTOCOL_MAGIC,
    VERSION_MAJOR,
    VERSION_MINOR,
    Busy,
    Bye,
    Control,
    ErrorMessage,
    FrameHeader,
    Hello,
    Message,
    MessageType,
    Ping,
    Pong,
    Stats,
    StatsRequest,
    Welcome,
)
from bridge.transport.curve_keys import ClientKeys
from bridge.transport.sockets import DealerSocket, Poller, SendResult

TICK_US: Final = 16_667
SOUND_CONTROL: Final[dict[str, Any]] = {
    "seq": 0,
    "t_us": 0,
    "position": [0.0, 0.0, 0.0],
    "rotation": [0.0, 0.0, 0.0, 1.0],
    "vertical_fov_deg": 60.0,
}
M = TypeVar("M", bound=Message)


class Connection:
    """One connection to the server that is tested. answering_pings: False plays a client that went silent."""

    def __init__(self, address: str, *, patience_us: int, clock: Clock, keys: ClientKeys | None = None) -> None:
        self.patience_us = patience_us
        self.welcome: Welcome | None = None
        self.frames: list[FrameHeader] = []
        self.newest_pixels: Buffer = b""
        self.answering_pings = True
        self.pings = 0
        self.seq = -1
        self._address = address
        self._clock = clock
        self._heard: list[Message] = []
        self._named_seq = -1
        self._asked: dict[int, int] = {}
        self._socket = DealerSocket(address, keys)
        self._poller = Poller()
        self._poller.watch(self._socket)

    def close(self) -> None:
        """Leaves no session behind."""
        self._socket.send(encode(Bye(reason="the script is over")))
        self._poller.forget(self._socket)
        self._socket.close(linger_ms=100)

    # -- what the script says --------------------------------------------------------------------------------------

    def send(self, message: Message) -> None:
        self.send_parts(encode(message))

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        """Sends whatever this is; waits for the connection when there is none yet."""
        deadline_us = self._clock.now_us() + self.patience_us
        while self._socket.send(parts) is not SendResult.SENT:
            require(self._clock.now_us() < deadline_us, f"no server takes messages at {self._address}")
            self._clock.sleep_until_us(self._clock.now_us() + 2_000)

    def send_fields(self, kind: MessageType, fields: dict[str, Any]) -> None:
        """Sends a body that our own types may not allow."""
        self.send_parts([PROTOCOL_MAGIC, bytes([kind]), msgpack.packb(fields)])

    def say_hello(self, **changes: Any) -> None:
        """HELLO alone, without waiting for its answer."""
        fields: dict[str, Any] = {"version_major": VERSION_MAJOR, "version_minor": VERSION_MINOR, "client": "conform"}
        self.send(Hello(**{**fields, **changes}))

    def open_session(self, **changes: Any) -> Welcome:
        """HELLO and WELCOME; tries again while the server is BUSY (the last script's sessions may not have ended)."""
        deadline_us = self._clock.now_us() + self.patience_us
        self.say_hello(**changes)
        while isinstance(answer := self.first_of(Welcome, Busy, ErrorMessage), Busy):
            require(self._clock.now_us() < deadline_us, f"expected WELCOME, got BUSY: {answer.text}")
            self._clock.sleep_until_us(self._clock.now_us() + 50_000)
            self.say_hello(**changes)
        if not isinstance(answer, Welcome):
            raise Failed(f"expected WELCOME, got {_said(answer)}")
        self.welcome = answer
        self.seq = self.welcome.last_seq
        self._named_seq, self._asked, self.frames = -1, {}, []
        return self.welcome

    def control(self, **changes: Any) -> Control:
        """Sends the next CONTROL; it names the newest FRAME that was read, unless `changes` say otherwise."""
        self.seq += 1
        fields: dict[str, Any] = {
            "seq": self.seq,
            "t_us": self._clock.now_us(),
            "position": (0.0, 1.6, 5.0),
            "rotation": (0.0, 0.0, 0.0, 1.0),
            "vertical_fov_deg": 60.0,
            "frame_received_seq": self.frames[-1].seq if self.frames else -1,
        }
        control = Control(**{**fields, **changes})
        self._named_seq = max(self._named_seq, control.frame_received_seq)
        self._asked[control.seq] = control.t_us
        self.send(control)
        return control

    def step(self, **changes: Any) -> FrameHeader:
        """A CONTROL and the FRAME that answers it."""
        control = self.control(**changes)
        return self.wait_for(FrameHeader, f"a FRAME for CONTROL {control.seq}", lambda frame: frame.seq == control.seq)

    def play_until_painted(self) -> None:
        """Controls until a FRAME shows a chunk: before that a session has no state to keep. Raises: Failed: none came
        in time."""
        deadline_us = self._clock.now_us() + self.patience_us
        while self.step().chunk < 0:
            require(self._clock.now_us() < deadline_us, f"no chunk within {self.patience_us / 1e6:g} s of WELCOME")
            self.listen(20_000)

    def stats(self) -> Stats:
        self.send(StatsRequest())
        return self.wait_for(Stats, "STATS")

    # -- what the server says --------------------------------------------------------------------------------------

    def wait_for(self, kind: type[M], what: str, fits: Callable[[M], bool] = lambda _: True) -> M:
        """The first message of a kind that fits, of those that no script took yet. Raises: Failed: none in time."""
        deadline_us = self._clock.now_us() + self.patience_us
        while True:
            for at, message in enumerate(self._heard):
                if isinstance(message, kind) and fits(message):
                    del self._heard[: at + 1]
                    return message
                if isinstance(message, ErrorMessage | Bye) and kind is not type(message):
                    raise Failed(f"expected {what}, got {_said(message)}")
            if not self._read(deadline_us):
                raise Failed(f"expected {what} within {self.patience_us / 1e6:g} s, got nothing")

    def wait_for_error(self, code: ErrorCode, after: str, *, fatal: bool) -> ErrorMessage:
        """The ERROR that must follow. Raises: Failed: another, or none."""
        error = self.wait_for(ErrorMessage, f"ERROR {code.value} after {after}")
        said = f"after {after}: got {_said(error)}"
        require(error.code is code, f"{said}, expected {code.value}")
        require(error.fatal is fatal, f"{said}, expected {'a fatal one' if fatal else 'one that is not fatal'}")
        return error

    def expect_answer(self, seq: int, t_us: int) -> None:
        """A CONTROL that `send_fields` sends next."""
        self._asked[seq] = t_us

    def first_of(self, *kinds: type[Message]) -> Message:
        """The first message of one of these kinds. Raises: Failed: none in time."""
        deadline_us = self._clock.now_us() + self.patience_us
        while True:
            for at, message in enumerate(self._heard):
                if isinstance(message, kinds):
                    del self._heard[: at + 1]
                    return message
            if not self._read(deadline_us):
                names = ", ".join(kind.__name__ for kind in kinds)
                raise Failed(f"expected one of {names} within {self.patience_us / 1e6:g} s, got nothing")

    def listen(self, for_us: int) -> list[Message]:
        """What comes within a time; scripts do not see it again."""
        deadline_us = self._clock.now_us() + for_us
        while self._read(deadline_us):
            pass
        heard, self._heard = self._heard, []
        return heard

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _read(self, deadline_us: int) -> bool:
        parts = self._socket.receive()
        if parts is None:
            left_us = deadline_us - self._clock.now_us()
            if left_us <= 0:
                return False
            self._poller.wait(min(left_us, 50_000))
            return True
        try:
            decoded = decode(parts)
        except RemoteProtocolError as exc:
            raise Failed(f"the server sent what no client can read: {exc}") from exc
        self._on_message(decoded)
        return True

    def _on_message(self, decoded: Decoded) -> None:
        message = decoded.message
        match message:
            case Ping():
                self.pings += 1
                if self.answering_pings:
                    self.send(Pong(t_us=message.t_us))
            case FrameHeader():
                self._on_frame(message)
                self.newest_pixels = b"" if decoded.pixels is None else decoded.pixels
                self._heard.append(message)
            case _:
                self._heard.append(message)

    def _on_frame(self, frame: FrameHeader) -> None:
        require(self.welcome is not None, "a FRAME before WELCOME")
        assert self.welcome is not None
        require(frame.seq in self._asked, f"FRAME {frame.seq}, but no CONTROL of that seq waits for an answer")
        t_us = self._asked.pop(frame.seq)
        require(frame.t_us == t_us, f"FRAME {frame.seq} has t_us {frame.t_us}, its CONTROL had {t_us}")
        newest = self.frames[-1].seq if self.frames else -1
        require(frame.seq > newest, f"FRAME {frame.seq} after {newest}: answers come in the order of their controls")
        size, expected = (frame.width, frame.height), (self.welcome.frame_width, self.welcome.frame_height)
        require(size == expected, f"FRAME {frame.seq} of {size} pixels, WELCOME said {expected}")
        self.frames.append(frame)
        unread = sum(sent.seq > self._named_seq for sent in self.frames)
        require(unread <= self.welcome.credit, f"{unread} FRAMEs unread, WELCOME granted credit {self.welcome.credit}")


def _said(message: Message) -> str:
    if isinstance(message, ErrorMessage):
        return f"ERROR {message.code.value}{' (fatal)' * message.fatal}: {message.text}"
    return f"BYE {message.reason}" if isinstance(message, Bye) else type(message).__name__


Connect = Callable[[], Connection]
