"""Maps connections to sessions: room for new ones, resume tokens, expiry. No I/O.

A routing id is the transport's name for one connection; a session outlives its connection for the resume window.
Every output names its peer and its session.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bridge.config import ServeConfig
from bridge.errors import RemoteProtocolError
from bridge.protocol.messages import Busy, Bye, Hello, Message
from bridge.session.capabilities import ServerCapabilities
from bridge.session.events import Closed, Lost, Output, Send
from bridge.session.session import Session
from bridge.session.states import SessionState

_RETRY_CROWDED_US = 5_000_000  # costs are known over a minute; sooner the answer would be the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One output. `peer` is where a Send goes; `session` is None only for BUSY and for refusals of unknown peers."""

    peer: bytes
    session: Session | None
    output: Output


def new_secret() -> str:
    """A session id or a resume token: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


class SessionRegistry:
    """All sessions of one server. Not thread-safe; owned by the I/O loop."""

    def __init__(
        self,
        *,
        offer: ServerCapabilities,
        config: ServeConfig,
        new_secret: Callable[[], str] = new_secret,
        refusal: Callable[[int, int], str | None] = lambda now_us, active: None,
    ) -> None:
        """refusal: why nobody can be served beside `active` sessions now, None when somebody can."""
        self._offer = offer
        self._config = config
        self._new_secret = new_secret
        self._refusal = refusal
        self._of_peer: dict[bytes, Session] = {}
        self._of_id: dict[str, Session] = {}
        self._peer_of_id: dict[str, bytes] = {}

    def __len__(self) -> int:
        """Sessions that hold room, lost ones included."""
        return len(self._of_id)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._of_id.values()))

    def peer_of(self, session: Session) -> bytes:
        """Where to send for `session`: the newest routing id it was seen under."""
        return self._peer_of_id[session.session_id]

    def receive(self, peer: bytes, message: Message, now_us: int) -> list[Outgoing]:
        """What follows from a decoded message."""
        session = self._of_peer.get(peer)
        if session is None:
            return self._first_message(peer, message, now_us)
        return self._settle(peer, session, session.receive(message, now_us))

    def refuse(self, peer: bytes, error: RemoteProtocolError, now_us: int) -> list[Outgoing]:
        """What follows from bytes that the codec refused."""
        session = self._of_peer.get(peer)
        if session is None:
            outputs = self._stranger(now_us).refuse(error, now_us)
            return [Outgoing(peer=peer, session=None, output=output) for output in outputs if isinstance(output, Send)]
        return self._settle(peer, session, session.refuse(error, now_us))

    def unreachable(self, peer: bytes, now_us: int) -> list[Outgoing]:
        """What follows from a send that found no such peer."""
        session = self._of_peer.get(peer)
        return [] if session is None else self._settle(peer, session, session.lose("unreachable", now_us))

    def tick(self, now_us: int) -> list[Outgoing]:
        """What follows from time alone."""
        addressed: list[Outgoing] = []
        for session in self:
            addressed += self.settle(session, session.tick(now_us))
        return addressed

    @property
    def next_tick_us(self) -> int | None:
        """When `tick` next has something to do; None while there is no session."""
        return min((session.next_tick_us for session in self._of_id.values()), default=None)

    def settle(self, session: Session, outputs: list[Output]) -> list[Outgoing]:
        """Addresses outputs got from `session` directly, and forgets it when they close it."""
        return self._settle(self.peer_of(session), session, outputs)

    def close(self, reason: str) -> list[Outgoing]:
        """Ends every session: BYE to each."""
        addressed: list[Outgoing] = []
        for session in self:
            addressed += self.settle(session, session.close(reason))
        return addressed

    def _first_message(self, peer: bytes, message: Message, now_us: int) -> list[Outgoing]:
        lost = self._lost_on(peer) if isinstance(message, Bye) else None
        if lost is not None:
            return self.settle(lost, lost.receive(message, now_us))
        addressed: list[Outgoing] = []
        session = self._resumable(message)
        if session is not None:
            # The old connection may not have been missed yet; its owner just proved to be elsewhere.
            addressed += self.settle(session, session.lose("resumed from another connection", now_us))
        else:
            session = self._stranger(now_us)
            if isinstance(message, Hello) and (refusal := self._refusal(now_us, self._active)) is not None:
                busy = Busy(text=refusal, retry_after_us=_RETRY_CROWDED_US)
                return [Outgoing(peer=peer, session=None, output=Send(message=busy))]
            if isinstance(message, Hello) and len(self) >= self._config.max_sessions:
                given_up = self._longest_lost()
                if given_up is None:
                    text = f"all {self._config.max_sessions} sessions of this server are taken"
                    return [Outgoing(peer=peer, session=None, output=Send(message=Busy(text=text)))]
                addressed += self.settle(given_up, given_up.close("a new client needed its room"))
        outputs = session.receive(message, now_us)
        if session.state is SessionState.ACTIVE:
            self._of_peer[peer] = session
            self._of_id[session.session_id] = session
            self._peer_of_id[session.session_id] = peer
            return addressed + [Outgoing(peer=peer, session=session, output=output) for output in outputs]
        refused = [Outgoing(peer=peer, session=None, output=output) for output in outputs if isinstance(output, Send)]
        if session.session_id in self._of_id:  # a resume that failed in its HELLO
            refused += self.settle(session, [output for output in outputs if not isinstance(output, Send)])
        return addressed + refused

    def _stranger(self, now_us: int) -> Session:
        return Session(
            offer=self._offer,
            config=self._config,
            session_id=self._new_secret(),
            resume_token=self._new_secret(),
            now_us=now_us,
        )

    def _resumable(self, message: Message) -> Session | None:
        if not isinstance(message, Hello) or not message.session_id:
            return None
        session = self._of_id.get(message.session_id)
        if session is None or not hmac.compare_digest(session.resume_token.encode(), message.resume_token.encode()):
            return None
        return session

    def _lost_on(self, peer: bytes) -> Session | None:
        """The session that this connection carried when it was lost. Its BYE may come after: a connection that is
        closed behind it takes nothing more, and answers to what came before BYE find that out first."""
        return next((one for one in self if one.state is SessionState.LOST and self.peer_of(one) == peer), None)

    @property
    def _active(self) -> int:
        return sum(session.state is SessionState.ACTIVE for session in self._of_id.values())

    def _longest_lost(self) -> Session | None:
        lost = [session for session in self._of_id.values() if session.state is SessionState.LOST]
        return min(lost, key=lambda session: session.next_tick_us, default=None)

    def _settle(self, peer: bytes, session: Session, outputs: list[Output]) -> list[Outgoing]:
        for output in outputs:
            # Its connection may carry another session by now: who was lost may say HELLO anew instead of resuming.
            if isinstance(output, Lost | Closed) and self._of_peer.get(peer) is session:
                del self._of_peer[peer]
            if isinstance(output, Closed):
                self._of_id.pop(session.session_id, None)
                self._peer_of_id.pop(session.session_id, None)
        return [Outgoing(peer=peer, session=session, output=output) for output in outputs]
