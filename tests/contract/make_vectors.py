"""Writes tests/contract/vectors: one `NAME.bin` and `NAME.json` a message, for clients in any language.

    python tests/contract/make_vectors.py

NAME.bin holds the parts of one multipart message, each behind its length as 4 bytes, big-endian. NAME.json says what it
is: `direction`, `message` (the type's name), `fields` for a valid message (what a decoder must find, defaults filled
in; bytes as hex) or `error` (the code that the receiver must answer with) for an invalid one, and `note`. The bytes are
written with msgpack by hand rather than by bridge.codec, so that the vectors test the codec and not themselves.
"""

from __future__ import annotations

import base64
import json
import math
import pathlib
import struct
from typing import Any

import msgpack

FOLDER = pathlib.Path(__file__).parent / "vectors"
MAGIC = b"HLB1"
TO_SERVER, TO_CLIENT = "client to server", "server to client"

HELLO = {"version_major": 1, "version_minor": 0, "client": "vector"}
HELLO_DEFAULTS = {
    "axes": "opengl",
    "units_per_metre": 1.0,
    "pixel_formats": ["rgb8"],
    "credit": 2,
    "budget_us": 16667,
    "tick_hz": 60.0,
    "session_id": "",
    "resume_token": "",
    "max_speed": 0.0,
    "max_turn_deg_per_s": 0.0,
    "shared_memory": False,
}
HELLO_ADDED = {"max_speed": 0.0, "max_turn_deg_per_s": 0.0}
HELLO_FULL = {
    **HELLO,
    "axes": "unreal",
    "units_per_metre": 100.0,
    "pixel_formats": ["jpeg", "rgb8"],
    "credit": 4,
    "budget_us": 8333,
    "tick_hz": 120.0,
    "session_id": "0123456789abcdef",
    "resume_token": "fedcba9876543210",
    "shared_memory": True,
}
WELCOME = {
    "version_major": 1,
    "version_minor": 0,
    "server": "helios-bridge 0.1.0",
    "session_id": "0123456789abcdef",
    "resume_token": "fedcba9876543210",
    "resumed": False,
    "last_seq": -1,
    "capabilities": ["reproject", "blockout"],
    "axes": "unity",
    "model": "demo",
    "runner": "onnxruntime",
    "camera_method": "channels",
    "default_map": "garden",
    "frame_width": 320,
    "frame_height": 192,
    "fps": 24.0,
    "frames_per_chunk": [9, 17, 33],
    "heartbeat_us": 1000000,
    "credit": 2,
    "pixel_format": "rgb8",
}
CONTROL = {
    "seq": 7,
    "t_us": 1234567,
    "position": [1.5, 1.6, -2.0],
    "rotation": [0.0, 0.6, 0.0, 0.8],
    "vertical_fov_deg": 60.0,
}
CONTROL_DEFAULTS = {
    "action": "",
    "events": [],
    "teleport": False,
    "lateness_us": 0,
    "frame_received_seq": -1,
    "shared_frames": False,
}
CONTROL_FULL = {
    **CONTROL,
    "action": "make it night",
    "events": [{"kind": "door", "value": "open"}],
    "teleport": True,
    "lateness_us": -1200,
    "frame_received_seq": 5,
    "shared_frames": True,
}
FRAME = {
    "seq": 7,
    "t_us": 1234567,
    "source": "reprojected",
    "chunk": 12,
    "index": 3,
    "position": [1.5, 1.6, -2.0],
    "rotation": [0.0, 0.6, 0.0, 0.8],
    "vertical_fov_deg": 60.0,
    "action": "make it night",
    "steps": [1, 1, 1],
    "rung": "full",
    "control_age_us": 41000,
    "server_us": 2100,
    "stage_ms": {"reproject": 0.5},
    "deadline_met": True,
    "width": 2,
    "height": 1,
    "pixel_format": "rgb8",
}
FRAME_DEFAULTS = {"control_t_us": -1, "server_t_us": 0, "ring_slot": -1, "ring_sequence": 0}
FRAME_1_1 = {**FRAME, "control_t_us": 1193567, "server_t_us": 98765432, "ring_slot": -1, "ring_sequence": 0}
# A baseline JPEG of 2 x 1 mid grey pixels, by libjpeg-turbo.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    "AQEBAQEBAQEBAQEBAQH/2wBDAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
    "AQEBAQEBAQH/wAARCAABAAIDASIAAhEBAxEB/8QAFAABAAAAAAAAAAAAAAAAAAAAAP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/xAAU"
    "AQEAAAAAAAAAAAAAAAAAAAAA/8QAFBEBAAAAAAAAAAAAAAAAAAAAAP/aAAwDAQACEQMRAD8AAA//2Q=="
)
PIXELS = bytes([255, 0, 0, 0, 0, 255])
BOX = {"id": 1, "shape": "box", "position": [0.0, 0.5, -4.0]}
PART_DEFAULTS = {
    "rotation": [0.0, 0.0, 0.0, 1.0],
    "size": [1.0, 1.0, 1.0],
    "material": "",
    "colour": [1.0, 1.0, 1.0],
    "vertices": b"",
    "triangles": b"",
}
MESH = {
    **PART_DEFAULTS,
    "id": 2,
    "shape": "mesh",
    "position": [0.0, 0.0, 0.0],
    "material": "stone",
    "colour": [0.5, 0.25, 1.0],
    "vertices": struct.pack("<9f", 0, 0, 0, 0, 0, 1, 1, 0, 0),
    "triangles": struct.pack("<3I", 0, 1, 2),
}
SCENE_DEFAULTS = {"prompt": None, "seed": None, "replace": False, "add": [], "move": [], "remove": []}
SCENE_FULL = {
    "prompt": "an old garden",
    "seed": 42,
    "replace": True,
    "add": [{**BOX, **PART_DEFAULTS}, MESH],
    "move": [{"id": 1, "position": [1.0, 0.5, -4.0], "rotation": [0.0, 1.0, 0.0, 0.0]}],
    "remove": [9],
}
RESET_DEFAULTS = {
    "pictures": [],
    "picture_format": "rgb8",
    "picture_width": 0,
    "picture_height": 0,
    "restore": "",
}
STATS = {
    "controls": 100,
    "answered": 97,
    "generated": 60,
    "reprojected": 30,
    "held": 7,
    "late": 1,
    "dropped": 2,
    "refused": 1,
    "waiting": 0,
    "chunks": 8,
    "replans": 1,
    "generated_fps": 24.5,
    "chunk_ms_p50": 310.0,
    "chunk_ms_p95": 350.5,
    "control_age_us_p50": 41000,
    "control_age_us_p95": 90000,
    "server_us_p50": 1500,
    "server_us_p95": 4000,
    "client_lateness_us_p95": -3000,
    "rung": "full",
    "sessions": 1,
    "engine_restarts": 0,
}
STATS_DEFAULTS = {
    "accounts": {},
    "delivery": 0.0,
    "underruns": {},
    "gap_us": 0,
    "margin_us": 0,
    "earliness_us_p50": 0,
    "needless_starts": 0,
    "prediction_deg_p50": 0.0,
    "prediction_deg_p95": 0.0,
    "prediction_m_p50": 0.0,
    "prediction_m_p95": 0.0,
    "wasted_us": 0,
    "chunk_frames": 0,
}
STATS_1_1 = {
    **STATS,
    "accounts": {"generated": 59, "reprojected": 30, "held": 7, "late": 1, "dropped: superseded": 2, "refused": 1},
    "delivery": 0.96,
    "underruns": {"overrun": 1, "paused": 0},
    "gap_us": 61000,
    "margin_us": 8000,
    "earliness_us_p50": 12000,
    "needless_starts": 3,
    "prediction_deg_p50": 0.5,
    "prediction_deg_p95": 7.25,
    "prediction_m_p50": 0.015625,
    "prediction_m_p95": 0.25,
    "wasted_us": 120000,
    "chunk_frames": 4,
}
TYPES = {
    "HELLO": 0x01,
    "WELCOME": 0x02,
    "CONTROL": 0x03,
    "FRAME": 0x04,
    "SCENE": 0x05,
    "RESET": 0x06,
    "STATS_REQUEST": 0x07,
    "STATS": 0x08,
    "ERROR": 0x09,
    "BUSY": 0x0A,
    "BYE": 0x0B,
    "PING": 0x0C,
    "PONG": 0x0D,
    "SAVE": 0x0E,
    "SAVED": 0x0F,
}

