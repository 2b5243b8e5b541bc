"""What a server must do, one function a script: each plays on its own connections and returns what it saw.

Scripts leave no session behind. They want the server for themselves: others' sessions may make it answer BUSY.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from bridge.codec import MAX_BODY_BYTES, encode
from bridge.conform.hostile import bodies, controls, framings
from bridge.conform.outcome import Declined, Failed, require
from bridge.conform.server_stage import TICK_US, Connection
from bridge.errors import ErrorCode
from bridge.messages import (
    MAX_INT,
    PROTOCOL_MAGIC,
    VERSION_MAJOR,
    Axes,
    Busy,
    Bye,
    Control,
    ErrorMessage,
    FrameHeader,
    MessageType,
    Part,
    PartMove,
    Ping,
    PixelFormat,
    Pong,
    Reset,
    SceneUpdate,
    Shape,
    Source,
    Welcome,
)
from bridge.session import MAX_STRIKES
from bridge.shared_frames import open_ring

Connect = Callable[[], Connection]
_BUSY_AT_MOST: Final = 16
_CONTROL: Final = bytes([MessageType.CONTROL])
_SOUND: Final[dict[str, Any]] = {
    "seq": 0,
    "t_us": 0,
    "position": [0.0, 0.0, 0.0],
    "rotation": [0.0, 0.0, 0.0, 1.0],
    "vertical_fov_deg": 60.0,
}


def handshake(connect: Connect) -> str:
    """WELCOME confirms what HELLO asked, within its limits."""
    welcome = connect().open_session(axes=Axes.UNITY, credit=1, pixel_formats=("unheard-of", "rgb8"))
    require(welcome.version_major == VERSION_MAJOR, f"version_major {welcome.version_major}, expected {VERSION_MAJOR}")
    require(welcome.axes is Axes.UNITY, f"axes {welcome.axes.value}, HELLO said unity")
    require(welcome.credit == 1, f"credit {welcome.credit}, HELLO asked for 1")
    require(welcome.pixel_format is PixelFormat.RGB8, f"pixel_format {welcome.pixel_format.value}, HELLO listed rgb8")
    require(bool(welcome.session_id and welcome.resume_token), "no session_id, or no resume_token")
    require(not welcome.resumed and welcome.last_seq == -1, "resumed, or a last_seq, in a new session")
    return f"{welcome.server}, {welcome.model}, {welcome.frame_width} x {welcome.frame_height} px, {welcome.fps:g} fps"


def version(connect: Connect) -> str:
    """Another major version is refused with version_mismatch."""
    stage = connect()
    stage.say_hello(version_major=VERSION_MAJOR + 1)
    stage.wait_for_error(ErrorCode.VERSION_MISMATCH, "HELLO of another major version", fatal=True)
    stage.open_session()
    return "and HELLO may be tried again"


def formats(connect: Connect) -> str:
    """HELLO without a common pixel format is refused with unsupported."""
    stage = connect()
    stage.say_hello(pixel_formats=("unheard-of",))
    stage.wait_for_error(ErrorCode.UNSUPPORTED, "HELLO without a pixel format in common", fatal=True)
    return ""


def early(connect: Connect) -> str:
    """Before HELLO everything is unexpected_message, and fatal."""
    for message in (Control(**_sound()), SceneUpdate(), Reset(), Ping(t_us=1)):
        stage = connect()
        stage.send(message)
        stage.wait_for_error(ErrorCode.UNEXPECTED_MESSAGE, f"{type(message).__name__} before HELLO", fatal=True)
    return "4 kinds"


def answers(connect: Connect) -> str:
    """Every CONTROL is answered by a FRAME with its seq and t_us, in order; deadline_met agrees with server_us."""
    stage = connect()
    budget_us = 50_000
    stage.open_session(budget_us=budget_us)
    for _ in range(60):
        frame = stage.step()
        kept = frame.server_us <= budget_us
        # server_us is taken a moment before it is sent, by the same clock; a millisecond covers that.
        require(
            frame.deadline_met == kept or abs(frame.server_us - budget_us) < 1000,
            f"deadline_met {frame.deadline_met} with server_us {frame.server_us} and a budget of {budget_us}",
        )
        require(
            (frame.chunk >= 0) or frame.source is Source.HELD,
            f"source {frame.source.value} of chunk -1, expected held before the first chunk",
        )
    stage.listen(TICK_US)
    return f"60 of 60, {sum(frame.deadline_met for frame in stage.frames)} in budget"


def credit(connect: Connect) -> str:
    """No more than `credit` FRAMEs unread; the CONTROL that gives credit back is answered itself, the rest dropped."""
    stage = connect()
    granted = stage.open_session(credit=2).credit
    for _ in range(20):
        stage.control(frame_received_seq=-1)
        stage.listen(2_000)
    stage.listen(5 * TICK_US)
    got = len(stage.frames)
    require(got == granted, f"{got} FRAMEs for 20 CONTROLs that named none, expected {granted} (the credit granted)")
    newest = stage.step()
    require(newest.seq == stage.seq, f"FRAME {newest.seq} after credit came back, expected {stage.seq}")
    stats = stage.stats()
    seen = (stats.controls, stats.answered, stats.dropped)
    require(seen == (21, granted + 1, 20 - granted), f"STATS controls, answered, dropped {seen}")
    return f"{granted} granted, {stats.dropped} dropped"


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
    for name, fields, code in controls(_sound()):
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
    whole = bytes(encode(Control(**{**_sound(), "seq": MAX_INT, "action": "must never be taken"}))[2])
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
    frame_of = {**more, **_sound(), "position": [0, 1, 2], "rotation": [0, 0, 0, 1]}
    stage.expect_answer(0, 0)
    stage.send_fields(MessageType.CONTROL, frame_of)
    stage.wait_for(FrameHeader, "a FRAME for a CONTROL with unknown fields")
    return ""


def ping(connect: Connect) -> str:
    """PING is answered with PONG and the same t_us."""
    stage = connect()
    stage.open_session()
    for t_us in (0, 127, 2**32, MAX_INT):
        stage.send(Ping(t_us=t_us))
        pong = stage.wait_for(Pong, f"PONG with t_us {t_us}")
        require(pong.t_us == t_us, f"PONG with t_us {pong.t_us}, PING had {t_us}")
    return "4 of 4"


def heartbeat(connect: Connect) -> str:
    """A silent client is asked with PING, then given up with session_expired; HELLO with the token resumes it."""
    stage = connect()
    welcome = stage.open_session()
    stage.step()
    stage.answering_pings = False
    patience_us, stage.patience_us = stage.patience_us, 3 * welcome.heartbeat_us + stage.patience_us
    stage.wait_for_error(ErrorCode.SESSION_EXPIRED, "silence", fatal=True)
    require(stage.pings >= 1, "session_expired without a PING before it")
    stage.patience_us, stage.answering_pings = patience_us, True
    last_seq = stage.seq
    again = stage.open_session(session_id=welcome.session_id, resume_token=welcome.resume_token)
    require(again.resumed, "resumed false after HELLO with the session's id and token")
    require(again.last_seq == last_seq, f"last_seq {again.last_seq}, expected {last_seq}")
    stage.step()
    return f"{stage.pings} PINGs in {3 * welcome.heartbeat_us / 1e6:g} s"


def resume(connect: Connect) -> str:
    """A session goes on over another connection, with its id and token, counts and seq; nobody else takes it."""
    first = connect()
    welcome = first.open_session()
    for _ in range(3):
        first.step()
    thief = connect()
    stolen = thief.open_session(session_id=welcome.session_id, resume_token="0" * 32)
    require(
        not stolen.resumed and stolen.session_id != welcome.session_id, "a session resumed with a wrong resume_token"
    )
    first.step()
    last_seq = first.seq
    second = connect()
    again = second.open_session(session_id=welcome.session_id, resume_token=welcome.resume_token)
    require(again.resumed and again.session_id == welcome.session_id, "not resumed over another connection")
    require(again.last_seq == last_seq, f"last_seq {again.last_seq}, expected {last_seq}")
    second.step()
    controls_so_far = second.stats().controls
    require(controls_so_far == last_seq + 2, f"STATS controls {controls_so_far}, expected {last_seq + 2}")
    return ""


def bye(connect: Connect) -> str:
    """BYE ends the session: nothing follows, and it cannot be resumed."""
    stage = connect()
    welcome = stage.open_session()
    stage.step()
    stage.send(Bye(reason="the script is over"))
    heard = stage.listen(5 * TICK_US)
    require(not heard, f"{type(heard[0]).__name__ if heard else ''} after BYE")
    again = stage.open_session(session_id=welcome.session_id, resume_token=welcome.resume_token)
    require(not again.resumed, "resumed after BYE")
    return ""


def axes(connect: Connect) -> str:
    """The camera comes back in the client's own axes and units, whichever they are."""
    for name in Axes:
        stage = connect()
        units = 100.0 if name is Axes.UNREAL else 1.0
        stage.open_session(axes=name, units_per_metre=units)
        half = math.sqrt(0.5)
        rotation = (0.0, 0.0, half, half) if name is Axes.UNREAL else (0.0, half, 0.0, half)
        position = (1.0 * units, 2.0 * units, 3.0 * units)
        frame = stage.step(position=position, rotation=rotation)
        if frame.source is not Source.HELD or frame.chunk == -1:
            _require_close(frame.rotation, rotation, f"{name.value}: rotation")
            if frame.chunk == -1:
                _require_close(frame.position, position, f"{name.value}: position")
        stage.send(Bye())
    return ", ".join(name.value for name in Axes)


