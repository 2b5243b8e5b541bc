"""Every message of a client in every state of its session."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.config import ServeConfig
from bridge.errors import ErrorCode
from bridge.messages import (
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
from bridge.outputs import Send
from bridge.session import Session
from bridge.session_states import TRANSITIONS, SessionState
from tests.sound_messages import HELLO, OFFER, WELCOME, frame_header

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


def test_the_table_names_all_states() -> None:
    assert set(TRANSITIONS) == set(SessionState)
