"""ROUTER and DEALER sockets: the only module that imports zmq.

Thin wrappers that set the options this protocol needs and map every zmq error to a TransportError or ConfigError.
One thread a socket. Sending never blocks: a slow peer loses frames, not the server's time.
"""

from __future__ import annotations

import enum
import select
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self, TypeAlias

import zmq

from bridge.config import check_address
from bridge.errors import ConfigError, PeerLost, TransportError
from bridge.transport.curve_keys import ZAP_DOMAIN, ClientKeys, ServerKeys, zap_reply

Buffer: TypeAlias = bytes | bytearray | memoryview

# The codec checks again and tells the peer why: ZeroMQ drops the connection of whoever exceeds this without a word.
SERVER_MAX_PART_BYTES: Final = 5 * 2**20
CLIENT_MAX_PART_BYTES: Final = 64 * 2**20
_SEND_QUEUE: Final = 16  # messages; credit keeps frames far below it
_RECEIVE_QUEUE: Final = 64
_HAND_OVER_MS: Final = 500  # for room in the queue; ZeroMQ's thread makes some within one where the peer reads
_KEEPALIVE_MS: Final = 5000
# As plain numbers: pyzmq's enums, combined and looked up anew at each call, take as long as the call (13 us on a cold
# cache, where a game's tick finds it).
_NOW: Final = int(zmq.DONTWAIT)
_MORE_NOW: Final = int(zmq.DONTWAIT | zmq.SNDMORE)
_EVENTS: Final = int(zmq.EVENTS)
_READABLE: Final = int(zmq.POLLIN)


class SendResult(enum.Enum):
    """What became of a message. FULL: the peer does not read, try something newer later. GONE: no such peer."""

    SENT = "sent"
    FULL = "full"
    GONE = "gone"


class _Socket:
    """What both kinds share: ownership of one zmq socket and its context."""

    def __init__(self, kind: int, address: str, max_part_bytes: int) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(kind)
        self._closed = False
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.SNDHWM, _SEND_QUEUE)
        self._socket.setsockopt(zmq.RCVHWM, _RECEIVE_QUEUE)
        self._socket.setsockopt(zmq.MAXMSGSIZE, max_part_bytes)
        self._socket.setsockopt(zmq.IPV6, int("[" in address))
        # ZMTP's own PING frees the connections of peers whose machine vanished; hung programs are session.py's matter.
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, _KEEPALIVE_MS)
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * _KEEPALIVE_MS)

    @property
    def raw(self) -> zmq.Socket[bytes]:
        """For `Poller` only."""
        return self._socket

    def close(self, *, linger_ms: int = 0) -> None:
        """Closes; what is not sent after `linger_ms` is dropped. May be called twice."""
        if not self._closed:
            self._closed = True
            self._socket.close(linger=linger_ms)
            self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _receive(self) -> list[bytes] | None:
        try:
            if not int(self._socket.getsockopt(_EVENTS)) & _READABLE:
                return None  # zmq.Again, raised and caught, would cost more than a message
            return list(self._socket.recv_multipart(_NOW))
        except zmq.Again:
            return None
        except zmq.ZMQError as exc:
            raise TransportError(f"receiving failed: {exc}") from exc

    def _send(self, parts: Sequence[Buffer]) -> SendResult:
        try:
            # Copying (70 us for 640 x 384) lets callers pass a slot of a ring that is overwritten next.
            for part in parts[:-1]:
                self._socket.send(part, _MORE_NOW)
            self._socket.send(parts[-1], _NOW)
        except zmq.Again:
            return SendResult.FULL
        except zmq.ZMQError as exc:
            if exc.errno == zmq.EHOSTUNREACH:
                return SendResult.GONE
            raise TransportError(f"sending failed: {exc}") from exc
        return SendResult.SENT


class RouterSocket(_Socket):
    """The server's socket: many peers, each with a random routing id.

    keys: takes encrypted connections alone, of the clients that they name. Raises: ConfigError: the address is not
    one, or it is taken.
    """

    def __init__(self, address: str, keys: ServerKeys | None = None) -> None:
        check_address(address, name="bind")
        super().__init__(zmq.ROUTER, address, SERVER_MAX_PART_BYTES)
        self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        if keys is not None:
            self._demand_curve(keys)
        try:
            self._socket.bind(address)
        except zmq.ZMQError as exc:
            self.close()
            if exc.errno == zmq.EADDRINUSE:
                text = f"{address} is in use: another service runs there; stop it, or bind to another port"
                raise ConfigError(text) from exc
            raise ConfigError(f"cannot bind to {address}: {exc}") from exc
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def _demand_curve(self, keys: ServerKeys) -> None:
        door = self._context.socket(zmq.REP)
        door.setsockopt(zmq.LINGER, 0)
        door.bind("inproc://zeromq.zap.01")
        # It ends with the context, whose term() in `close` waits for it.
        threading.Thread(target=_keep_the_door, args=(door, keys), name="zap", daemon=True).start()
        self._socket.setsockopt(zmq.CURVE_SERVER, 1)
        self._socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
        self._socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
        # Without it a handler that is not there (yet) lets everybody in.
        self._socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)

    def receive(self) -> tuple[bytes, list[bytes]] | None:
        """The next waiting message and who sent it; None when none waits."""
        parts = self._receive()
        return None if parts is None else (parts[0], parts[1:])

    def send(self, peer: bytes, parts: Sequence[Buffer]) -> SendResult:
        """Never blocks."""
        return self._send([peer, *parts])


