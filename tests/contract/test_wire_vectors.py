"""The wire vectors, both directions: what other languages' clients test against must be what this codec does."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import pathlib
import struct
from types import ModuleType
from typing import Any

import msgpack
import msgspec
import pytest

from bridge.codec import decode, encode
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.messages import STRUCT_OF_TYPE, TYPE_OF_STRUCT, MessageType
from bridge.session import TRANSITIONS, SessionState

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


@pytest.mark.parametrize("name", VALID)
def test_directions_agree_with_the_state_table(name: str) -> None:
    kind = MessageType[ABOUT[name]["message"]]
    server_takes = {kind for row in TRANSITIONS.values() for kind in row} | {MessageType.BYE, MessageType.PING}
    if ABOUT[name]["direction"] == "client to server":
        assert kind in server_takes
    else:
        assert kind not in TRANSITIONS[SessionState.AWAITING_HELLO]
