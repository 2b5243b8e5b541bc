"""Bytes to messages and back: what is refused with which code, and that nothing else ever comes of bytes."""

from __future__ import annotations

import contextlib
import math
import random
import re
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from bridge.protocol import codec
from bridge.protocol.codec import MAX_BODY_BYTES, MAX_SCENE_BYTES, decode, encode, encode_checked
from bridge.protocol.fields import MAX_PARTS, MAX_TEXT_BYTES
from bridge.protocol.messages import (
    Bye,
    Control,
    MessageType,
    Part,
    Ping,
    PixelFormat,
    SceneUpdate,
    Shape,
)
from tests.packed_messages import CONTROL, MESH, control, parts_of, refusal, scene
from tests.valid_messages import frame_header


def test_frame_carries_its_pixels_as_the_last_part() -> None:
    parts = encode(frame_header(1), b"abcdef")
    assert [bytes(part) for part in parts[:2]] == [b"HLB1", b"\x04"]
    decoded = decode(parts)
    assert decoded.message == frame_header(1)
    assert decoded.pixels == b"abcdef"


@pytest.mark.parametrize("parts", [(frame_header(1), None), (Ping(t_us=1), b"")])
def test_pixels_belong_to_frames_only(parts: tuple[Any, Any]) -> None:
    with pytest.raises(LocalProtocolError, match="pixels belong to FRAME"):
        encode(*parts)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ([], ErrorCode.BAD_FRAMING),
        ([b"HLB1"], ErrorCode.BAD_FRAMING),
        ([b"HLB2", b"\x0c", b"\x80"], ErrorCode.BAD_FRAMING),
        ([b"HLB1" * 1000, b"\x0c", b"\x80"], ErrorCode.BAD_FRAMING),
        ([b"HLB1", b"", b"\x80"], ErrorCode.BAD_FRAMING),
        ([b"HLB1", b"\x0c\x0c", b"\x80"], ErrorCode.BAD_FRAMING),
        ([b"HLB1", b"\x0c", b"\x80", b""], ErrorCode.BAD_FRAMING),
        ([b"HLB1", b"\x04", b"\x80"], ErrorCode.BAD_FRAMING),
        ([b"HLB1", b"\x0c", b"\x80", b"", b""], ErrorCode.BAD_FRAMING),
        ([b"HLB1", b"\x00", b"\x80"], ErrorCode.UNKNOWN_TYPE),
        ([b"HLB1", b"\xff", b"\x80"], ErrorCode.UNKNOWN_TYPE),
        ([b"HLB1", b"\x0c", b""], ErrorCode.MALFORMED),
        ([b"HLB1", b"\x0c", b"\x90"], ErrorCode.MALFORMED),
        ([b"HLB1", b"\x0c", b"\xc1"], ErrorCode.MALFORMED),
        ([b"HLB1", b"\x0c", b"\x80\x80"], ErrorCode.MALFORMED),
        ([b"HLB1", b"\x0c", b"\x81\x01\x01"], ErrorCode.MALFORMED),
        ([b"HLB1", b"\x0c", b"\x81\xa1\xff\x01"], ErrorCode.MALFORMED),
        ([b"HLB1", b"\x0c", b"\x81\xa1x\xdd\xff\xff\xff\xff"], ErrorCode.TOO_LARGE),
        ([b"HLB1", b"\x0c", b"\x81\xa1x\xd6\xff\x00\x00\x00\x00"], ErrorCode.MALFORMED),
        ([b"HLB1", b"\x0c", b"\x80"], ErrorCode.INVALID_FIELD),
    ],
)
def test_broken_framing_and_bytes_have_a_code(parts: list[codec.Buffer], code: ErrorCode) -> None:
    assert refusal(parts).code is code


@pytest.mark.parametrize("kind", MessageType)
def test_bodies_over_their_limit_are_refused_unread(kind: MessageType) -> None:
    parts: list[codec.Buffer] = [b"HLB1", bytes([kind]), b"\xc1" * (MAX_BODY_BYTES[kind] + 1)]
    error = refusal(parts + [b""] * (kind is MessageType.FRAME))
    assert (error.code, error.in_reply_to) == (ErrorCode.TOO_LARGE, kind.name)


@pytest.mark.parametrize("depth", [9, 100, 900, 5000, 30000])
def test_deep_nesting_is_refused_at_any_depth(depth: int) -> None:
    assert refusal(parts_of(MessageType.CONTROL, b"\x81\xa1x" + b"\x91" * depth + b"\xc0")).code is ErrorCode.TOO_DEEP


