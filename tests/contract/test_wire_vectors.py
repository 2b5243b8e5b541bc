"""The wire vectors, both directions: what other languages' clients test against must be what this codec does."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import pathlib
import random
import struct
from types import ModuleType
from typing import Any

import msgpack
import msgspec
import pytest

from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol import codec
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import STRUCT_OF_TYPE, TYPE_OF_STRUCT, MessageType
from bridge.session.states import TRANSITIONS, SessionState

FOLDER = pathlib.Path(__file__).parent / "vectors"
ABOUT: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))
}
VALID = [name for name, about in ABOUT.items() if "error" not in about]
INVALID = [name for name, about in ABOUT.items() if "error" in about]

# A JPEG's bytes are its decoder's business; without its pixels the other is a frame in a ring, as it says.
CUT_IS_SOUND = {("frame_jpeg", 3), ("bad_frame_ring_and_pixels", 3)}


def parts_of(name: str) -> list[bytes]:
    data = (FOLDER / f"{name}.bin").read_bytes()
    parts = []
    while data:
        (length,) = struct.unpack_from(">I", data)
        parts.append(data[4 : 4 + length])
        data = data[4 + length :]
    return parts


def plain(value: object) -> object:
    """A decoded message as the JSON beside a vector writes it."""
    return json.loads(json.dumps(msgspec.to_builtins(value, builtin_types=(bytes,)), default=bytes.hex))


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_vectors", FOLDER.parent / "make_vectors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_message_and_most_error_codes_have_a_vector() -> None:
    assert {ABOUT[name]["message"] for name in VALID} == {kind.name for kind in MessageType}
    assert {ABOUT[name]["message"] for name in INVALID} >= {kind.name for kind in MessageType}
    of_state = {
        ErrorCode.UNKNOWN_PART,
        ErrorCode.VERSION_MISMATCH,
        ErrorCode.UNSUPPORTED,
        ErrorCode.UNEXPECTED_MESSAGE,
        ErrorCode.BAD_SEQUENCE,
        ErrorCode.TOO_MANY_ERRORS,
        ErrorCode.SESSION_EXPIRED,
        ErrorCode.ENGINE_FAILED,
        ErrorCode.INTERNAL,
    }
    assert {ErrorCode(ABOUT[name]["error"]) for name in INVALID} == set(ErrorCode) - of_state


def test_the_files_are_what_the_script_writes() -> None:
    made = maker().vectors()
    assert {path.stem for path in FOLDER.iterdir()} == set(made)
    for name, (data, about) in made.items():
        assert (FOLDER / f"{name}.bin").read_bytes() == data, f"{name}: run python tests/contract/make_vectors.py"
        assert ABOUT[name] == about, f"{name}: run python tests/contract/make_vectors.py"


@pytest.mark.parametrize("name", VALID)
def test_valid_vectors_decode_to_their_fields(name: str) -> None:
    decoded = decode(parts_of(name))
    assert TYPE_OF_STRUCT[type(decoded.message)].name == ABOUT[name]["message"]
    assert plain(decoded.message) == ABOUT[name]["fields"]
    assert (decoded.pixels.hex() if isinstance(decoded.pixels, bytes) else None) == ABOUT[name].get("pixels")


@pytest.mark.parametrize("name", VALID)
def test_fields_encode_to_the_same_message(name: str) -> None:
    about = ABOUT[name]
    struct_type = STRUCT_OF_TYPE[MessageType[about["message"]]]
    message = decode(parts_of(name)).message
    pixels = bytes.fromhex(about["pixels"]) if "pixels" in about else None
    encoded = encode(message, pixels)
    assert [bytes(part) for part in encoded[:2]] == parts_of(name)[:2]
    assert type(message) is struct_type
    # A map's order is free and defaults may be left out, so bodies are compared as values.
    body = json.loads(json.dumps(msgpack.unpackb(bytes(encoded[2])), default=bytes.hex))
    assert body == about["fields"]
    assert [bytes(part) for part in encoded[3:]] == ([] if pixels is None else [pixels])


@pytest.mark.parametrize("name", INVALID)
def test_invalid_vectors_are_refused_with_their_code(name: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode(parts_of(name))
    assert caught.value.code.value == ABOUT[name]["error"]


@pytest.mark.parametrize("name", ABOUT)
def test_cut_at_every_byte_only_protocol_errors_escape(name: str) -> None:
    whole = parts_of(name)
    for position, part in enumerate(whole):
        # The long ones repeat themselves: every byte of the first 600, then every 37th.
        for length in (*range(min(600, len(part))), *range(600, len(part), 37)):
            cut = [*whole[:position], part[:length], *whole[position + 1 :]]
            if (name, position) in CUT_IS_SOUND:
                with contextlib.suppress(RemoteProtocolError):
                    decode(cut)
                continue
            with pytest.raises(RemoteProtocolError):
                decode(cut)
        with contextlib.suppress(RemoteProtocolError):
            decode(whole[:position])


@pytest.mark.parametrize("name", VALID)
def test_unknown_fields_change_nothing(name: str) -> None:
    parts = parts_of(name)
    body = msgpack.unpackb(parts[2])
    more = {"added_in_1_9": {"deep": [1, None, "x"]}, **body, "zz": b"\x00" * 40}
    assert decode([*parts[:2], msgpack.packb(more), *parts[3:]]) == decode(parts)


def outcome(parts: list[bytes]) -> object:
    try:
        return decode(parts)
    except RemoteProtocolError as exc:
        return exc.code, exc.text, exc.seq, exc.in_reply_to


NUMBERS = [math.nan, 1e300, 2**53, 2**63, -1, 0, 1, 0.5, True]
TEXTS = ["", "x" * 513, "\u00e9" * 1500, b"x"]
EVENTS = [[{"kind": "door", "value": "\u00e9" * 1100}], [{"kind": "door", "more": 1}], [{"value": "x"}]]
ODD = [*NUMBERS, *TEXTS, *EVENTS, None, [], [0, 0, 0, 1], {"a": 1}, {"a": {"b": [[]]}}]


def mutated(body: bytes, chance: random.Random) -> bytes:
    """The body with a byte changed, dropped or doubled, a stretch put elsewhere, or an odd value in a field."""
    at, to, length = (chance.randrange(len(body)) for _ in range(3))
    match chance.randrange(8):
        case 0:
            return body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
        case 1:
            return body[:at] + body[at + 1 :]
        case 2:
            return body[:at] + body[at : at + 1] + body[at:]
        case 3:
            return body[:to] + body[at : at + length % 24] + body[to:]
        case _:
            with contextlib.suppress(Exception):  # an invalid vector may not be msgpack at all
                fields = msgpack.unpackb(body)
                fields[chance.choice([*fields, "unknown"])] = chance.choice(ODD)
                return bytes(msgpack.packb(fields))
            return body


def test_a_ticks_messages_mean_the_same_the_short_and_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(7)
    of_a_tick = [parts for parts in map(parts_of, ABOUT) if len(parts) >= 3 and parts[1] in (b"\x03", b"\x04")]
    cases = [[*parts[:2], mutated(parts[2], chance), *parts[3:]] for parts in of_a_tick for _ in range(200)]
    cases += of_a_tick
    short = [outcome(parts) for parts in cases]
    monkeypatch.setattr(codec, "_decode_exact", lambda layout, body: None)
    assert short == [outcome(parts) for parts in cases]
    taken = sum(isinstance(each, codec.Decoded) for each in short)
    assert 200 < taken < len(short) - 200


@pytest.mark.parametrize("name", ["control_full", "frame_rgb8", "frame_jpeg", "frame_in_ring"])
def test_a_ticks_messages_take_the_short_way(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the long way")

    monkeypatch.setattr(codec, "_decode_any", refuse)
    assert decode(parts_of(name)).message


@pytest.mark.parametrize("name", VALID)
def test_directions_agree_with_the_state_table(name: str) -> None:
    kind = MessageType[ABOUT[name]["message"]]
    server_takes = {kind for row in TRANSITIONS.values() for kind in row} | {MessageType.BYE, MessageType.PING}
    if ABOUT[name]["direction"] == "client to server":
        assert kind in server_takes
    else:
        assert kind not in TRANSITIONS[SessionState.AWAITING_HELLO]