# name: direction, message, what is sent, what must be found (defaults filled in), pixels or nothing, note
VALID: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], bytes | None, str]] = {
    "hello_minimal": (TO_SERVER, "HELLO", HELLO, HELLO_DEFAULTS, None, "every default"),
    "hello_full": (TO_SERVER, "HELLO", HELLO_FULL, HELLO_ADDED, None, "a resume in Unreal's axes"),
    "hello_limits": (
        TO_SERVER,
        "HELLO",
        {**HELLO, "version_minor": 1, "max_speed": 6.5, "max_turn_deg_per_s": 360.0},
        {key: value for key, value in HELLO_DEFAULTS.items() if not key.startswith("max_")},
        None,
        "a camera that declares its limits (1.1)",
    ),
    "welcome": (TO_CLIENT, "WELCOME", WELCOME, {"ring": ""}, None, ""),
    "welcome_resumed": (
        TO_CLIENT,
        "WELCOME",
        {**WELCOME, "resumed": True, "last_seq": 2**53 - 1, "ring": "hlb_0123456789abcdef", "pixel_format": "jpeg"},
        {},
        None,
        "a resumed session with a ring of shared memory",
    ),
    "control_minimal": (TO_SERVER, "CONTROL", CONTROL, CONTROL_DEFAULTS, None, "every default"),
    "control_full": (TO_SERVER, "CONTROL", CONTROL_FULL, {}, None, "the worked example of the document"),
    "control_integers": (
        TO_SERVER,
        "CONTROL",
        {**CONTROL, "position": [1, 2, -3], "rotation": [0, 0, 0, 1], "vertical_fov_deg": 60},
        {**CONTROL_DEFAULTS, "position": [1.0, 2.0, -3.0], "rotation": [0.0, 0.0, 0.0, 1.0]},
        None,
        "whole numbers may stand for floats",
    ),
    "control_unknown_fields": (
        TO_SERVER,
        "CONTROL",
        {**CONTROL, "gamepad": {"left": [0.1, 0.2]}, "note": "from version 1.7"},
        {**CONTROL_DEFAULTS, "gamepad": None, "note": None},
        None,
        "unknown fields are ignored",
    ),
    "frame_rgb8": (TO_CLIENT, "FRAME", FRAME, FRAME_DEFAULTS, PIXELS, "one red and one blue pixel"),
    "frame_times": (TO_CLIENT, "FRAME", FRAME_1_1, {}, PIXELS, "whose control it was, and the server's clock (1.1)"),
    "frame_jpeg": (TO_CLIENT, "FRAME", {**FRAME, "pixel_format": "jpeg"}, FRAME_DEFAULTS, JPEG, "2 x 1, mid grey"),
    "frame_in_ring": (
        TO_CLIENT,
        "FRAME",
        {**FRAME, "ring_slot": 3, "ring_sequence": 42},
        {"control_t_us": -1, "server_t_us": 0},
        b"",
        "the pixels lie in slot 3 of the ring (1.1)",
    ),
    "frame_first": (
        TO_CLIENT,
        "FRAME",
        {**FRAME, "source": "held", "chunk": -1, "index": 0, "steps": [], "stage_ms": {}, "action": ""},
        FRAME_DEFAULTS,
        bytes(6),
        "before the first generated frame",
    ),
    "scene_minimal": (TO_SERVER, "SCENE", {}, SCENE_DEFAULTS, None, "changes nothing"),
    "scene_full": (TO_SERVER, "SCENE", SCENE_FULL, {}, None, "a first blockout: a box and a mesh"),
    "reset_minimal": (TO_SERVER, "RESET", {}, {"seed": None, "prompt": None, **RESET_DEFAULTS}, None, ""),
    "reset_full": (TO_SERVER, "RESET", {"seed": 3, "prompt": "again"}, RESET_DEFAULTS, None, "as 1.0 has it"),
    "reset_image": (
        TO_SERVER,
        "RESET",
        {"pictures": [PIXELS], "picture_format": "rgb8", "picture_width": 2, "picture_height": 1},
        {"seed": None, "prompt": None, "restore": ""},
        None,
        "begins with an image (1.1)",
    ),
    "reset_clip": (
        TO_SERVER,
        "RESET",
        {"seed": 5, "pictures": [JPEG, JPEG], "picture_format": "jpeg", "picture_width": 2, "picture_height": 1},
        {"prompt": None, "restore": ""},
        None,
        "begins with a clip (1.1)",
    ),
    "reset_restore": (
        TO_SERVER,
        "RESET",
        {"restore": "slot-1"},
        {"seed": None, "prompt": None, **{key: RESET_DEFAULTS[key] for key in RESET_DEFAULTS if key != "restore"}},
        None,
        "goes on with a saved state (1.1)",
    ),
    "save": (TO_SERVER, "SAVE", {"name": "slot-1"}, {}, None, "1.1"),
    "saved": (TO_CLIENT, "SAVED", {"name": "slot-1", "size_bytes": 5_100_000}, {}, None, "1.1"),
    "stats_request": (TO_SERVER, "STATS_REQUEST", {}, {}, None, ""),
    "stats": (TO_CLIENT, "STATS", STATS, STATS_DEFAULTS, None, ""),
    "stats_accounts": (TO_CLIENT, "STATS", STATS_1_1, {}, None, "with every account and cause (1.1)"),
    "error": (
        TO_CLIENT,
        "ERROR",
        {"code": "bad_sequence", "text": "seq must rise", "fatal": False, "seq": 6, "in_reply_to": "CONTROL"},
        {},
        None,
        "",
    ),
    "busy": (TO_CLIENT, "BUSY", {"text": "all 4 sessions are taken", "retry_after_us": 2000000}, {}, None, ""),
    "bye": (TO_SERVER, "BYE", {"reason": "player left"}, {}, None, ""),
    "ping": (TO_CLIENT, "PING", {"t_us": 99}, {}, None, ""),
    "pong": (TO_SERVER, "PONG", {"t_us": 99}, {}, None, ""),
}