class DealerSocket(_Socket):
    """The client's socket: one peer, which may come up later. keys: encrypts, and speaks to that server alone."""

    def __init__(self, address: str, keys: ClientKeys | None = None) -> None:
        check_address(address, name="address")
        super().__init__(zmq.DEALER, address, CLIENT_MAX_PART_BYTES)
        self._poller: Poller | None = None
        # Without IMMEDIATE messages queue up for a server that is not there, and would reach its successor stale.
        self._socket.setsockopt(zmq.IMMEDIATE, 1)
        if keys is not None:
            self._socket.setsockopt(zmq.CURVE_SERVERKEY, keys.server.encode())
            self._socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
            self._socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
        try:
            self._socket.connect(address)
        except zmq.ZMQError as exc:
            self.close()
            raise ConfigError(f"cannot connect to {address}: {exc}") from exc

    def receive(self) -> list[bytes] | None:
        """The next waiting message; None when none waits."""
        return self._receive()

    def send(self, parts: Sequence[Buffer]) -> SendResult:
        """Never blocks. FULL also means: not connected (yet)."""
        return self._send(parts)

    def wait(self, timeout_us: int) -> None:
        """Returns when something may be there to be received, or after `timeout_us`; sometimes earlier."""
        if self._poller is None:
            self._poller = Poller()
            self._poller.watch(self)
        self._poller.wait(timeout_us)

    def send_or_lose(self, parts: Sequence[Buffer]) -> None:
        """Waits a moment where many messages leave at once. Raises: PeerLost: the message could not be handed over."""
        result = self._send(parts)
        if result is SendResult.FULL and self._socket.poll(_HAND_OVER_MS, zmq.POLLOUT):
            result = self._send(parts)
        if result is not SendResult.SENT:
            raise PeerLost("the service does not take messages any more: it stopped, hangs, or the network is down")


def new_curve_pair() -> tuple[str, str]:
    """A public and a secret key, in Z85. Raises: TransportError: this libzmq was built without CURVE."""
    try:
        public, secret = zmq.curve_keypair()
    except zmq.ZMQError as exc:
        raise TransportError(f"no keys: {exc}; this build of libzmq has no CURVE") from exc
    return public.decode(), secret.decode()


def _keep_the_door(door: zmq.Socket[bytes], keys: ServerKeys) -> None:
    """Answers the context's questions whether a client's key is known (ZeroMQ RFC 27)."""
    try:
        while True:
            reply = zap_reply(door.recv_multipart(), keys.allows)
            door.send_multipart(reply if reply is not None else [b"1.0", b"", b"500", b"not a request", b"", b""])
    except zmq.ZMQError:  # the context ends
        door.close()


Pollable: TypeAlias = RouterSocket | DealerSocket | int


class Poller:
    """Waits for sockets and plain file descriptors (pipes, eventfds, process sentinels) together.

    zmq's own poll counts in milliseconds, which is coarse beside a 16.7 ms tick, so the waiting is done by select() on
    the sockets' signal descriptors. Those are edge-triggered: zmq is asked first, and a wake-up may turn out empty.
    """

    def __init__(self) -> None:
        self._poller = zmq.Poller()
        self._sources: dict[object, Pollable] = {}
        self._descriptors: dict[object, int] = {}

    def watch(self, source: Pollable) -> None:
        """Watches `source` for reading."""
        key = source if isinstance(source, int) else source.raw
        self._sources[key] = source
        self._descriptors[key] = source if isinstance(source, int) else int(source.raw.getsockopt(zmq.FD))
        self._poller.register(key, zmq.POLLIN)

    def forget(self, source: Pollable) -> None:
        """Stops watching `source`; a source that is not watched is no error."""
        key = source if isinstance(source, int) else source.raw
        if self._sources.pop(key, None) is not None:
            del self._descriptors[key]
            self._poller.unregister(key)

    def wait(self, timeout_us: int) -> list[Pollable]:
        """The sources that can be read now; empty after `timeout_us`, and sometimes earlier: callers loop."""
        ready = self._ready()
        if not ready and timeout_us > 0:
            signalled, _, _ = select.select(list(self._descriptors.values()), (), (), timeout_us / 1e6)
            ready = [self._sources[key] for key, descriptor in self._descriptors.items() if descriptor in signalled]
        return ready

    def _ready(self) -> list[Pollable]:
        try:
            return [self._sources[key] for key, _ in self._poller.poll(0)]
        except zmq.ZMQError as exc:
            raise TransportError(f"waiting failed: {exc}") from exc
