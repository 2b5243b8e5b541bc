"""The states of a session on the server, and which message of a client is allowed in which: one literal table.

    AWAITING_HELLO --HELLO--> ACTIVE --silence, unreachable--> LOST --HELLO with the token--> ACTIVE
    any --BYE, fatal error, resume window over--> CLOSED

What follows from a message is session.py's.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.messages import MessageType


class SessionState(enum.Enum):
    AWAITING_HELLO = "awaiting_hello"
    ACTIVE = "active"
    LOST = "lost"
    CLOSED = "closed"


# Whatever a row does not name is UNEXPECTED_MESSAGE in that state.
TRANSITIONS: Final[Mapping[SessionState, Mapping[MessageType, SessionState]]] = {
    SessionState.AWAITING_HELLO: {
        MessageType.HELLO: SessionState.ACTIVE,
        MessageType.BYE: SessionState.CLOSED,
    },
    SessionState.ACTIVE: {
        MessageType.CONTROL: SessionState.ACTIVE,
        MessageType.SCENE: SessionState.ACTIVE,
        MessageType.RESET: SessionState.ACTIVE,
        MessageType.STATS_REQUEST: SessionState.ACTIVE,
        MessageType.SAVE: SessionState.ACTIVE,
        MessageType.PING: SessionState.ACTIVE,
        MessageType.PONG: SessionState.ACTIVE,
        MessageType.BYE: SessionState.CLOSED,
    },
    SessionState.LOST: {
        MessageType.HELLO: SessionState.ACTIVE,
        MessageType.BYE: SessionState.CLOSED,
    },
    SessionState.CLOSED: {},
}


def state_after(state: SessionState, kind: MessageType) -> SessionState:
    """The state that a client's message leads to. Raises: RemoteProtocolError: it is not allowed in `state`."""
    after = TRANSITIONS[state].get(kind)
    if after is not None:
        return after
    expected = ", ".join(allowed.name for allowed in TRANSITIONS[state]) or "nothing"
    text = f"{kind.name} while {state.value}: expected {expected}"
    raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, text)