def parts(message: str, body: dict[str, Any] | bytes, *more: bytes) -> list[bytes]:
    packed = body if isinstance(body, bytes) else msgpack.packb(body)
    return [MAGIC, bytes([TYPES[message]]), packed, *more]


def scene_with(part: dict[str, Any]) -> list[bytes]:
    return parts("SCENE", {"replace": True, "add": [part]})


# name: message, the parts, the code of the refusal, note
INVALID: dict[str, tuple[str, list[bytes], str, str]] = {
    "bad_magic": ("HELLO", [b"HLB9", b"\x01", msgpack.packb(HELLO)], "bad_framing", "another protocol"),
    "bad_part_count": ("HELLO", [MAGIC, b"\x01"], "bad_framing", "no body"),
    "bad_extra_part": ("CONTROL", parts("CONTROL", CONTROL, b"?"), "bad_framing", "pixels on a CONTROL"),
    "bad_frame_pixels": ("FRAME", parts("FRAME", FRAME, PIXELS[:-1]), "bad_framing", "a byte of pixels is missing"),
    "bad_type": ("", [MAGIC, b"\x7f", b"\x80"], "unknown_type", ""),
    "bad_truncated": ("CONTROL", parts("CONTROL", msgpack.packb(CONTROL)[:-3]), "malformed", ""),
    "bad_not_a_map": ("CONTROL", parts("CONTROL", msgpack.packb([1, 2])), "malformed", ""),
    "bad_text_encoding": ("BYE", parts("BYE", b"\x81\xa6reason\xa1\xff"), "malformed", "not UTF-8"),
    "bad_length_claim": (
        "SCENE",
        parts("SCENE", b"\x81\xa3add\xdd\xff\xff\xff\xff"),
        "too_large",
        "claims 2^32-1 parts",
    ),
    "bad_nesting": ("CONTROL", parts("CONTROL", b"\x81\xa1x" + b"\x91" * 100 + b"\xc0"), "too_deep", ""),
    "bad_missing_field": ("CONTROL", parts("CONTROL", {"seq": 1}), "invalid_field", ""),
    "bad_nan": ("CONTROL", parts("CONTROL", {**CONTROL, "position": [math.nan, 0.0, 0.0]}), "invalid_field", ""),
    "bad_infinity": ("CONTROL", parts("CONTROL", {**CONTROL, "vertical_fov_deg": math.inf}), "invalid_field", ""),
    "bad_bool_as_int": ("CONTROL", parts("CONTROL", {**CONTROL, "seq": True}), "invalid_field", ""),
    "bad_float_as_int": ("CONTROL", parts("CONTROL", {**CONTROL, "seq": 1.0}), "invalid_field", "seq is an integer"),
    "bad_axes": ("HELLO", parts("HELLO", {**HELLO, "axes": "maya"}), "invalid_field", ""),
    "bad_rotation": ("CONTROL", parts("CONTROL", {**CONTROL, "rotation": [0.0, 0.0, 0.0, 2.0]}), "bad_rotation", ""),
    "bad_text_length": ("CONTROL", parts("CONTROL", {**CONTROL, "action": "é" * 1025}), "text_too_long", "2050 bytes"),
    "bad_mesh_index": ("SCENE", scene_with({**MESH, "triangles": struct.pack("<3I", 0, 1, 3)}), "bad_mesh", ""),
    "bad_mesh_degenerate": ("SCENE", scene_with({**MESH, "triangles": struct.pack("<3I", 1, 1, 2)}), "bad_mesh", ""),
    "bad_frame_ring_and_pixels": (
        "FRAME",
        parts("FRAME", {**FRAME, "ring_slot": 0, "ring_sequence": 2}, PIXELS),
        "bad_framing",
        "pixels in the message and in the ring",
    ),
    "bad_frame_ring_slot": (
        "FRAME",
        parts("FRAME", {**FRAME, "ring_slot": 10, "ring_sequence": 2}, b""),
        "invalid_field",
        "no ring has that many slots",
    ),
    "bad_frame_jpeg": ("FRAME", parts("FRAME", {**FRAME, "pixel_format": "jpeg"}, PIXELS), "bad_framing", "no JPEG"),
    "bad_frame_source": ("FRAME", parts("FRAME", {**FRAME, "source": "guessed"}, PIXELS), "invalid_field", ""),
    "bad_hello_formats": ("HELLO", parts("HELLO", {**HELLO, "pixel_formats": []}), "invalid_field", "none listed"),
    "bad_hello_units": ("HELLO", parts("HELLO", {**HELLO, "units_per_metre": 0.0}), "invalid_field", ""),
    "bad_welcome_size": ("WELCOME", parts("WELCOME", {**WELCOME, "frame_width": 0}), "invalid_field", ""),
    "bad_reset_seed": ("RESET", parts("RESET", {"seed": -1}), "invalid_field", ""),
    "bad_reset_picture_bytes": (
        "RESET",
        parts("RESET", {"pictures": [PIXELS], "picture_width": 3, "picture_height": 1}),
        "invalid_field",
        "6 bytes for 3 pixels",
    ),
    "bad_reset_picture_size": ("RESET", parts("RESET", {"pictures": [PIXELS]}), "invalid_field", "no width, no height"),
    "bad_reset_restore_and_seed": ("RESET", parts("RESET", {"restore": "a", "seed": 1}), "invalid_field", ""),
    "bad_save_name": ("SAVE", parts("SAVE", {"name": "../elsewhere"}), "invalid_field", "a path is no name"),
    "bad_saved_size": ("SAVED", parts("SAVED", {"name": "a", "size_bytes": -1}), "invalid_field", ""),
    "bad_stats_request_body": ("STATS_REQUEST", parts("STATS_REQUEST", b"\x90"), "malformed", "a list, not a map"),
    "bad_stats_count": ("STATS", parts("STATS", {**STATS, "controls": 1.5}), "invalid_field", ""),
    "bad_error_code": ("ERROR", parts("ERROR", {"code": "oops", "text": ""}), "invalid_field", "an unknown code"),
    "bad_busy_text": ("BUSY", parts("BUSY", {"retry_after_us": 1}), "invalid_field", "text is missing"),
    "bad_bye_reason": ("BYE", parts("BYE", {"reason": b"bin"}), "invalid_field", "bin where text is due"),
    "bad_ping_time": ("PING", parts("PING", {"t_us": "now"}), "invalid_field", ""),
    "bad_pong_time": ("PONG", parts("PONG", {"t_us": 2**53}), "invalid_field", "beyond 2^53-1"),
    "bad_scene_plane": (
        "SCENE",
        scene_with({**BOX, "shape": "plane", "size": [0.0, 0.0, 4.0]}),
        "invalid_field",
        "a plane needs two extents above 0",
    ),
    "bad_part_count_in_scene": ("SCENE", parts("SCENE", {"remove": [0] * 4097}), "too_many_parts", ""),
}


