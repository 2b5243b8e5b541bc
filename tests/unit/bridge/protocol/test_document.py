"""unity_plugin_protocol.md against the code: its tables are the code's, its example decodes."""

from __future__ import annotations

import enum
import pathlib
import re
from typing import Any

import msgspec
import pytest

from bridge.backends.quality_levels import rungs_of
from bridge.config import ServeConfig
from bridge.conformance import client_scripts, server_scripts
from bridge.errors import ErrorCode
from bridge.input.control_timeline import TimelineConfig
from bridge.protocol import codec, fields, messages
from bridge.protocol import msgpack_limits as unpack
from bridge.protocol import validation as meaning
from bridge.protocol.axes import client_from_ours
from bridge.protocol.codec import MAX_BODY_BYTES
from bridge.protocol.fields import MAX_INT
from bridge.protocol.messages import STRUCT_OF_TYPE, Axes, MessageType, PixelFormat, Source
from bridge.session import session
from bridge.session.capabilities import CAPABILITIES, MAY_OFFER
from bridge.session.states import TRANSITIONS, SessionState
from bridge.transport import frame_ring as shared_frames
from model.scene.blockout import MATERIALS
from tests.protocol_text import ROOT, TEXT, rows, section

NESTED = {"Event": messages.Event, "Part": messages.Part, "PartMove": messages.PartMove}


def number(value: float) -> str:
    if abs(value) == MAX_INT:
        return "-2^53+1" if value < 0 else "2^53-1"
    return "2^32-1" if value == 2**32 - 1 else f"{value:.10g}"


def wire_type(info: msgspec.inspect.Type) -> str:
    """A field's type as the document writes it."""
    match info:
        case msgspec.inspect.BoolType():
            return "bool"
        case msgspec.inspect.IntType(ge=ge, le=le) if ge is not None and le is not None:
            return f"int {number(ge)} .. {number(le)}"
        case msgspec.inspect.FloatType(ge=ge, le=le) if ge is not None and le is not None:
            return f"float {number(ge)} .. {number(le)}"
        case msgspec.inspect.StrType(max_length=64):
            return "name"
        case msgspec.inspect.StrType(max_length=2048):
            return "text"
        case msgspec.inspect.BytesType(max_length=most):
            return f"bin, at most {most} bytes"
        case msgspec.inspect.EnumType(cls=cls):
            return f"name of {cls.__name__}"
        case msgspec.inspect.StructType(cls=cls):
            return cls.__name__
        case msgspec.inspect.TupleType(item_types=items):
            return f"{len(items)} x {wire_type(items[0])}"
        case msgspec.inspect.VarTupleType(item_type=item, min_length=least, max_length=most):
            return f"list of {least or 0} .. {most}: {wire_type(item)}"
        case msgspec.inspect.DictType(key_type=key, value_type=value, max_length=most):
            return f"map of 0 .. {most}: {wire_type(key)} to {wire_type(value)}"
        case msgspec.inspect.UnionType(types=(inner, msgspec.inspect.NoneType())):
            return f"{wire_type(inner)}, or nil"
    raise AssertionError(f"the document has no word for {info}")


