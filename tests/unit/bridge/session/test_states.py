"""Every message of a client in every state of its session."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from bridge.config import ServeConfig
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.messages import (
    STRUCT_OF_TYPE,
    Bye,
    Control,
    ErrorMessage,
    Message,
    MessageType,
    Ping,
    Pong,
    Reset,
    Save,
    Saved,
    SceneUpdate,
    StatsRequest,
)
from bridge.session.events import Output, Send
from bridge.session.session import MAX_STRIKES, Session
from bridge.session.states import TRANSITIONS, SessionState
from tests.protocol_text import rows, section
from tests.valid_messages import HELLO, OFFER, WELCOME, frame_header

MESSAGES: dict[MessageType, Message] = {
    MessageType.HELLO: HELLO,
    MessageType.WELCOME: WELCOME,
    MessageType.CONTROL: Control(
        seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0
    ),
    MessageType.FRAME: frame_header(0),
    MessageType.SCENE: SceneUpdate(prompt="x"),
    MessageType.RESET: Reset(),
    MessageType.STATS_REQUEST: StatsRequest(),
    MessageType.STATS: STRUCT_OF_TYPE[MessageType.STATS](),
    MessageType.ERROR: ErrorMessage(code=ErrorCode.INTERNAL, text=""),
    MessageType.BUSY: STRUCT_OF_TYPE[MessageType.BUSY](text=""),
    MessageType.BYE: Bye(),
    MessageType.PING: Ping(t_us=4),
    MessageType.PONG: Pong(t_us=4),
    MessageType.SAVE: Save(name="slot"),
    MessageType.SAVED: Saved(name="slot", size_bytes=1),
}


def in_state(state: SessionState) -> Session:
    offer = dataclasses.replace(OFFER, capabilities=("save",))
    session = Session(offer=offer, config=ServeConfig(), session_id="id", resume_token="secret", now_us=0)
    if state is not SessionState.AWAITING_HELLO:
        session.receive(HELLO, 0)
    if state is SessionState.LOST:
        session.lose("test", 0)
    if state is SessionState.CLOSED:
        session.close("test")
    assert session.state is state
    return session


# This is the document's state table, written out; TRANSITIONS must agree with it.
ALLOWED = {
    SessionState.AWAITING_HELLO: {"HELLO": "active", "BYE": "closed"},
    SessionState.ACTIVE: {
        "CONTROL": "active",
        "SCENE": "active",
        "RESET": "active",
        "STATS_REQUEST": "active",
        "SAVE": "active",
        "PING": "active",
        "PONG": "active",
        "BYE": "closed",
    },
    SessionState.LOST: {"HELLO": "active", "BYE": "closed"},
    SessionState.CLOSED: {},
}


@pytest.mark.parametrize("state", SessionState)
@pytest.mark.parametrize("kind", MessageType)
def test_every_message_in_every_state(state: SessionState, kind: MessageType) -> None:
    session = in_state(state)
    outputs = session.receive(MESSAGES[kind], 1)
    if kind.name in ALLOWED[state]:
        assert session.state.value == ALLOWED[state][kind.name]
        assert not any(isinstance(o, Send) and isinstance(o.message, ErrorMessage) for o in outputs)
    elif state is SessionState.CLOSED:
        assert outputs == []
    else:
        (error,) = [o.message for o in outputs if isinstance(o, Send)]
        assert isinstance(error, ErrorMessage)
        assert error.code is ErrorCode.UNEXPECTED_MESSAGE
        assert error.in_reply_to == kind.name
        assert error.fatal is (state is not SessionState.ACTIVE)
        assert session.state is (SessionState.ACTIVE if state is SessionState.ACTIVE else SessionState.CLOSED)


@pytest.mark.parametrize("code", ErrorCode)
def test_a_refusal_is_fatal_where_the_document_says_so(code: ErrorCode) -> None:
    column = {row[0]: row[2] for row in rows(section("Errors"))}[code.value]
    made: dict[ErrorCode, list[Output]] = {
        ErrorCode.VERSION_MISMATCH: in_state(SessionState.AWAITING_HELLO).receive(_hello(version_major=9), 1),
        ErrorCode.UNSUPPORTED: in_state(SessionState.AWAITING_HELLO).receive(_hello(pixel_formats=("x",)), 1),
        ErrorCode.UNEXPECTED_MESSAGE: in_state(SessionState.AWAITING_HELLO).receive(SceneUpdate(), 1),
        ErrorCode.TOO_MANY_ERRORS: _struck(),
        ErrorCode.SESSION_EXPIRED: in_state(SessionState.ACTIVE).tick(10_000_000),
        ErrorCode.ENGINE_FAILED: in_state(SessionState.ACTIVE).report(ErrorCode.ENGINE_FAILED, "x"),
    }
    if code is ErrorCode.INTERNAL:
        assert column == "yes"  # server.py says so where it catches what no one foresaw
        return
    refused = RemoteProtocolError(code, "x", in_reply_to="SCENE")
    outputs = made.get(code) or in_state(SessionState.ACTIVE).refuse(refused, 1)
    assert _told(outputs) == (code, column != "no")
    if column == "without a session":
        assert _told(in_state(SessionState.ACTIVE).receive(HELLO, 1)) == (code, False)
    if column == "in reply to HELLO":
        resumed = in_state(SessionState.ACTIVE).receive(Reset(pictures=(b"x",)), 1)
        assert _told(resumed) == (code, False)


@pytest.mark.parametrize("code", ErrorCode)
def test_what_is_broken_without_a_session_says_that_hello_is_due(code: ErrorCode) -> None:
    told = {
        name: _told(in_state(SessionState.AWAITING_HELLO).refuse(_broken(code, name), 1)) for name in ("SCENE", "HELLO")
    }
    own = code in (ErrorCode.BAD_FRAMING, ErrorCode.UNKNOWN_TYPE)
    assert told == {"SCENE": (code if own else ErrorCode.UNEXPECTED_MESSAGE, True), "HELLO": (code, True)}


def _broken(code: ErrorCode, name: str) -> RemoteProtocolError:
    return RemoteProtocolError(code, "x", in_reply_to=name)


def _hello(**changed: object) -> Message:
    return msgspec.structs.replace(HELLO, **changed)


def _struck() -> list[Output]:
    session = in_state(SessionState.ACTIVE)
    return [session.refuse(_broken(ErrorCode.MALFORMED, "SCENE"), 1) for _ in range(MAX_STRIKES + 1)][-1]


def _told(outputs: list[Output]) -> tuple[ErrorCode, bool]:
    (error,) = [each.message for each in outputs if isinstance(each, Send)]
    assert isinstance(error, ErrorMessage)
    return error.code, error.fatal


def test_the_table_names_all_states() -> None:
    assert set(TRANSITIONS) == set(SessionState)