def scene(connect: Connect) -> str:
    """A blockout is taken; changing the default map, moving unknown parts and broken meshes are refused."""
    stage = connect()
    stage.open_session()
    box = Part(id=1, shape=Shape.BOX, position=(0.0, 0.0, -5.0))
    stage.send(SceneUpdate(add=(box,)))
    stage.wait_for_error(ErrorCode.UNKNOWN_PART, "a first SCENE without replace", fatal=False)
    stage.send(SceneUpdate(replace=True, add=(box,), prompt="a test"))
    stage.send(SceneUpdate(move=(PartMove(id=1, position=(1.0, 0.0, -5.0)),)))
    stage.step()
    stage.send(SceneUpdate(move=(PartMove(id=7, position=(0.0, 0.0, 0.0)),)))
    stage.wait_for_error(ErrorCode.UNKNOWN_PART, "moving a part that was never added", fatal=False)
    triangle = {"id": 2, "shape": "mesh", "position": [0.0, 0.0, 0.0], "vertices": bytes(36), "triangles": bytes(12)}
    stage.send_fields(MessageType.SCENE, {"add": [triangle]})
    stage.wait_for_error(ErrorCode.BAD_MESH, "a mesh without area", fatal=False)
    stage.step()
    return ""


def reset(connect: Connect) -> str:
    """RESET is taken and controls are answered on."""
    stage = connect()
    stage.open_session()
    stage.step()
    stage.send(Reset(seed=7))
    for _ in range(3):
        stage.step()
    return ""