def json_value(value: Any) -> Any:
    """Bytes as hex; everything else as it is."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: json_value(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [json_value(inner) for inner in value]
    return value


def framed(message_parts: list[bytes]) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in message_parts)


def vectors() -> dict[str, tuple[bytes, dict[str, Any]]]:
    """Every vector by name: the bytes of NAME.bin and the content of NAME.json."""
    made: dict[str, tuple[bytes, dict[str, Any]]] = {}
    for name, (direction, message, sent, defaults, pixels, note) in VALID.items():
        fields = {
            key: value for key, value in {**sent, **defaults}.items() if value is not None or key in SCENE_DEFAULTS
        }
        about = {"direction": direction, "message": message, "fields": json_value(fields), "note": note}
        message_parts = parts(message, sent, *([] if pixels is None else [pixels]))
        if pixels is not None:
            about["pixels"] = pixels.hex()
        made[name] = (framed(message_parts), about)
    for name, (message, message_parts, code, note) in INVALID.items():
        direction = TO_CLIENT if message in ("WELCOME", "FRAME", "STATS", "ERROR", "BUSY") else TO_SERVER
        made[name] = (framed(message_parts), {"direction": direction, "message": message, "error": code, "note": note})
    return made


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, (data, about) in vectors().items():
        (FOLDER / f"{name}.bin").write_bytes(data)
        (FOLDER / f"{name}.json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
