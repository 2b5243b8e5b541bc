"""The client's socket: sends HELLO until WELCOME arrives, reads all waiting messages at once, tolerates broken ones.

protocol_core.py interprets messages; client.py is what a game calls.
"""

from __future__ import annotations

import logging

from bridge.client.protocol_core import ClientCore
from bridge.clock import Clock
from bridge.errors import ConnectTimeout, PeerLost, ReceiveTimeout, RemoteProtocolError, SessionClosed, SessionError
from bridge.protocol.codec import decode, encode, encode_checked
from bridge.protocol.messages import Bye, Control, Hello, Message, Pong, Welcome
from bridge.transport.curve_keys import ClientKeys
from bridge.transport.sockets import DealerSocket, SendResult

log = logging.getLogger(__name__)
_RETRY_US = 2000
_PATIENCE_US = 3_000_000  # a broken connection is made anew in 0.1 s; a server gives a silent client up after as long
_BYE_MS = 100  # how long closing may wait for BYE to leave; on a live connection it is well under one


class ClientConnection:
    """Feeds a core from a socket. Not thread-safe. Once closed, `send`, `tell` and `read` raise SessionClosed."""

    def __init__(self, address: str, keys: ClientKeys | None, core: ClientCore, clock: Clock) -> None:
        self._address = address
        self._encrypted = keys is not None
        self._core = core
        self._clock = clock
        self._socket = DealerSocket(address, keys)
        self._closed = False
        self._unsent_since_us: int | None = None

    def open(self, timeout_s: float) -> Welcome:
        """Says HELLO and waits for WELCOME. Raises: ConnectTimeout, and what `read` raises; it is closed then."""
        try:
            return self._handshake(timeout_s)
        except BaseException:
            self._close()
            raise

    def send(self, control: Control, now_us: int) -> None:
        """Sends a control, or loses it while the connection is broken. Never blocks.

        Raises: LocalProtocolError: a value is out of bounds. PeerLost: the service has been gone for seconds.
        """
        self._check_open()
        if self._socket.send(encode_checked(control)) is SendResult.SENT:
            self._unsent_since_us = None
        elif self._unsent_since_us is None:
            self._unsent_since_us = now_us
        elif now_us - self._unsent_since_us >= _PATIENCE_US:
            text = f"the service has taken no message for {_PATIENCE_US / 1e6:g} s: it stopped, or the network is down"
            raise PeerLost(text)
        self._core.sent(control)

    def tell(self, message: Message) -> None:
        """Sends a message that is no control. Raises: LocalProtocolError: a value is out of bounds. PeerLost."""
        self._check_open()
        self._socket.send_or_lose(encode_checked(message))
        self._core.told(message)

    def read(self) -> None:
        """Reads everything that waits, so that old frames never queue up in front of new ones. Never blocks.

        Raises: what `ClientCore.receive` raises; it is closed then, unless the session goes on.
        """
        self._check_open()
        while (parts := self._socket.receive()) is not None:
            try:
                decoded = decode(parts)
            except RemoteProtocolError as exc:
                log.warning("client.ignored code=%s text=%s", exc.code.value, exc.text)
                continue
            try:
                replies = self._core.receive(decoded, self._clock.now_us())
            except (SessionError, RemoteProtocolError) as exc:
                if isinstance(exc, SessionError) or exc.fatal:
                    self._close()
                raise
            for reply in replies:
                if isinstance(reply, Pong | Hello):  # one that is lost is asked for again, or `send` finds out
                    self._socket.send(encode(reply))
                else:
                    self._socket.send_or_lose(encode(reply))

    def wait(self, deadline_us: int, text: str) -> None:
        """Waits until something can be read or a frame is due. Raises: ReceiveTimeout: with `text`, at the deadline."""
        left_us = deadline_us - self._clock.now_us()
        if left_us <= 0:
            raise ReceiveTimeout(text)
        due_us = self._core.playout.next_us
        self._socket.wait(left_us if due_us is None else min(left_us, max(0, due_us - self._clock.now_us())))

    def close(self) -> None:
        """Says BYE and closes. May be called twice."""
        if not self._closed:
            self._socket.send(encode(Bye(reason="closed by the game")))
            self._close(linger_ms=_BYE_MS)

    def _handshake(self, timeout_s: float) -> Welcome:
        deadline_us = self._clock.now_us() + round(timeout_s * 1e6)
        text = (
            f"no answer from {self._address} within {timeout_s:g} s: is the service (helios-bridge serve) running there"
        )
        text += ", and does it know these keys?" if self._encrypted else "? If it asks for keys, pass curve=FOLDER."
        hello = encode(self._core.hello())
        while self._socket.send(hello) is not SendResult.SENT:
            if self._clock.now_us() >= deadline_us:
                raise ConnectTimeout(text)
            self._clock.sleep_until_us(min(deadline_us, self._clock.now_us() + _RETRY_US))
        while True:
            self.read()
            if self._core.welcome is not None:
                return self._core.welcome
            left_us = deadline_us - self._clock.now_us()
            if left_us <= 0:
                raise ConnectTimeout(text)
            self._socket.wait(left_us)

    def _check_open(self) -> None:
        if self._closed:
            raise SessionClosed("this client is closed")

    def _close(self, *, linger_ms: int = 0) -> None:
        if not self._closed:
            self._closed = True
            self._socket.close(linger_ms=linger_ms)
            self._core.close_ring()
