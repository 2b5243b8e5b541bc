"""Bytes to messages and back: framing, limits and types of single messages. No I/O, no state.

Untrusted bytes meet limits first: part count and sizes, then msgpack with its own maxima, then depth and text
lengths, then msgspec's types and bounds, then validation.py. Whatever is wrong is raised as RemoteProtocolError with
a code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from bridge.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from bridge.protocol.fields import MAX_FRAME_SIDE_PX, MAX_PICTURES_BYTES, MAX_TEXT_BYTES
from bridge.protocol.messages import (
    PROTOCOL_MAGIC,
    STRUCT_OF_TYPE,
    TYPE_OF_STRUCT,
    Control,
    Event,
    FrameHeader,
    Message,
    MessageType,
    PixelFormat,
)
from bridge.protocol.msgpack_limits import check_shape, unpack
from bridge.protocol.validation import validate

Buffer: TypeAlias = bytes | bytearray | memoryview

MAX_SCENE_BYTES: Final = 4 * 2**20
MAX_PIXELS_BYTES: Final = 3 * MAX_FRAME_SIDE_PX**2
_KIB: Final = 1024

MAX_BODY_BYTES: Final[dict[MessageType, int]] = {
    MessageType.HELLO: 4 * _KIB,
    MessageType.WELCOME: 16 * _KIB,
    MessageType.CONTROL: 64 * _KIB,
    MessageType.FRAME: 16 * _KIB,
    MessageType.SCENE: MAX_SCENE_BYTES,
    MessageType.RESET: MAX_PICTURES_BYTES + 8 * _KIB,
    MessageType.STATS_REQUEST: _KIB,
    MessageType.STATS: 16 * _KIB,
    MessageType.ERROR: 8 * _KIB,
    MessageType.BUSY: 8 * _KIB,
    MessageType.BYE: 8 * _KIB,
    MessageType.PING: _KIB,
    MessageType.PONG: _KIB,
    MessageType.SAVE: _KIB,
    MessageType.SAVED: _KIB,
}
_TYPE_BYTE: Final = {kind: bytes([kind]) for kind in MessageType}
_PATH: Final = re.compile(r"at `\$([^`]*)`$")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_ENCODER: Final = msgspec.msgpack.Encoder()
_EACH_TICK: Final = (MessageType.CONTROL, MessageType.FRAME)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """One message. `pixels` is the last part of a FRAME, not copied; None for every other message."""

    message: Message
    pixels: Buffer | None = None


def encode(message: Message, pixels: Buffer | None = None) -> list[Buffer]:
    """The parts to send. Trusts its caller about bounds; `encode_checked` does not.

    Raises: LocalProtocolError: a value cannot be written, or `pixels` is missing on a FRAME or present elsewhere.
    """
    kind = TYPE_OF_STRUCT[type(message)]
    if (kind is MessageType.FRAME) is (pixels is None):
        raise LocalProtocolError(f"{kind.name}: pixels belong to FRAME and to nothing else")
    try:
        body = _ENCODER.encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as exc:
        raise LocalProtocolError(f"{kind.name} cannot be written: {exc}") from exc
    parts: list[Buffer] = [PROTOCOL_MAGIC, _TYPE_BYTE[kind], body]
    if pixels is not None:
        parts.append(pixels)
    return parts


def encode_checked(message: Message) -> list[Buffer]:
    """`encode`, refusing what the peer would refuse.

    Raises: LocalProtocolError: names the field, what it holds and what is allowed.
    """
    parts = encode(message)
    try:
        decode(parts)
    except RemoteProtocolError as exc:
        raise LocalProtocolError(f"{TYPE_OF_STRUCT[type(message)].name} not sent: {exc.text}") from exc
    return parts


def decode(parts: Sequence[Buffer]) -> Decoded:
    """The message in `parts` (without a routing id). Quaternions come back with length 1.

    Raises: RemoteProtocolError, and nothing else whatever the bytes are.
    """
    layout = _layout_of(parts)
    message = _decode_exact(layout, parts[2])
    if message is None:
        message = _decode_any(layout.kind, parts[2])
    if isinstance(message, FrameHeader):
        _check_pixels(message, parts[3])
        return Decoded(message=message, pixels=parts[3])
    return Decoded(message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layout:
    """What a type byte says of its message. exact: of those that come each tick."""

    kind: MessageType
    parts: int
    most_body_bytes: int
    exact: msgspec.msgpack.Decoder[Message] | None


_LAYOUTS: Final = {
    bytes([kind]): _Layout(
        kind=kind,
        parts=4 if kind is MessageType.FRAME else 3,
        most_body_bytes=MAX_BODY_BYTES[kind],
        exact=msgspec.msgpack.Decoder(STRUCT_OF_TYPE[kind]) if kind in _EACH_TICK else None,
    )
    for kind in MessageType
}


def _layout_of(parts: Sequence[Buffer]) -> _Layout:
    if not 3 <= len(parts) <= 4:
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, f"got {len(parts)} parts, expected 3, or 4 for FRAME")
    if parts[0] != PROTOCOL_MAGIC:
        got = bytes(parts[0][:8])
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, f"first part: got {got!r}, expected {PROTOCOL_MAGIC!r}")
    if len(parts[1]) != 1:
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, f"second part: got {len(parts[1])} bytes, expected 1")
    layout = _LAYOUTS.get(bytes(parts[1]))
    if layout is None:
        raise RemoteProtocolError(ErrorCode.UNKNOWN_TYPE, f"message type 0x{parts[1][0]:02x} is not known")
    if len(parts) != layout.parts:
        name, text = layout.kind.name, f"got {len(parts)} parts, expected {layout.parts}"
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, f"{name}: {text}", in_reply_to=name)
    for part, limit in zip(parts[2:], (layout.most_body_bytes, MAX_PIXELS_BYTES), strict=False):
        if len(part) > limit:
            name, text = layout.kind.name, f"got {len(part)} bytes, expected at most {limit}"
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, f"{name}: {text}", in_reply_to=name)
    return layout


def _decode_exact(layout: _Layout, body: Buffer) -> Message | None:
    """A sound message of known fields alone; None for every other, which the long way looks at and words a refusal for.

    It takes a sixth of the time, and nothing that the long way refuses: its types leave no room for depth, extensions
    or long lists, they forbid unknown fields, and of texts it takes those that cannot be too long.
    """
    if layout.exact is None:
        return None
    try:
        message = validate(layout.exact.decode(body))
    except (msgspec.MsgspecError, ValueError, RemoteProtocolError):  # ValueError: not UTF-8
        return None
    if not isinstance(message, (Control, FrameHeader)) or 4 * len(message.action) > MAX_TEXT_BYTES:
        return None
    if isinstance(message, Control) and any(4 * len(event.value) > MAX_TEXT_BYTES for event in message.events):
        return None
    return message


def _decode_any(kind: MessageType, data: Buffer) -> Message:
    """Raises: RemoteProtocolError, with the refused control's seq where it can be read."""
    body: dict[object, object] = {}
    try:
        body = unpack(kind, data)
        check_shape(kind, body)
        message: Message = msgspec.convert(_known(kind, body), STRUCT_OF_TYPE[kind], builtin_types=(bytes,))
        return validate(message)
    except RemoteProtocolError as exc:
        raise RemoteProtocolError(exc.code, exc.text, seq=_seq_of(kind, body), in_reply_to=kind.name) from exc
    except msgspec.ValidationError as exc:
        text = f"{kind.name}: {exc}{_got(body, str(exc))}"
        raise RemoteProtocolError(
            ErrorCode.INVALID_FIELD, text, seq=_seq_of(kind, body), in_reply_to=kind.name
        ) from exc


