"""What a server and a game say to a ClientCore, without a socket."""

from __future__ import annotations

from typing import Any

from bridge.client.jitter_buffer import JitterBufferConfig
from bridge.client.protocol_core import ClientCore
from bridge.client.types import Camera
from bridge.protocol.codec import Decoded
from bridge.protocol.messages import Message
from tests.valid_messages import HELLO, WELCOME, frame_header

CAMERA = Camera(position=(1.0, 2.0, 3.0))


def take(core: ClientCore, message: Message, now_us: int = 0, pixels: bytes | None = None) -> list[Message]:
    return core.receive(Decoded(message=message, pixels=pixels), now_us)


def answer(core: ClientCore, seq: int, now_us: int, **changed: Any) -> None:
    take(core, frame_header(seq, **changed), now_us, bytes([seq % 256, 1, 2, 3, 4, 5]))


def send(core: ClientCore, now_us: int) -> int:
    control = core.control(CAMERA, "", (), now_us, teleport=False)
    core.sent(control)
    return control.seq


def opened(playout: JitterBufferConfig | None = None) -> ClientCore:
    core = ClientCore(HELLO, playout=playout)
    take(core, WELCOME)
    return core
