"""The states of a session on the server, and which message is allowed in which: one table.

    AWAITING_HELLO --HELLO--> ACTIVE --silence, unreachable--> LOST --HELLO with the token--> ACTIVE
    any --BYE, fatal error, resume window over--> CLOSED

**Theory of operation.** A connection is not a session. ZeroMQ gives each connection a routing id, and a client that
reconnects gets a new one. A session is what WELCOME opened: its id, its counts, its level, its engine session. It
outlives its connection for the resume window (`ServeConfig.resume_window_us`).

A session becomes LOST when nothing was heard for `missed_heartbeats` heartbeats, when a send finds nobody, or when its
owner appears on another connection. While it is LOST no chunk is started and no message is sent for it; what waited
for credit is dropped, and its level and engine session are kept.

**Resumption.** A client that lost its connection says HELLO with the `session_id` and `resume_token` of its WELCOME.
The registry compares the token in constant time, first declares the session lost on its old connection if that was not
noticed yet, and lets the session go through the table's LOST row. WELCOME then says `resumed` and `last_seq`, the
newest control that arrived; `seq` goes on from there, and the client repeats the SCENEs and RESETs that came after it.
Axes, units and pixel format are those of the new HELLO. A wrong token opens a new session and disturbs nobody. When
the window is over, or another client needs the room, the session is CLOSED and everything of it is released.

This module only says what is allowed. What follows from a message is in session.py, who is connected where in
registry.py.
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