def _known(kind: MessageType, body: dict[object, object]) -> dict[object, object]:
    """The body without unknown fields: the types that `_decode_exact` decodes forbid them."""
    if kind not in _EACH_TICK:
        return body
    known = _fields(STRUCT_OF_TYPE[kind], body)
    events = known.get("events")
    if isinstance(events, list):
        known["events"] = [_fields(Event, event) if isinstance(event, dict) else event for event in events]
    return known


def _fields(of: type[msgspec.Struct], body: dict[object, object]) -> dict[object, object]:
    return {name: body[name] for name in of.__struct_fields__ if name in body}


def _got(body: object, complaint: str) -> str:
    """What stands at the path that msgspec's complaint ends with (`$.position[0]`), for the message's reader."""
    path = _PATH.search(complaint)
    for key, index in _STEP.findall(path[1] if path else ""):
        if isinstance(body, dict):
            body = body.get(key)
        elif isinstance(body, list) and index and int(index) < len(body):
            body = body[int(index)]
        else:
            return ""
    return f", got {str(body)[:40]}" if isinstance(body, int | float | str) else ""


def _seq_of(kind: MessageType, body: dict[object, object]) -> int:
    seq = body.get("seq") if kind is MessageType.CONTROL else None
    return seq if type(seq) is int and 0 <= seq < 2**53 else -1


def _check_pixels(header: FrameHeader, pixels: Buffer) -> None:
    if header.ring_slot >= 0:
        if len(pixels) or header.pixel_format is not PixelFormat.RGB8:
            got = f"{len(pixels)} bytes of {header.pixel_format.value}, expected none: it names a ring slot"
            raise _bad_pixels(got)
    elif header.pixel_format is PixelFormat.RGB8:
        expected = 3 * header.width * header.height
        if len(pixels) != expected:
            size = f"{header.width} x {header.height}"
            raise _bad_pixels(f"{len(pixels)} bytes of pixels, expected {expected} for {size}")
    elif bytes(pixels[:2]) != b"\xff\xd8":
        raise _bad_pixels("the pixels are not a JPEG")


def _bad_pixels(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(ErrorCode.BAD_FRAMING, f"FRAME: {text}", in_reply_to="FRAME")