def test_unknown_fields_may_nest_as_deep_as_the_document_says() -> None:
    body = msgpack.packb({**CONTROL, "later": [[[[[[[]]]]]]]})
    assert isinstance(decode(parts_of(MessageType.CONTROL, body)).message, Control)


def test_many_small_lists_are_refused_before_they_fill_memory() -> None:
    body = b"\x81\xa1x\xdc\x7f\xff" + (b"\x9f" + b"\x90" * 15) * 0x7FFF
    error = refusal(parts_of(MessageType.SCENE, body))
    assert error.code is ErrorCode.TOO_LARGE
    assert re.fullmatch(r"SCENE: more than \d+ lists and maps", error.text)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"position": [math.nan, 0, 0]}, ErrorCode.INVALID_FIELD),
        ({"position": [math.inf, 0, 0]}, ErrorCode.INVALID_FIELD),
        ({"position": "here"}, ErrorCode.INVALID_FIELD),
        ({"rotation": [0, 0, 0, 2]}, ErrorCode.BAD_ROTATION),
        ({"rotation": [0, 0, 0, 0]}, ErrorCode.BAD_ROTATION),
        ({"rotation": [math.nan, 0, 0, 1]}, ErrorCode.INVALID_FIELD),
        ({"action": "a" * 2049}, ErrorCode.TEXT_TOO_LONG),
        ({"action": "é" * 1025}, ErrorCode.TEXT_TOO_LONG),
        ({"later": {"a": ["b" * 2049]}}, ErrorCode.TEXT_TOO_LONG),
        ({"k" * 2049: 1}, ErrorCode.TEXT_TOO_LONG),
        ({"t_us": 2**64 - 1}, ErrorCode.INVALID_FIELD),
    ],
)
def test_refused_controls_keep_their_seq(changed: dict[str, object], code: ErrorCode) -> None:
    error = refusal(control(**changed))
    assert (error.code, error.seq, error.in_reply_to) == (code, 9, "CONTROL")


def test_a_refusal_says_got_and_expected() -> None:
    assert "`$.position[1]`, got nan" in refusal(control(position=[0, math.nan, 0])).text


@pytest.mark.parametrize("seq", [True, -1, 2**53, "1", None])
def test_an_unusable_seq_is_not_echoed(seq: object) -> None:
    assert refusal(control(seq=seq)).seq == -1


