"""What a server must refuse, and go on after: one function a script."""

from __future__ import annotations

from typing import Final

from bridge.conformance.hostile import bodies, controls, framings
from bridge.conformance.outcome import require
from bridge.conformance.server_stage import SOUND_CONTROL, Connect, Connection
from bridge.errors import ErrorCode
from bridge.protocol.codec import MAX_BODY_BYTES, encode
from bridge.protocol.fields import MAX_INT
from bridge.protocol.messages import (
    PROTOCOL_MAGIC,
    VERSION_MAJOR,
    Control,
    ErrorMessage,
    FrameHeader,
    MessageType,
    Welcome,
)
from bridge.session.session import MAX_STRIKES

_CONTROL: Final = bytes([MessageType.CONTROL])


def sequence(connect: Connect) -> str:
    """A seq that does not rise, or naming a FRAME never sent, is bad_sequence; the session goes on."""
    stage = connect()
    stage.open_session()
    stage.step()
    seq = stage.seq
    stage.control(seq=seq)
    error = stage.wait_for_error(ErrorCode.BAD_SEQUENCE, "a seq that stands still", fatal=False)
    require(error.seq == seq, f"ERROR's seq {error.seq}, expected {seq}")
    stage.seq = seq
    stage.control(frame_received_seq=seq + 1000)
    stage.wait_for_error(ErrorCode.BAD_SEQUENCE, "naming a FRAME that was never sent", fatal=False)
    stage.seq += 1000  # gaps are allowed
    stage.step(frame_received_seq=seq)
    return ""


def refusals(connect: Connect) -> str:
    """What is broken or out of bounds is refused with its code, names its CONTROL, and the session goes on."""
    stage = connect()
    stage.open_session()
    count = 0
    for name, fields, code in controls(SOUND_CONTROL):
        stage.send_fields(MessageType.CONTROL, fields)
        error = stage.wait_for_error(ErrorCode(code), f"CONTROL: {name}", fatal=False)
        require(error.in_reply_to == "CONTROL", f"in_reply_to {error.in_reply_to!r} after CONTROL: {name}")
        count += 1
        stage.step()
    for name, parts in framings():
        stage.send_parts(parts)
        _any_refusal(stage, name)
        count += 1
    stage.step()
    for name, body in bodies():
        stage.send_parts([PROTOCOL_MAGIC, _CONTROL, body])
        _any_refusal(stage, f"CONTROL: {name}")
        count += 1
    stage.step()
    too_long = bytes(MAX_BODY_BYTES[MessageType.CONTROL] + 1)
    stage.send_parts([PROTOCOL_MAGIC, _CONTROL, too_long])
    stage.wait_for_error(ErrorCode.TOO_LARGE, "a CONTROL over its limit", fatal=False)
    stage.step()
    return f"{count + 1} broken messages"


def cut_short(connect: Connect) -> str:
    """A message cut at any byte is refused, never half understood."""
    stage = connect()
    stage.open_session()
    whole = bytes(encode(Control(**{**SOUND_CONTROL, "seq": MAX_INT, "action": "must never be taken"}))[2])
    for length in range(0, len(whole), 3):
        stage.send_parts([PROTOCOL_MAGIC, _CONTROL, whole[:length]])
        _any_refusal(stage, f"{length} of {len(whole)} bytes of a CONTROL")
        if length % 90 == 0:
            stage.step()  # a good message ends the row of refusals
    stage.step()
    return f"{-(-len(whole) // 3)} lengths"


def strikes(connect: Connect) -> str:
    """Too many refused messages in a row end the session."""
    stage = connect()
    stage.open_session()
    for _ in range(MAX_STRIKES):
        stage.send_parts([PROTOCOL_MAGIC, _CONTROL, b"\xc1"])
        _any_refusal(stage, "a broken CONTROL")
    stage.send_parts([PROTOCOL_MAGIC, _CONTROL, b"\xc1"])
    stage.wait_for_error(ErrorCode.TOO_MANY_ERRORS, f"{MAX_STRIKES + 1} broken messages in a row", fatal=True)
    return f"at {MAX_STRIKES + 1}"


def unknown_fields(connect: Connect) -> str:
    """Fields that a newer client may send are ignored; whole numbers may stand for floats."""
    stage = connect()
    more = {"a": {"deep": [1, None, "x", b"\x00" * 40]}, "zz": -(2**40)}
    hello = {"version_major": VERSION_MAJOR, "version_minor": 65535, "client": "newer", "units_per_metre": 1}
    stage.send_fields(MessageType.HELLO, {**more, **hello})
    stage.welcome = stage.wait_for(Welcome, "WELCOME")
    frame_of = {**more, **SOUND_CONTROL, "position": [0, 1, 2], "rotation": [0, 0, 0, 1]}
    stage.expect_answer(0, 0)
    stage.send_fields(MessageType.CONTROL, frame_of)
    stage.wait_for(FrameHeader, "a FRAME for a CONTROL with unknown fields")
    return ""


def _any_refusal(stage: Connection, after: str) -> None:
    error = stage.wait_for(ErrorMessage, f"an ERROR after {after}")
    require(not error.fatal, f"a fatal ERROR {error.code.value} after {after}: {error.text}")
