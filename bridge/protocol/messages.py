"""All messages of the protocol: their numbers, limits and directions, and the ones that both sides send.

client_messages.py and server_messages.py hold the others, fields.py the bounds. Messages are typed, immutable
values; a field with a default may be left out on the wire, unknown fields are ignored (codec.py removes them for the
types that forbid them, which are those of every tick). unity_plugin_protocol.md is the prose.
"""

from __future__ import annotations

import enum
from typing import Final, TypeAlias

from msgspec import Struct

from bridge.protocol.client_messages import (
    Control,
    Event,
    Hello,
    Part,
    PartMove,
    Reset,
    Save,
    SceneUpdate,
    StatsRequest,
)
from bridge.protocol.fields import Axes, Microseconds, PixelFormat, Shape, Source, Text
from bridge.protocol.server_messages import Busy, ErrorMessage, FrameHeader, Saved, Stats, Welcome

__all__ = [
    "PROTOCOL_MAGIC",
    "STRUCT_OF_TYPE",
    "TYPE_OF_STRUCT",
    "VERSION_MAJOR",
    "VERSION_MINOR",
    "Axes",
    "Busy",
    "Bye",
    "Control",
    "ErrorMessage",
    "Event",
    "FrameHeader",
    "Hello",
    "Message",
    "MessageType",
    "Part",
    "PartMove",
    "Ping",
    "PixelFormat",
    "Pong",
    "Reset",
    "Save",
    "Saved",
    "SceneUpdate",
    "Shape",
    "Source",
    "Stats",
    "StatsRequest",
    "Welcome",
]

PROTOCOL_MAGIC: Final = b"HLB1"
VERSION_MAJOR: Final = 1
VERSION_MINOR: Final = 1


class MessageType(enum.IntEnum):
    """The one-byte second part of every message."""

    HELLO = 0x01
    WELCOME = 0x02
    CONTROL = 0x03
    FRAME = 0x04
    SCENE = 0x05
    RESET = 0x06
    STATS_REQUEST = 0x07
    STATS = 0x08
    ERROR = 0x09
    BUSY = 0x0A
    BYE = 0x0B
    PING = 0x0C
    PONG = 0x0D
    SAVE = 0x0E
    SAVED = 0x0F


class Bye(Struct, frozen=True, kw_only=True):
    """Either side: the session is over."""

    reason: Text = ""


class Ping(Struct, frozen=True, kw_only=True):
    """Either side: are you there? t_us is the sender's clock."""

    t_us: Microseconds


class Pong(Struct, frozen=True, kw_only=True):
    """Either side: answers PING with its t_us."""

    t_us: Microseconds


Message: TypeAlias = (
    Hello
    | Welcome
    | Control
    | FrameHeader
    | SceneUpdate
    | Reset
    | StatsRequest
    | Stats
    | ErrorMessage
    | Busy
    | Bye
    | Ping
    | Pong
    | Save
    | Saved
)

STRUCT_OF_TYPE: Final[dict[MessageType, type[Message]]] = {
    MessageType.HELLO: Hello,
    MessageType.WELCOME: Welcome,
    MessageType.CONTROL: Control,
    MessageType.FRAME: FrameHeader,
    MessageType.SCENE: SceneUpdate,
    MessageType.RESET: Reset,
    MessageType.STATS_REQUEST: StatsRequest,
    MessageType.STATS: Stats,
    MessageType.ERROR: ErrorMessage,
    MessageType.BUSY: Busy,
    MessageType.BYE: Bye,
    MessageType.PING: Ping,
    MessageType.PONG: Pong,
    MessageType.SAVE: Save,
    MessageType.SAVED: Saved,
}
TYPE_OF_STRUCT: Final[dict[type[Message], MessageType]] = {struct: kind for kind, struct in STRUCT_OF_TYPE.items()}