@pytest.mark.parametrize("text", ["a" * MAX_TEXT_BYTES, "é" * (MAX_TEXT_BYTES // 2), "日" * 682])
def test_texts_up_to_the_limit_pass(text: str) -> None:
    message = decode(control(action=text)).message
    assert isinstance(message, Control)
    assert message.action == text


@pytest.mark.parametrize("field", ["add", "move", "remove"])
def test_too_many_parts_have_their_own_code(field: str) -> None:
    error = refusal(parts_of(MessageType.SCENE, {field: [0] * (MAX_PARTS + 1)}))
    assert error.code is ErrorCode.TOO_MANY_PARTS


def test_a_blockout_of_a_million_parts_is_refused() -> None:
    body = b"\x81\xa3add\xdd" + (1_000_000).to_bytes(4, "big") + b"\x80" * 1_000_000
    assert len(body) < MAX_SCENE_BYTES
    assert refusal(parts_of(MessageType.SCENE, body)).code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    ("changed", "pixels"), [({}, b"12345"), ({"width": 3}, b"123456"), ({"pixel_format": PixelFormat.JPEG}, b"GIF89a")]
)
def test_pixels_must_fit_their_header(changed: dict[str, Any], pixels: bytes) -> None:
    assert refusal(encode(frame_header(1, **changed), pixels)).code is ErrorCode.BAD_FRAMING


@pytest.mark.parametrize(
    "bad",
    [
        Control(seq=0, t_us=0, position=(math.nan, 0, 0), rotation=(0, 0, 0, 1), vertical_fov_deg=60),
        Control(seq=0, t_us=0, position=(0, 0, 0), rotation=(0, 0, 0, 0), vertical_fov_deg=60),
        Bye(reason="a" * 3000),
        Bye(reason="\ud800"),
        SceneUpdate(add=(Part(id=1, shape=Shape.MESH, position=(0, 0, 0)),)),
        Bye(reason=object()),  # type: ignore[arg-type]  # what a dynamic caller may do
    ],
)
def test_our_own_mistakes_are_local(bad: Any) -> None:
    with pytest.raises(LocalProtocolError):
        encode_checked(bad)


def foreign_exceptions() -> list[Exception]:
    """All that msgpack says it raises, and the builtin ones that decoders are known to let through."""
    found: list[Exception] = [
        RecursionError(),
        MemoryError(),
        OverflowError(),
        TypeError(),
        ValueError(),
        UnicodeDecodeError("utf-8", b"", 0, 1, "x"),
    ]
    for kind in vars(msgpack.exceptions).values():
        if isinstance(kind, type) and issubclass(kind, Exception) and kind is not Exception:
            found.append(kind(1, b"") if kind is msgpack.ExtraData else kind())
    return found


@pytest.mark.parametrize("foreign", foreign_exceptions(), ids=lambda error: type(error).__name__)
def test_error_map_is_total(foreign: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object, **__: object) -> object:
        raise foreign

    monkeypatch.setattr(msgpack, "unpackb", explode)
    assert refusal([b"HLB1", bytes([MessageType.PING]), b"\x80"]).in_reply_to == "PING"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def only_protocol_errors(parts: list[codec.Buffer]) -> None:
    with contextlib.suppress(RemoteProtocolError):
        decode(parts)


@settings(max_examples=150, deadline=None)
@given(kind=st.sampled_from(list(MessageType)), body=st.binary(max_size=200))
def test_no_bytes_escape_the_error_map(kind: MessageType, body: bytes) -> None:
    only_protocol_errors(parts_of(kind, body))


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from([MessageType.CONTROL, MessageType.SCENE, MessageType.HELLO]),
    name=st.sampled_from(["seq", "position", "rotation", "events", "add", "move", "client", "pixel_formats", "axes"]),
    value=JSON,
)
def test_no_value_escapes_the_error_map(kind: MessageType, name: str, value: object) -> None:
    base: dict[str, object] = {"add": [MESH]} if kind is MessageType.SCENE else dict(CONTROL)
    only_protocol_errors(parts_of(kind, msgpack.packb({**base, name: value}, unicode_errors="surrogatepass")))


@settings(max_examples=100, deadline=None)
@given(vertices=st.binary(max_size=120), triangles=st.binary(max_size=60))
def test_no_mesh_escapes_the_error_map(vertices: bytes, triangles: bytes) -> None:
    cut = {"vertices": vertices[: len(vertices) // 12 * 12], "triangles": triangles[: len(triangles) // 12 * 12]}
    only_protocol_errors(scene({**MESH, **cut}))


def test_flipped_bits_never_escape_the_error_map() -> None:
    rng = random.Random(5)
    body = bytearray(control(events=[{"kind": "door", "value": "open"}])[2])
    for _ in range(300):
        broken = bytearray(body)
        for _ in range(rng.randint(1, 3)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        only_protocol_errors(parts_of(MessageType.CONTROL, bytes(broken)))


@settings(max_examples=100, deadline=None)
@given(
    position=st.tuples(*[st.floats(-1e9, 1e9)] * 3),
    action=st.text(max_size=400),
    seq=st.integers(0, 2**53 - 1),
    teleport=st.booleans(),
)
def test_what_is_encoded_comes_back(
    position: tuple[float, float, float], action: str, seq: int, teleport: bool
) -> None:
    sent = Control(
        seq=seq,
        t_us=5,
        position=position,
        rotation=(0.0, 0.6, 0.0, 0.8),
        vertical_fov_deg=60.0,
        action=action,
        teleport=teleport,
    )
    assert decode(encode_checked(sent)).message == sent


@pytest.mark.parametrize("extension", [b"\xd4\x01\x00", b"\xd6\xff\x00\x00\x00\x00", b"\xc7\x03\x05abc"])
def test_an_extension_type_is_malformed_and_not_too_large(extension: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="extension type") as refused:
        decode([b"HLB1", bytes([MessageType.BYE]), b"\x81\xa6reason" + extension])
    assert refused.value.code is ErrorCode.MALFORMED


def test_lists_nested_deeper_than_the_limit_are_refused() -> None:
    control = {"seq": 0, "t_us": 0, "position": [0, 0, 0], "rotation": [0, 0, 0, 1], "vertical_fov_deg": 60}
    deepest = msgpack.packb({**control, "later": [[[[[[[]]]]]]]})
    decode([b"HLB1", b"\x03", deepest])
    with pytest.raises(RemoteProtocolError) as refused:
        decode([b"HLB1", b"\x03", msgpack.packb({**control, "later": [[[[[[[[]]]]]]]]})])
    assert refused.value.code is ErrorCode.TOO_DEEP