def stats(connect: Connect) -> str:
    """STATS adds up: controls = answered + dropped + refused + waiting; answered = generated + reprojected + held."""
    stage = connect()
    stage.open_session()
    for _ in range(20):
        stage.step()
    stage.send_fields(MessageType.CONTROL, {})
    stage.wait_for_error(ErrorCode.INVALID_FIELD, "an empty CONTROL", fatal=False)
    seen = stage.stats()
    total = seen.answered + seen.dropped + seen.refused + seen.waiting
    require(seen.controls == total == 21, f"controls {seen.controls}, their parts {total}, expected 21")
    by_source = seen.generated + seen.reprojected + seen.held
    require(seen.answered == by_source == 20, f"answered {seen.answered}, by source {by_source}, expected 20")
    require(seen.sessions >= 1, "sessions 0 in a session")
    return f"{seen.generated} generated, {seen.reprojected} reprojected, {seen.held} held"


def jpeg(connect: Connect) -> str:
    """Chooses jpeg when the client lists it first, and sends JPEG then."""
    stage = connect()
    welcome = stage.open_session(pixel_formats=("jpeg", "rgb8"))
    if welcome.pixel_format is not PixelFormat.JPEG:
        raise Declined("this server has rgb8 alone")
    frame = stage.step()
    require(frame.pixel_format is PixelFormat.JPEG, f"pixel_format {frame.pixel_format.value}, WELCOME said jpeg")
    return f"{len(stage.newest_pixels)} bytes for {3 * frame.width * frame.height}"


