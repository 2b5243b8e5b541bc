"""A DEALER without ZeroMQ's I/O thread, for clients on the server's machine: ZMTP 3.0 (RFC 23) on a plain socket.

ZeroMQ hands each message to a thread of its own and from there to the kernel: one wake-up more each way, which on one
machine costs more than everything else that is done to a message. Here the game's thread reads and writes the socket
itself, as clients in other languages do (unity_plugin_protocol.md, section 20). It says what `DealerSocket` says.
Across a network ZeroMQ's own is right: it sends on while the game does something else, and it has CURVE.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

from bridge.clock import Clock, MonotonicClock
from bridge.config import check_address, is_this_machine
from bridge.curve import ClientKeys
from bridge.errors import PeerLost, TransportError
from bridge.transport import CLIENT_MAX_PART_BYTES, Buffer, DealerSocket, SendResult

_MORE, _LONG, _COMMAND = 1, 2, 4
_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
_READY: Final = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
_GREETING_BYTES: Final = 64
_SHORT: Final = 256
_MOST_PARTS: Final = 64
_ROOM_BYTES: Final = 64 * 1024
_CONNECT_S: Final = 0.02  # nobody listens: told at once. Longer only while too many wait to be accepted
_RETRY_US: Final = 100_000
_SILENCE_US: Final = 15_000_000  # the server's ZeroMQ asks every 5 s whether the connection lives
_HAND_OVER_US: Final = 3_000_000  # a level of some megabytes to a server that is busy
_LOOK_US: Final = 10_000


class LocalDealer:
    """One connection to a service on this machine; made anew by itself. Use it from one thread; nothing blocks but
    `wait`, `send_or_lose` and `close`.

    Raises: ConfigError: the address is not one.
    """

    def __init__(self, address: str, clock: Clock | None = None) -> None:
        check_address(address, name="address")
        self._address = address
        self._clock = clock or MonotonicClock()
        self._socket: socket.socket | None = None
        self._closed = False
        self._retry_us = 0
        self._in = bytearray(_ROOM_BYTES)
        self._forget_connection()

    # -- what clients call -----------------------------------------------------------------------------------------

    def send(self, parts: Sequence[Buffer]) -> SendResult:
        """FULL also means: not connected (yet). What the kernel does not take at once goes with the next call."""
        if not self._is_ready and not self._greet():
            return SendResult.FULL
        if self._out and not self._flush():
            return SendResult.FULL
        self._out += _framed(parts)
        self._flush()
        return SendResult.SENT if self._socket is not None else SendResult.FULL

    def send_or_lose(self, parts: Sequence[Buffer]) -> None:
        """Waits until the message is handed over. Raises: PeerLost: it could not be."""
        deadline_us = self._clock.now_us() + _HAND_OVER_US
        if self._is_ready:
            while self._out and not self._flush() and self._socket and self._clock.now_us() < deadline_us:
                select.select((), (self._socket,), (), _LOOK_US / 1e6)
        handed_over = self.send(parts) is SendResult.SENT
        while handed_over and self._out and not self._flush():
            if self._socket is None or self._clock.now_us() >= deadline_us:
                handed_over = False
            else:
                select.select((), (self._socket,), (), _LOOK_US / 1e6)
        if not handed_over:
            raise PeerLost("the service does not take messages any more: it stopped, hangs, or the network is down")

    def receive(self) -> list[bytes] | None:
        """The next waiting message; None when none waits."""
        if self._socket is None and not self._connect():
            return None
        while (message := self._next_message()) is None:
            if not self._read():
                return None
        return message

    def wait(self, timeout_us: int) -> None:
        """Returns when something may be there to be received, or after `timeout_us`."""
        if self._socket is not None or self._connect():
            assert self._socket is not None
            with contextlib.suppress(OSError):
                select.select((self._socket,), (self._socket,) if self._out else (), (), max(0, timeout_us) / 1e6)
            return
        now_us = self._clock.now_us()
        self._clock.sleep_until_us(now_us + min(timeout_us, max(0, self._retry_us - now_us) + 1))

    def close(self, *, linger_ms: int = 0) -> None:
        """Closes; what was sent has `linger_ms` to arrive. May be called twice."""
        if self._socket is not None:
            if linger_ms:
                self._end(self._clock.now_us() + 1000 * linger_ms)
            self._drop()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- the connection --------------------------------------------------------------------------------------------

    def _forget_connection(self) -> None:
        self._out = bytearray()
        self._at = self._end_at = 0  # of what is in `_in` and was not taken yet
        self._parts: list[bytes] = []
        self._is_greeted = self._is_ready = False
        self._heard_us = self._clock.now_us()

    def _connect(self) -> bool:
        """Raises: TransportError: this end was closed."""
        if self._closed:
            raise TransportError("this socket is closed")
        if self._clock.now_us() < self._retry_us:
            return False
        self._retry_us = self._clock.now_us() + _RETRY_US
        try:
            self._socket = _connected(self._address)
        except OSError:
            return False
        self._forget_connection()
        self._out += _GREETING + _READY
        return self._flush() or self._socket is not None

    def _greet(self) -> bool:
        """Goes on with the handshake. Returns: whether it is over."""
        if self._socket is None and not self._connect():
            return False
        while not self._is_ready and self._read():
            while not self._is_ready and (frame := self._next_frame()) is not None:
                self._on_command(frame[1])
        return self._is_ready

    def _drop(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._forget_connection()

    def _end(self, deadline_us: int) -> None:
        """Lets what was sent arrive: closed with something unread, the connection would be reset, and lose it."""
        assert self._socket is not None
        with contextlib.suppress(OSError):
            while self._out and not self._flush() and self._clock.now_us() < deadline_us and self._socket:
                select.select((), (self._socket,), (), _LOOK_US / 1e6)
            if self._socket is None:
                return
            self._socket.shutdown(socket.SHUT_WR)
            while (left_us := deadline_us - self._clock.now_us()) > 0:
                readable, _, _ = select.select((self._socket,), (), (), left_us / 1e6)
                if not readable or not self._socket.recv(_ROOM_BYTES):
                    return

    # -- bytes -----------------------------------------------------------------------------------------------------

    def _flush(self) -> bool:
        """Returns: whether everything is out."""
        if self._socket is None:
            return False
        try:
            sent = self._socket.send(self._out)
        except BlockingIOError:
            return False
        except OSError:
            self._drop()
            return False
        del self._out[:sent]
        return not self._out

    def _read(self) -> bool:
        """Takes in what the kernel has. Returns: False when it has nothing."""
        if self._out:
            self._flush()
        if self._socket is None:
            return False
        self._make_room()
        try:
            count = self._socket.recv_into(memoryview(self._in)[self._end_at :])
        except BlockingIOError:
            if self._clock.now_us() - self._heard_us > _SILENCE_US:
                self._drop()
            return False
        except OSError:
            count = 0
        if count == 0:
            self._drop()
            return False
        self._end_at += count
        self._heard_us = self._clock.now_us()
        return True

    def _make_room(self) -> None:
        """At least `_ROOM_BYTES`, or what the frame under way still needs."""
        kept = self._end_at - self._at
        if self._at:
            self._in[:kept] = self._in[self._at : self._end_at]
            self._at, self._end_at = 0, kept
        needed = max(kept + _ROOM_BYTES, self._size_under_way())
        if needed > len(self._in):
            self._in.extend(bytes(needed - len(self._in)))

    def _size_under_way(self) -> int:
        """Bytes of the frame that `_at` stands at, as far as that is known."""
        if not self._is_greeted or self._end_at - self._at < 9 or not self._in[self._at] & _LONG:
            return 0
        return 9 + int.from_bytes(self._in[self._at + 1 : self._at + 9])

    def _next_message(self) -> list[bytes] | None:
        while (frame := self._next_frame()) is not None:
            flags, body = frame
            if flags & _COMMAND:
                self._on_command(body)
                continue
            self._parts.append(body)
            if not flags & _MORE:
                parts, self._parts = self._parts, []
                return parts
            if len(self._parts) > _MOST_PARTS:
                self._drop()
        return None

    def _next_frame(self) -> tuple[int, bytes] | None:
        """Flags and body of the next whole frame; takes the greeting on the way."""
        if not self._is_greeted:
            if self._end_at - self._at < _GREETING_BYTES:
                return None
            theirs = self._in[self._at : self._at + _GREETING_BYTES]
            self._at += _GREETING_BYTES
            self._is_greeted = (
                theirs[0] == 0xFF and theirs[9] == 0x7F and theirs[10] >= 3 and theirs[12:17] == b"NULL\0"
            )
            if not self._is_greeted:  # something else listens there, or a service that wants keys
                self._drop()
                return None
        if self._end_at - self._at < 2:
            return None
        flags = self._in[self._at]
        head = 9 if flags & _LONG else 2
        if self._end_at - self._at < head:
            return None
        size = int.from_bytes(self._in[self._at + 1 : self._at + head])
        if size > CLIENT_MAX_PART_BYTES:
            self._drop()
            return None
        begin = self._at + head
        if self._end_at < begin + size:
            return None
        self._at = begin + size
        return flags, bytes(memoryview(self._in)[begin : begin + size])

    def _on_command(self, body: bytes) -> None:
        if body.startswith(b"\x05READY"):
            self._is_ready = True
        elif body.startswith(b"\x04PING") and 7 <= len(body) <= 23:
            self._out += bytes((_COMMAND, len(body) - 2)) + b"\x04PONG" + body[7:]  # without the time to live
            self._flush()


def dealer_for(address: str, keys: ClientKeys | None = None) -> LocalDealer | DealerSocket:
    """A client's socket: of its own on this machine, ZeroMQ's across a network and for encrypted connections."""
    return LocalDealer(address) if keys is None and is_this_machine(address) else DealerSocket(address, keys)


def _connected(address: str) -> socket.socket:
    """Raises: OSError: nobody listens there."""
    if address.startswith("ipc://"):
        path = address.removeprefix("ipc://")
        made = socket.socket(socket.AF_UNIX)
        try:
            made.settimeout(_CONNECT_S)
            made.connect("\0" + path[1:] if path.startswith("@") else path)
        except OSError:
            made.close()
            raise
    else:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        made = socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setblocking(False)
    return made


def _framed(parts: Sequence[Buffer]) -> bytes:
    """A message as ZMTP's frames."""
    pieces: list[Buffer] = []
    last = len(parts) - 1
    for index, part in enumerate(parts):
        size, more = len(part), _MORE * (index < last)
        pieces.append(bytes((more, size)) if size < _SHORT else bytes((more | _LONG,)) + size.to_bytes(8))
        pieces.append(part)
    return b"".join(pieces)
