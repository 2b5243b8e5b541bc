"""How a client plays in an open session, whatever comes: one function a script."""

from __future__ import annotations

from typing import Final

import msgpack  # type: ignore[import-untyped]  # it ships no types
import msgspec

from bridge.conformance.answers import HEIGHT, PIXELS, WIDTH, valid_header
from bridge.conformance.client_stage import ClientStage
from bridge.conformance.hostile import replies
from bridge.conformance.outcome import Declined, Failed, require
from bridge.errors import ErrorCode
from bridge.protocol.codec import encode
from bridge.protocol.fields import MAX_INT
from bridge.protocol.messages import VERSION_MAJOR, PixelFormat, Source
from bridge.transport.frame_ring import create_ring

_WATCH_US: Final = 700_000
_FAR_AHEAD: Final = 1_000_000  # controls; hours of play


def handshake(stage: ClientStage) -> str:
    """HELLO first, of our major version, with rgb8; CONTROL only after WELCOME."""
    hello = stage.wait_for_hello()
    require(hello.version_major == VERSION_MAJOR, f"version_major {hello.version_major}, expected {VERSION_MAJOR}")
    offered = ", ".join(hello.pixel_formats)
    require(PixelFormat.RGB8.value in hello.pixel_formats, f"pixel_formats {offered}: rgb8 is missing")
    require(not hello.session_id, f"session_id {hello.session_id!r} in the first HELLO of a new client, expected none")
    stage.play_on(_WATCH_US)
    require(stage.stray_controls == 0, f"{stage.stray_controls} CONTROLs before WELCOME")
    stage.welcome()
    stage.wait_for_controls(3)
    require(len(stage.hellos) == 1, f"{len(stage.hellos)} HELLOs, expected one")
    return f"{hello.client!r}, {hello.axes.value}, {hello.units_per_metre:g} units/m, {hello.budget_us / 1e3:g} ms"


def controls(stage: ClientStage) -> str:
    """CONTROLs at about tick_hz, `seq` and `t_us` rising."""
    stage.open_session()
    stage.wait_for_controls(5)
    seen = stage.play_on(1_000_000)
    hz = stage.hellos[0].tick_hz
    require(len(seen) >= 5, f"{len(seen)} CONTROLs in 1 s, expected about {hz:g}")
    require(len(seen) <= 2 * hz + 10, f"{len(seen)} CONTROLs in 1 s, expected about {hz:g} (HELLO's tick_hz)")
    return f"{len(seen)} in 1 s, tick_hz {hz:g}"


def credit(stage: ClientStage) -> str:
    """Names the newest FRAME it read in the next CONTROL, so that frames go on coming."""
    stage.open_session()
    first = stage.newest_sent_seq
    for _ in range(10):
        stage.wait_until_named(stage.newest_sent_seq)
        stage.wait_for_frame_after(stage.newest_sent_seq)
    return f"ten times, frames {first} to {stage.newest_sent_seq}"


def ping(stage: ClientStage) -> str:
    """PONG with the PING's t_us, also of 64 bits, while it plays."""
    stage.open_session()
    for t_us in (0, 1, 127, 128, 65_536, 2**32, MAX_INT):
        stage.ping(t_us)
    return "7 of 7"


def stall(stage: ClientStage) -> str:
    """Goes on playing while the server says nothing, and takes up the newest frame after it."""
    stage.open_session()
    stage.answering = False
    silent = stage.play_on(1_500_000)
    require(len(silent) >= 5, f"{len(silent)} CONTROLs in 1.5 s without answers: a game must not wait for frames")
    newest = stage.wait_for_controls(1)[-1]
    stage.answer(newest)
    stage.wait_until_named(newest.seq)
    stage.answering = True
    stage.wait_for_frame_after(newest.seq)
    stage.wait_until_named(stage.newest_sent_seq)
    return f"{len(silent)} CONTROLs in 1.5 s of silence"


def burst(stage: ClientStage) -> str:
    """Two FRAMEs read at once: names the newer one alone."""
    stage.open_session()
    stage.wait_until_named(stage.newest_sent_seq)
    stage.answering = False
    older, newer = stage.wait_for_controls(2)
    stage.answer(older)
    stage.answer(newer)
    stage.wait_until_named(newer.seq)
    return f"frames {older.seq} and {newer.seq}"


def old_frame(stage: ClientStage) -> str:
    """A FRAME older than the newest read must not take its place."""
    stage.open_session()
    stage.answering = False
    older, newer = stage.wait_for_controls(2)
    stage.answer(newer)
    stage.wait_until_named(newer.seq)
    stage.send(valid_header(older), PIXELS)
    stage.wait_for_controls(10)  # the stage sees to it that frame_received_seq does not fall
    return f"frame {older.seq} after {newer.seq}"


def unsent_frame(stage: ClientStage) -> str:
    """A FRAME for a CONTROL that was never sent is ignored; the next one is taken."""
    stage.open_session()
    newest = stage.wait_for_controls(1)[-1]
    unsent = msgspec.structs.replace(newest, seq=newest.seq + _FAR_AHEAD)
    stage.send(valid_header(unsent), PIXELS)
    stage.wait_for_controls(10)  # the stage sees to it that none names a frame that answers nothing
    stage.wait_for_frame_after(newest.seq)
    stage.wait_until_named(stage.newest_sent_seq)
    return f"frame {unsent.seq} after control {newest.seq}"