def fields_of(struct: type) -> list[list[str]]:
    """Name, type and default of every field, as the document's tables have them."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    return [[field.name, wire_type(field.type), default_of(field)] for field in info.fields]


def default_of(field: msgspec.inspect.Field) -> str:
    if field.required:
        return "required"
    if field.default_factory is not msgspec.NODEFAULT:
        return {list: "[]", dict: "{}"}[field.default_factory]
    default: Any = field.default
    if isinstance(default, bool):  # before the look-up: 0 and 1 equal them
        return "true" if default else "false"
    default = {None: "nil", "": '""', b"": "empty", (): "[]"}.get(default, default)
    if isinstance(default, enum.Enum):
        return default.value
    if isinstance(default, tuple):
        return f"[{', '.join(f'{item:g}' if isinstance(item, float) else item for item in default)}]"
    return str(default)


@pytest.mark.parametrize("kind", MessageType, ids=lambda kind: kind.name)
def test_every_field_of_every_message_is_documented_as_it_is(kind: MessageType) -> None:
    table = rows(section(f"{kind.name} (0x{kind:02x})"))
    assert [[row[0], row[1], row[3]] for row in table] == fields_of(STRUCT_OF_TYPE[kind])
    assert all(len(row) == 6 and row[4] in ("1.0", "1.1") and row[5] for row in table)


@pytest.mark.parametrize("name", NESTED)
def test_nested_maps_are_documented_as_they_are(name: str) -> None:
    table = rows(section(f"Map: {name}"))
    assert [[row[0], row[1], row[3]] for row in table] == fields_of(NESTED[name])


def test_capabilities_and_materials_are_named() -> None:
    every = CAPABILITIES + MAY_OFFER
    assert [row[0] for row in rows(section("Names: Capability"))] == list(every)
    named = [name for row in rows(section("Names: Material")) for name in re.findall(r"\w+", row[0])]
    assert sorted(named) == sorted(MATERIALS)


def test_message_table_names_types_directions_and_limits() -> None:
    table = {row[0]: row[1:] for row in rows(section("Message types"))}
    assert {name: row[0] for name, row in table.items()} == {kind.name: f"0x{kind:02x}" for kind in MessageType}
    assert {name: int(row[2]) for name, row in table.items()} == {k.name: v for k, v in MAX_BODY_BYTES.items()}
    to_server = {kind.name for row in TRANSITIONS.values() for kind in row}
    assert {name for name, row in table.items() if "C to S" in row[1] or row[1] == "both"} == to_server


def test_error_table_names_every_code() -> None:
    assert [row[0] for row in rows(section("Errors"))] == [code.value for code in ErrorCode]


def test_state_table_is_the_codes() -> None:
    table = {(row[0], row[1]): row[2] for row in rows(section("States"))}
    assert table == {
        (state.value, kind.name): after.value for state, row in TRANSITIONS.items() for kind, after in row.items()
    }
    assert all(f"`{state.value}`" in section("States") for state in SessionState)


@pytest.mark.parametrize("kind", [Axes, PixelFormat, Source, messages.Shape])
def test_enumerations_are_complete(kind: type) -> None:
    assert [row[0] for row in rows(section(f"Names: {kind.__name__}"))] == [member.value for member in kind]


def test_quality_levels_and_timings_are_named() -> None:
    text = section("FRAME (0x04)")
    for rung in rungs_of((2, 2, 2), tiny_decoder=True):
        assert f"`{rung.name}`" in text
    for name in ("text", "conditioning", "stage0", "decode", "answer"):
        assert f"`{name}`" in text


def test_limits_are_the_codes() -> None:
    table = {row[0]: row[1] for row in rows(section("Limits"))}
    config = ServeConfig()
    assert table == {
        "bytes of a text": f"{fields.MAX_TEXT_BYTES}",
        "characters of a name": f"{fields.MAX_NAME_CHARS}",
        "depth of lists and maps": f"{unpack.MAX_DEPTH}",
        "bytes of a SCENE body": f"{codec.MAX_SCENE_BYTES}",
        "bytes of a FRAME's pixels": f"{codec.MAX_PIXELS_BYTES}",
        "pictures of a RESET": f"{fields.MAX_PICTURES}",
        "bytes of a RESET's pictures, together": f"{fields.MAX_PICTURES_BYTES}",
        "parts of a session": f"{fields.MAX_PARTS}",
        "vertices of a mesh": f"{fields.MAX_MESH_VERTICES}",
        "triangles of a mesh": f"{fields.MAX_MESH_TRIANGLES}",
        "bytes of a session's meshes": f"{fields.MAX_SESSION_MESH_BYTES}",
        "events of a control": f"{fields.MAX_EVENTS}",
        "metres from the origin": f"{fields.MAX_POSITION_M:g}",
        "metres of a step that counts as a jump": f"{TimelineConfig().jump_m:g}",
        "metres a second above which it does": f"{TimelineConfig().jump_m_per_s:g}",
        "error of a quaternion's length": f"{meaning.QUATERNION_TOLERANCE:g}",
        "frames under way": f"{fields.MAX_CREDIT}",
        "refused messages in a row": f"{session.MAX_STRIKES}",
        "heartbeat_us": f"{config.heartbeat_us}",
        "missed heartbeats": f"{config.missed_heartbeats}",
        "resume window in us": f"{config.resume_window_us}",
    }


def test_the_scripts_of_the_conformance_kit_are_the_codes() -> None:
    assert [row[0] for row in rows(section("Conformance"))] == list(client_scripts.SCRIPTS)
    assert [row[0] for row in rows(section("Scripts for servers"))] == list(server_scripts.SCRIPTS)


def test_version_and_magic_are_the_codes() -> None:
    assert f"version {messages.VERSION_MAJOR}.{messages.VERSION_MINOR}" in TEXT.splitlines()[0]
    assert f"`{messages.PROTOCOL_MAGIC.decode()}`" in section("Framing")


def test_the_changelog_names_every_field_that_came_after_the_first_version() -> None:
    told = (ROOT / "CHANGELOG.md").read_text().split("### Protocol")[1]
    names = re.findall(r"`([\w*]+)`", told)
    for kind in MessageType:
        table = rows(section(f"{kind.name} (0x{kind:02x})"))
        if all(row[4] == "1.1" for row in table) and table:
            assert re.search(rf"\b{kind.name}\b", told), kind
            continue
        for row in table:
            known = row[4] == "1.0" or row[0] in names or f"{row[0].split('_')[0]}_*" in names
            assert known, f"{kind.name}.{row[0]} is since {row[4]}, and CHANGELOG.md does not say so"
    assert set(MAY_OFFER) <= set(names)


def test_the_messages_in_bytes_are_vectors() -> None:
    found = re.findall(r"\*\*(\w+)\*\* \(`(\w+)`\)\n\n```text\n(.*?)```", section("Its messages in bytes"), re.DOTALL)
    assert [name for name, _, _ in found] == ["HELLO", "CONTROL", "FRAME", "BYE"]
    for _, vector, block in found:
        told = bytes.fromhex("".join(line.split("#")[0] for line in block.splitlines()))
        parts = vector_parts(ROOT / f"tests/contract/vectors/{vector}.bin")
        assert told == b"".join(parts[:3])
        if len(parts) > 3:
            assert f"part 4: {len(parts[3])} bytes" in block


def vector_parts(path: pathlib.Path) -> list[bytes]:
    """A vector's parts; each stands behind its length in 4 bytes, big-endian."""
    data, parts = path.read_bytes(), []
    while data:
        length = int.from_bytes(data[:4], "big")
        parts.append(data[4 : 4 + length])
        data = data[4 + length :]
    return parts


