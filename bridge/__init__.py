"""helios-bridge: a game engine's neural renderer over ZeroMQ.

This package's top level is the client SDK and imports nothing heavier than numpy, pyzmq, msgpack and msgspec. The
service (server.py, worker.py, engines/) is reached by name: `helios-bridge serve`.
"""

from bridge.client.client import Client
from bridge.client.types import Answer, Camera, Counts, Frame
from bridge.errors import (
    BridgeError,
    ConfigError,
    ConnectTimeout,
    EngineError,
    ErrorCode,
    LocalProtocolError,
    PeerLost,
    ProtocolError,
    ReceiveTimeout,
    RemoteProtocolError,
    SessionBusy,
    SessionClosed,
    SessionError,
    TransportError,
)
from bridge.protocol.messages import Axes, Control, Event, FrameHeader, Part, PartMove, Shape, Source, Stats, Welcome

__all__ = [
    "Answer",
    "Axes",
    "BridgeError",
    "Camera",
    "Client",
    "ConfigError",
    "ConnectTimeout",
    "Control",
    "Counts",
    "EngineError",
    "ErrorCode",
    "Event",
    "Frame",
    "FrameHeader",
    "LocalProtocolError",
    "Part",
    "PartMove",
    "PeerLost",
    "ProtocolError",
    "ReceiveTimeout",
    "RemoteProtocolError",
    "SessionBusy",
    "SessionClosed",
    "SessionError",
    "Shape",
    "Source",
    "Stats",
    "TransportError",
    "Welcome",
]