def shared_memory(connect: Connect) -> str:
    """Pixels lie in the ring when CONTROL says shared_frames, and in the message when it does not."""
    stage = connect()
    welcome = stage.open_session(shared_memory=True)
    if not welcome.ring:
        raise Declined("this server offers no ring")
    ring = open_ring(welcome.ring, welcome.frame_width, welcome.frame_height)
    if ring is None:
        raise Declined(f"the ring {welcome.ring} cannot be opened here: another machine?")
    try:
        for _ in range(2 * ring.shape.slots):
            frame = stage.step(shared_frames=True)
            require(frame.ring_slot >= 0, "pixels in the message though CONTROL said shared_frames")
            pixels = ring.read(frame.ring_slot, frame.ring_sequence)
            require(pixels is not None, f"slot {frame.ring_slot} does not hold sequence {frame.ring_sequence}")
        inline = stage.step(shared_frames=False)
        require(inline.ring_slot == -1, "pixels in the ring though CONTROL did not say shared_frames")
    finally:
        ring.close()
    return f"{2 * ring.shape.slots} frames in {ring.shape.slots} slots"


def busy(connect: Connect) -> str:
    """A server without a free session answers HELLO with BUSY, and takes the next one when one is free again."""
    stages = []
    for _ in range(_BUSY_AT_MOST):
        stage = connect()
        stages.append(stage)
        stage.say_hello()
        first = stage.first_of(Welcome, Busy, ErrorMessage)
        if isinstance(first, Busy):
            break
        require(isinstance(first, Welcome), "neither WELCOME nor BUSY")
    else:
        raise Declined(f"it takes {_BUSY_AT_MOST} sessions and more")
    stages[0].send(Bye())
    stages[0].listen(5 * TICK_US)
    stages[-1].open_session()
    return f"at session {len(stages)}"


def _sound() -> dict[str, Any]:
    return dict(_SOUND)


def _any_refusal(stage: Connection, after: str) -> None:
    error = stage.wait_for(ErrorMessage, f"an ERROR after {after}")
    require(not error.fatal, f"a fatal ERROR {error.code.value} after {after}: {error.text}")


def _require_close(got: tuple[float, ...], sent: tuple[float, ...], name: str) -> None:
    worst = max(abs(a - b) for a, b in zip(got, sent, strict=True))
    if worst > 1e-3:
        raise Failed(f"{name}: got {got} back, sent {sent}")


SCRIPTS: Final[dict[str, Callable[[Connect], str]]] = {
    "handshake": handshake,
    "version": version,
    "formats": formats,
    "early": early,
    "answers": answers,
    "credit": credit,
    "sequence": sequence,
    "refusals": refusals,
    "cut-short": cut_short,
    "strikes": strikes,
    "unknown-fields": unknown_fields,
    "ping": ping,
    "heartbeat": heartbeat,
    "resume": resume,
    "bye": bye,
    "axes": axes,
    "scene": scene,
    "reset": reset,
    "stats": stats,
    "jpeg": jpeg,
    "shared-memory": shared_memory,
    "busy": busy,
}