def test_the_ring_is_laid_out_as_documented() -> None:
    table = {row[2]: row[0] for row in rows(section("Shared memory"))}
    shape = shared_frames.RingShape(slots=4, width=7, height=5)
    assert table["`HLBRING1`".strip("`")] == f"0 .. {len(shared_frames.MAGIC) - 1}"
    sequence, pixels = shape.sequence_offset(0), shape.pixels_offset(0)
    assert any(row == f"{sequence} + slot * stride" for row in table.values())
    assert any(row == f"{pixels} + slot * stride" for row in table.values())
    assert shape.stride_bytes % 64 == 0
    assert shape.sequence_offset(3) == sequence + 3 * shape.stride_bytes


def test_the_axes_table_is_what_the_code_does() -> None:
    half = 0.7071067811865476
    for name, hand, right, up, forward, point, turn in rows(section("Names: Axes")):
        axes = Axes(name)
        units = 100.0 if "units_per_metre" in point else 1.0
        there = client_from_ours(axes, units)
        assert hand == ("right" if there.handedness > 0 else "left")
        for cell, step in ((right, (1.0, 0.0, 0.0)), (up, (0.0, 1.0, 0.0)), (forward, (0.0, 0.0, -1.0))):
            sign, letter = cell
            expected = [0.0, 0.0, 0.0]
            expected["XYZ".index(letter)] = units if sign == "+" else -units
            assert list(there.position(step)) == expected
        assert [float(value) for value in point.split(" (")[0].split(", ")] == list(there.position((1.0, 2.0, -3.0)))
        sent = [float(value) for value in turn.split(", ")]
        assert there.rotation((0.0, -half, 0.0, half)) == pytest.approx(sent, abs=1e-4)


def test_sections_are_numbered_in_order_and_references_exist() -> None:
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", TEXT, re.M)]
    assert numbers == list(range(1, len(numbers) + 1))
    named = {int(number) for group in re.findall(r"sections? ([\d, ]+)", TEXT) for number in re.findall(r"\d+", group)}
    assert named <= set(numbers)
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", TEXT):
        assert (ROOT / path).exists(), path
