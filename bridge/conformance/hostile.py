"""Broken messages, for both sides of the kit: what hostile or faulty peers send. Bytes only, nothing is sent here."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import msgpack  # type: ignore[import-untyped]  # it ships no types

from bridge.protocol.codec import Buffer, encode
from bridge.protocol.messages import PROTOCOL_MAGIC, FrameHeader, MessageType

_FRAME = bytes([MessageType.FRAME])
_PING = bytes([MessageType.PING])
_ERROR = bytes([MessageType.ERROR])
Parts = list[Buffer]


def bodies() -> Iterator[tuple[str, bytes]]:
    """Bodies that are no message of any type."""
    yield "an empty body", b""
    yield "a body that is no map", b"\x93\x01\x02\x03"
    yield "two bodies in one", b"\x80\x80"
    yield "a map cut short", b"\x82\xa3seq"
    yield "a key that is no text", b"\x81\x01\x02"
    yield "a byte that msgpack never uses", b"\xc1"
    yield "text that is not UTF-8", b"\x81\xa1x\xa2\xc3\x28"
    yield "an extension type", b"\x81\xa1x\xd4\x01\x00"
    yield "a claim of 2^32-1 list entries", b"\x81\xa1x\xdd\xff\xff\xff\xff"
    yield "a claim of 2^32-1 map entries", b"\xdf\xff\xff\xff\xff"
    yield "a claim of 2^32-1 bytes", b"\x81\xa1x\xc6\xff\xff\xff\xff"
    yield "a claim of 2^32-1 characters", b"\x81\xa1x\xdb\xff\xff\xff\xff"
    yield "lists 1000 deep", b"\x81\xa1x" + b"\x91" * 1000 + b"\xc0"


def framings() -> Iterator[tuple[str, Parts]]:
    """Messages whose parts are wrong."""
    body = msgpack.packb({"t_us": 1})
    yield "one empty part", [b""]
    yield "the magic alone", [PROTOCOL_MAGIC]
    yield "no body", [PROTOCOL_MAGIC, _PING]
    yield "another magic", [b"HTTP", _PING, body]
    yield "a long magic", [PROTOCOL_MAGIC * 1000, _PING, body]
    yield "no type", [PROTOCOL_MAGIC, b"", body]
    yield "a type of two bytes", [PROTOCOL_MAGIC, _PING * 2, body]
    yield "an unknown type", [PROTOCOL_MAGIC, b"\x7f", body]
    yield "type 0", [PROTOCOL_MAGIC, b"\x00", body]
    yield "a part too many", [PROTOCOL_MAGIC, _PING, body, b"?"]
    yield "forty parts", [PROTOCOL_MAGIC, _PING, body, *[b""] * 37]


def replies(header: FrameHeader, width: int, height: int) -> Iterator[tuple[str, Parts]]:
    """What a client must ignore. header: of a sound FRAME that was not sent; the broken ones claim to be that."""
    yield from framings()
    for name, body in bodies():
        yield f"FRAME: {name}", [PROTOCOL_MAGIC, _FRAME, body, bytes(3 * width * height)]
        yield f"ERROR: {name}", [PROTOCOL_MAGIC, _ERROR, body]
    whole = bytes(width * height * 3)
    sound: dict[str, Any] = msgpack.unpackb(bytes(encode(header, whole)[2]))
    packed = msgpack.packb(sound)
    for length in (1, len(packed) // 2, len(packed) - 1):
        yield f"FRAME: {length} of {len(packed)} bytes", [PROTOCOL_MAGIC, _FRAME, packed[:length], whole]
    yield "FRAME: no pixels part", [PROTOCOL_MAGIC, _FRAME, packed]
    yield "FRAME: an empty pixels part", [PROTOCOL_MAGIC, _FRAME, packed, b""]
    in_ring = msgpack.packb({**sound, "ring_slot": 3, "ring_sequence": 2})
    yield "FRAME: in a ring that was never offered", [PROTOCOL_MAGIC, _FRAME, in_ring, b""]
    yield "FRAME: a pixel short", [PROTOCOL_MAGIC, _FRAME, packed, whole[:-3]]
    yield "FRAME: a pixel long", [PROTOCOL_MAGIC, _FRAME, packed, whole + b"abc"]
    for name, changes in _wrong_fields(sound):
        yield f"FRAME: {name}", [PROTOCOL_MAGIC, _FRAME, msgpack.packb({**sound, **changes}), whole]
    for missing in ("seq", "width", "height", "pixel_format"):
        rest = {key: value for key, value in sound.items() if key != missing}
        yield f"FRAME: without {missing}", [PROTOCOL_MAGIC, _FRAME, msgpack.packb(rest), whole]
    yield "ERROR: without code and text", [PROTOCOL_MAGIC, _ERROR, b"\x80"]
    yield "PING: without t_us", [PROTOCOL_MAGIC, _PING, b"\x80"]
    yield "PING: t_us is text", [PROTOCOL_MAGIC, _PING, msgpack.packb({"t_us": "soon"})]


def _wrong_fields(sound: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "seq is text", {"seq": "7"}
    yield "seq is negative", {"seq": -1}
    yield "seq is 2^64-1", {"seq": 2**64 - 1}
    yield "width is 0", {"width": 0}
    yield "width is negative", {"width": -sound["width"]}
    yield "4096 x 4096 claimed", {"width": 4096, "height": 4096}
    yield "width times height overflows 32 bits", {"width": 2**31, "height": 2**31}
    yield "width is a list", {"width": [sound["width"]]}
    yield "an unknown pixel format", {"pixel_format": "bgra16"}
    yield "jpeg that is none", {"pixel_format": "jpeg"}
    unsent = sound["seq"] + 1_000_000  # a client that knows of no rings reads this one as sound, but for its seq
    yield "pixels in the message and in a ring", {"ring_slot": 0, "ring_sequence": 2, "seq": unsent}


def controls(sound: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Fields of a CONTROL that a server must refuse, and the code to give. sound: the fields of a good one."""
    nan, infinity = struct.unpack("<dd", bytes.fromhex("000000000000f87f000000000000f07f"))
    yield "seq is text", {**sound, "seq": "7"}, "invalid_field"
    yield "seq is a float", {**sound, "seq": 1.0}, "invalid_field"
    yield "seq is a bool", {**sound, "seq": True}, "invalid_field"
    yield "seq is 2^53", {**sound, "seq": 2**53}, "invalid_field"
    yield "position is not a number", {**sound, "position": [nan, 0.0, 0.0]}, "invalid_field"
    yield "position is infinite", {**sound, "position": [0.0, infinity, 0.0]}, "invalid_field"
    yield "position has two components", {**sound, "position": [0.0, 0.0]}, "invalid_field"
    yield "a quaternion of length 2", {**sound, "rotation": [0.0, 0.0, 0.0, 2.0]}, "bad_rotation"
    yield "a quaternion of length 0", {**sound, "rotation": [0.0, 0.0, 0.0, 0.0]}, "bad_rotation"
    yield "a field of view of 180 degrees", {**sound, "vertical_fov_deg": 180.0}, "invalid_field"
    yield "an action of 2049 bytes", {**sound, "action": "a" * 2049}, "text_too_long"
    yield "17 events", {**sound, "events": [{"kind": "x"}] * 17}, "invalid_field"
    yield "no t_us", {key: value for key, value in sound.items() if key != "t_us"}, "invalid_field"
