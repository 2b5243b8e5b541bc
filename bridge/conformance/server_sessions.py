"""How sessions begin, go silent and end: what a server must do, one function a script."""

from __future__ import annotations

from typing import Final

from bridge.conformance.outcome import Declined, require
from bridge.conformance.server_stage import SOUND_CONTROL, TICK_US, Connect
from bridge.errors import ErrorCode
from bridge.protocol.fields import MAX_INT
from bridge.protocol.messages import (
    VERSION_MAJOR,
    Axes,
    Busy,
    Bye,
    Control,
    ErrorMessage,
    MessageType,
    Ping,
    PixelFormat,
    Pong,
    Reset,
    SceneUpdate,
    Welcome,
)

_BUSY_AT_MOST: Final = 16


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
    for message in (Control(**SOUND_CONTROL), SceneUpdate(), Reset(), Ping(t_us=1)):
        stage = connect()
        stage.send(message)
        stage.wait_for_error(ErrorCode.UNEXPECTED_MESSAGE, f"{type(message).__name__} before HELLO", fatal=True)
    for name, fields in (("an empty CONTROL", {}), ("a long quaternion", {**SOUND_CONTROL, "rotation": (0, 0, 0, 2)})):
        stage = connect()
        stage.send_fields(MessageType.CONTROL, fields)
        stage.wait_for_error(ErrorCode.UNEXPECTED_MESSAGE, f"{name} before HELLO", fatal=True)
    return "4 kinds, 2 broken"


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
