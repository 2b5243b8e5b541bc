"""Bytes to messages and back: framing, limits and types of single messages. No I/O, no state.

Hostile bytes meet limits before they meet code: part count and sizes first, then msgpack with its own maxima, then
depth and text lengths, then msgspec's types and bounds, then what types cannot say (meaning.py).
Whatever is wrong leaves here as RemoteProtocolError with a code. Which message is allowed when is session.py's matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec

from bridge.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from bridge.meaning import check_meaning
from bridge.messages import (
    MAX_FRAME_SIDE_PX,
    MAX_PARTS,
    MAX_PICTURES_BYTES,
    MAX_TEXT_BYTES,
    PROTOCOL_MAGIC,
    STRUCT_OF_TYPE,
    TYPE_OF_STRUCT,
    FrameHeader,
    Message,
    MessageType,
    PixelFormat,
)

Buffer: TypeAlias = bytes | bytearray | memoryview

MAX_DEPTH: Final = 8  # the deepest message, SCENE, needs 4
MAX_SCENE_BYTES: Final = 4 * 2**20
MAX_PIXELS_BYTES: Final = 3 * MAX_FRAME_SIDE_PX**2
_MAX_ARRAY: Final = 16 * MAX_PARTS
_MAX_CONTAINERS: Final = 16 * MAX_PARTS  # a full SCENE has 5 a part; 4 MiB of "[]" would be 270 MB of lists
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
_TYPE_OF_BYTE: Final = {byte: kind for kind, byte in _TYPE_BYTE.items()}
_PATH: Final = re.compile(r"at `\$([^`]*)`$")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+)\]")
_ENCODER: Final = msgspec.msgpack.Encoder()


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
    kind = _kind_of(parts)
    body: dict[object, object] = {}
    try:
        body = _unpack(kind, parts[2])
        _check_shape(kind, body)
        message: Message = msgspec.convert(body, STRUCT_OF_TYPE[kind], builtin_types=(bytes,))
        message = check_meaning(message)
        if isinstance(message, FrameHeader):
            _check_pixels(message, parts[3])
            return Decoded(message=message, pixels=parts[3])
    except RemoteProtocolError as exc:
        raise RemoteProtocolError(exc.code, exc.text, seq=_seq_of(kind, body), in_reply_to=kind.name) from exc
    except msgspec.ValidationError as exc:
        text = f"{kind.name}: {exc}{_got(body, str(exc))}"
        raise RemoteProtocolError(
            ErrorCode.INVALID_FIELD, text, seq=_seq_of(kind, body), in_reply_to=kind.name
        ) from exc
    return Decoded(message=message)


def _kind_of(parts: Sequence[Buffer]) -> MessageType:
    if not 3 <= len(parts) <= 4:
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, f"got {len(parts)} parts, expected 3, or 4 for FRAME")
    if bytes(parts[0][:8]) != PROTOCOL_MAGIC:
        got = bytes(parts[0][:8])
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, f"first part: got {got!r}, expected {PROTOCOL_MAGIC!r}")
    if len(parts[1]) != 1:
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, f"second part: got {len(parts[1])} bytes, expected 1")
    kind = _TYPE_OF_BYTE.get(bytes(parts[1]))
    if kind is None:
        raise RemoteProtocolError(ErrorCode.UNKNOWN_TYPE, f"message type 0x{parts[1][0]:02x} is not known")
    expected = 4 if kind is MessageType.FRAME else 3
    if len(parts) != expected:
        text = f"{kind.name}: got {len(parts)} parts, expected {expected}"
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, text, in_reply_to=kind.name)
    for part, limit in zip(parts[2:], (MAX_BODY_BYTES[kind], MAX_PIXELS_BYTES), strict=False):
        if len(part) > limit:
            text = f"{kind.name}: got {len(part)} bytes, expected at most {limit}"
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, text, in_reply_to=kind.name)
    return kind


class _ContainerCount:
    """A msgpack hook that refuses bodies made of very many small lists and maps."""

    def __init__(self) -> None:
        self._left = _MAX_CONTAINERS

    def __call__(self, container: object) -> object:
        self._left -= 1
        if self._left < 0:
            text = f"more than {_MAX_CONTAINERS} lists and maps"
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, text)
        return container


def _unpack(kind: MessageType, body: Buffer) -> dict[object, object]:
    count = _ContainerCount() if len(body) > _MAX_CONTAINERS else None  # a container takes a byte at least
    try:
        value = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            max_str_len=len(body),
            max_bin_len=len(body),
            max_array_len=_MAX_ARRAY,
            max_map_len=_MAX_ARRAY,
            max_ext_len=0,
            list_hook=count,
            object_hook=count,
        )
    except msgpack.StackError as exc:
        raise RemoteProtocolError(ErrorCode.TOO_DEEP, f"{kind.name}: lists and maps nested too deeply") from exc
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as exc:
        code = ErrorCode.TOO_LARGE if "exceeds max_" in str(exc) else ErrorCode.MALFORMED
        raise RemoteProtocolError(code, f"{kind.name}: not one msgpack value: {type(exc).__name__} {exc}") from exc
    if type(value) is not dict:
        raise RemoteProtocolError(ErrorCode.MALFORMED, f"{kind.name}: got {type(value).__name__}, expected a map")
    return cast("dict[object, object]", value)


def _check_shape(kind: MessageType, body: dict[object, object]) -> None:
    """Depth, lengths of texts and lists: what has its own code rather than `invalid_field`."""
    if kind is MessageType.SCENE:
        for name in ("add", "move", "remove"):
            listed = body.get(name)
            if isinstance(listed, list) and len(listed) > MAX_PARTS:
                text = f"SCENE: {name} has {len(listed)} entries, expected at most {MAX_PARTS}"
                raise RemoteProtocolError(ErrorCode.TOO_MANY_PARTS, text)
    level: list[Iterable[Any]] = [body.keys(), body.values()]
    depth = 1
    while level:
        if depth > MAX_DEPTH:
            text = f"{kind.name}: lists and maps nested more than {MAX_DEPTH} deep"
            raise RemoteProtocolError(ErrorCode.TOO_DEEP, text)
        deeper: list[Iterable[Any]] = []
        for values in level:
            for value in values:
                of = type(value)
                if of is str:
                    if len(value) * 4 > MAX_TEXT_BYTES:
                        _check_text(kind, value)
                elif of is list:
                    deeper.append(value)
                elif of is dict:
                    deeper += (value.keys(), value.values())
        level = deeper
        depth += 1


def _check_text(kind: MessageType, value: str) -> None:
    got = len(value.encode())
    if got > MAX_TEXT_BYTES:
        text = f"{kind.name}: a text of {got} bytes, expected at most {MAX_TEXT_BYTES}"
        raise RemoteProtocolError(ErrorCode.TEXT_TOO_LONG, text)


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
            text = f"FRAME: {len(pixels)} bytes of {header.pixel_format.value}, expected none: it names a ring slot"
            raise RemoteProtocolError(ErrorCode.BAD_FRAMING, text)
    elif header.pixel_format is PixelFormat.RGB8:
        expected = 3 * header.width * header.height
        if len(pixels) != expected:
            text = f"FRAME: {len(pixels)} bytes of pixels, expected {expected} for {header.width} x {header.height}"
            raise RemoteProtocolError(ErrorCode.BAD_FRAMING, text)
    elif bytes(pixels[:2]) != b"\xff\xd8":
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, "FRAME: the pixels are not a JPEG")
