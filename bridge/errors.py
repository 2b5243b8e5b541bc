"""Every error that the bridge raises on purpose, as one tree.

Foreign errors (zmq, msgpack, msgspec, onnxruntime) are mapped to these where they enter; nothing here does I/O.

    BridgeError
    +-- ConfigError                 a setting is wrong; the message names it
    +-- ProtocolError
    |   +-- LocalProtocolError      you misused this library
    |   +-- RemoteProtocolError     the peer broke the rules; carries an ErrorCode
    +-- TransportError
    |   +-- ConnectTimeout          nobody answered HELLO in time
    |   +-- ReceiveTimeout          connected, but no newer frame came in time
    |   +-- PeerLost                the peer cannot be reached any more
    +-- SessionError
    |   +-- SessionBusy             the server has no free session; try again later
    |   +-- SessionClosed           this session is over
    +-- EngineError
        +-- EngineUnavailable       something to install is missing; the message names the extra
        +-- EngineIncompatible      the model and this engine do not fit
        +-- StepFailed              one chunk could not be made
"""

from __future__ import annotations

import enum


class ErrorCode(enum.Enum):
    """What an ERROR message can say. The value is the text on the wire."""

    BAD_FRAMING = "bad_framing"
    UNKNOWN_TYPE = "unknown_type"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    MALFORMED = "malformed"
    INVALID_FIELD = "invalid_field"
    BAD_ROTATION = "bad_rotation"
    TEXT_TOO_LONG = "text_too_long"
    BAD_MESH = "bad_mesh"
    TOO_MANY_PARTS = "too_many_parts"
    UNKNOWN_PART = "unknown_part"
    VERSION_MISMATCH = "version_mismatch"
    UNSUPPORTED = "unsupported"
    UNEXPECTED_MESSAGE = "unexpected_message"
    BAD_SEQUENCE = "bad_sequence"
    TOO_MANY_ERRORS = "too_many_errors"
    SESSION_EXPIRED = "session_expired"
    ENGINE_FAILED = "engine_failed"
    INTERNAL = "internal"


class BridgeError(Exception):
    """The root: catch this to catch whatever the bridge raises on purpose."""


class ConfigError(BridgeError):
    """A setting is wrong."""


class ProtocolError(BridgeError):
    """One side did not keep to the protocol."""


class LocalProtocolError(ProtocolError):
    """The caller asked for something the protocol does not allow."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol.

    code: what it is told. seq: the control concerned, -1 when none is known. in_reply_to: the message type's name,
    "" when it could not be read. fatal: the session ends with it.
    """

    def __init__(
        self, code: ErrorCode, text: str, *, seq: int = -1, in_reply_to: str = "", fatal: bool = False
    ) -> None:
        super().__init__(f"{code.value}: {text}")
        self.code = code
        self.text = text
        self.seq = seq
        self.in_reply_to = in_reply_to
        self.fatal = fatal


class TransportError(BridgeError):
    """The connection did not do what was asked."""


class ConnectTimeout(TransportError):
    """Nobody answered HELLO in time."""


class ReceiveTimeout(TransportError):
    """No newer frame came in time."""


class PeerLost(TransportError):
    """The peer cannot be reached any more."""


class SessionError(BridgeError):
    """The session cannot do what was asked."""


class SessionBusy(SessionError):
    """The server has no free session. `retry_after_us` is its advice."""

    def __init__(self, text: str, *, retry_after_us: int = 0) -> None:
        super().__init__(text)
        self.retry_after_us = retry_after_us


class SessionClosed(SessionError):
    """This session is over."""


class EngineError(BridgeError):
    """The engine cannot make frames."""


class EngineUnavailable(EngineError):
    """Something that the engine needs is not installed; the message names the extra."""


class EngineIncompatible(EngineError):
    """The model's files and this engine do not fit."""


class StepFailed(EngineError):
    """One chunk could not be made."""