def sources(stage: ClientStage) -> str:
    """Takes frames that are held, from before the first chunk, late, and very old."""
    stage.open_session()
    stage.answering = False
    variants = (
        {"source": Source.HELD, "chunk": -1, "index": 0, "action": "", "steps": (), "rung": "", "stage_ms": {}},
        {"source": Source.REPROJECTED, "chunk": MAX_INT, "control_age_us": MAX_INT, "server_us": MAX_INT},
        {"deadline_met": False, "action": "é" * 1024, "stage_ms": {f"stage {i}": i / 7 for i in range(32)}},
        {"steps": tuple(range(16)), "position": (-1e9, 1e9, 0.0), "vertical_fov_deg": 170.0},
    )
    for changes in variants:
        control = stage.wait_for_controls(1)[-1]
        stage.sent_frame(control.seq)
        stage.send(msgspec.structs.replace(valid_header(control), **changes), PIXELS)
        stage.wait_until_named(control.seq)
    return f"{len(variants)} kinds"


def unknown_fields(stage: ClientStage) -> str:
    """Ignores fields that a newer server may add, in FRAME, PING and ERROR, and integers for floats."""
    stage.open_session()
    stage.answering = False
    more = {"a": {"deep": [1, None, "x", b"\x00" * 40]}, "zz": -(2**40)}
    control = stage.wait_for_controls(1)[-1]
    magic, kind, body, *_ = (bytes(part) for part in encode(valid_header(control), PIXELS))
    fields = {**more, **msgpack.unpackb(body), "vertical_fov_deg": 60, "rotation": [0, 0, 0, 1], "later": 1.5}
    stage.sent_frame(control.seq)
    stage.send_parts([magic, kind, msgpack.packb(fields), PIXELS])
    stage.wait_until_named(control.seq)
    stage.send_parts([magic, b"\x0c", msgpack.packb({**more, "t_us": 5})])
    stage.wait_for(lambda: 5 in stage.pongs, "PONG to a PING with unknown fields")
    stage.send_parts([magic, b"\x09", msgpack.packb({**more, "code": "bad_sequence", "text": "a trial", "seq": 0})])
    stage.wait_for_controls(5)
    return ""


def errors(stage: ClientStage) -> str:
    """Goes on after an ERROR that is not fatal."""
    stage.open_session()
    codes = [code for code in ErrorCode if code not in (ErrorCode.SESSION_EXPIRED, ErrorCode.VERSION_MISMATCH)]
    for code in codes:
        refused = stage.wait_for_controls(1)[-1]
        stage.refuse(code, "a trial; go on", fatal=False, seq=refused.seq, in_reply_to="CONTROL")
    stage.wait_for_controls(5)
    require(len(stage.hellos) == 1, "HELLO again after an ERROR that was not fatal")
    stage.wait_until_named(stage.newest_sent_seq)
    return f"{len(codes)} codes"


def shared_memory(stage: ClientStage) -> str:
    """Reads pixels from the ring, and falls back by itself when there is none or a frame in it is gone."""
    hello = stage.wait_for_hello()
    if not hello.shared_memory:
        raise Declined("does not ask for it")
    ring = create_ring(WIDTH, HEIGHT, 2)
    if ring is None:
        raise Declined("this machine has no shared memory for a ring")
    try:
        stage.welcome(ring=ring.name)
        stage.answering = False
        first = stage.wait_for_controls(1)[-1]
        require(first.shared_frames, "shared_frames false in the first CONTROL, though the ring can be opened")
        for _ in range(2 * ring.shape.slots):
            stage.answer_in_ring(stage.wait_for_controls(1)[-1], *ring.write(PIXELS))
        gone = ring.write(PIXELS)
        for _ in range(ring.shape.slots):
            ring.write(PIXELS)
        stage.answer_in_ring(stage.wait_for_controls(1)[-1], *gone)
        stage.answering = True
        stage.wait_until_named(stage.wait_for_controls(1)[-1].seq)
    finally:
        ring.close()
    return f"{2 * ring.shape.slots} frames in {ring.shape.slots} slots, then one that is gone"


def no_ring(stage: ClientStage) -> str:
    """A ring that cannot be opened: shared_frames stays false, and pixels in the message are taken."""
    if not stage.wait_for_hello().shared_memory:
        raise Declined("does not ask for shared memory")
    stage.welcome(ring="hlb_0000000000000000")
    seen = stage.wait_for_controls(5)
    claimed = sum(control.shared_frames for control in seen)
    require(claimed == 0, f"shared_frames true in {claimed} of 5 CONTROLs, though no ring of that name exists")
    stage.wait_until_named(stage.newest_sent_seq)
    return ""


def hostile(stage: ClientStage) -> str:
    """Ignores what it cannot read, names none of it, and plays on."""
    stage.open_session()
    stage.wait_for_controls(3)
    stage.answering = False
    unanswered = stage.wait_for_controls(1)[-1]
    count, heard, names = 0, len(stage.controls), ""
    for name, parts in replies(valid_header(unanswered), WIDTH, HEIGHT):
        names = f"{names}; {name}" if heard == len(stage.controls) else name
        heard = len(stage.controls)
        stage.send_parts(parts)
        try:
            stage.ping(1_000_000 + count)
        except Failed as exc:
            raise Failed(f"{exc}; sent since its last CONTROL: {names}") from exc
        count += 1
    stage.wait_for_controls(3)
    stage.answering = True
    stage.wait_for_controls(1)
    stage.wait_until_named(stage.newest_sent_seq)
    return f"{count} broken messages"
