"""How a client takes refusals and ends, and comes back: one function a script."""

from __future__ import annotations

from typing import Final

from bridge.conformance.client_stage import ClientStage
from bridge.conformance.outcome import Declined, require
from bridge.errors import ErrorCode
from bridge.protocol.messages import Busy, Bye, Hello

_SETTLE_US: Final = 500_000
"""After an end: what the client sent before it read of it may still arrive."""
_WATCH_US: Final = 700_000


def busy(stage: ClientStage) -> str:
    """BUSY in answer to HELLO: no CONTROL, and no HELLO before retry_after_us."""
    stage.wait_for_hello()
    stage.send(Busy(text="a trial: all sessions are taken", retry_after_us=1_500_000))
    stage.play_on(1_000_000)
    require(len(stage.hellos) == 1, "HELLO again within 1 s of BUSY with retry_after_us 1500000")
    return _quiet(stage)


def version(stage: ClientStage) -> str:
    """version_mismatch in answer to HELLO: no CONTROL follows."""
    stage.wait_for_hello()
    stage.refuse(ErrorCode.VERSION_MISMATCH, "the client speaks 1, this server 2", fatal=True, in_reply_to="HELLO")
    stage.play_on(_SETTLE_US)
    return _quiet(stage)


def bye(stage: ClientStage) -> str:
    """BYE: the session is over, no CONTROL follows."""
    stage.open_session()
    stage.send(Bye(reason="the server stops"))
    stage.play_on(_SETTLE_US)
    return _quiet(stage)


def fatal_error(stage: ClientStage) -> str:
    """A fatal ERROR: the session is over, no CONTROL follows."""
    stage.open_session()
    stage.refuse(ErrorCode.INTERNAL, "a trial: a fault of the server", fatal=True)
    stage.play_on(_SETTLE_US)
    return _quiet(stage)


def resume(stage: ClientStage) -> str:
    """session_expired: resumes with id and token, and goes on above last_seq; or ends."""
    said = stage.open_session()
    last_seq = stage.wait_for_controls(5)[-1].seq
    stage.refuse(ErrorCode.SESSION_EXPIRED, "a trial: nothing heard for 3 s", fatal=True)
    hello = _hello_again(stage, 1)
    require(
        (hello.session_id, hello.resume_token) in ((said.session_id, said.resume_token), ("", "")),
        f"HELLO with session_id {hello.session_id!r}, expected WELCOME's {said.session_id!r} and its resume_token",
    )
    if not hello.session_id:
        stage.welcome()
        stage.wait_for_controls(3)
        raise Declined("opens a new session instead")
    last_seq = max(last_seq, stage.newest_seq)
    stage.welcome(resumed=True, last_seq=last_seq + 1000)
    first = stage.wait_for_controls(3)[0]
    # Some may have been sent before WELCOME was read.
    stage.wait_for(lambda: stage.newest_seq > last_seq + 1000, f"seq above WELCOME's last_seq {last_seq + 1000}")
    stage.wait_until_named(stage.newest_sent_seq)
    return f"went on at seq {first.seq}"


def restart(stage: ClientStage) -> str:
    """Another server at the same address: HELLO again, and no frame of the old session named; or ends."""
    stage.open_session()
    stage.wait_for_controls(5)
    stage.restart()
    hello = _hello_again(stage, 1)
    stage.welcome()
    # A client that asked to resume may take the new session, or give up; it must not play on as if nothing was.
    before = len(stage.controls)
    stage.play_on(_WATCH_US)
    stage.wait_for(lambda: len(stage.controls) > before or stage.over, "CONTROLs in the new session, BYE, or its end")
    if stage.over:
        raise Declined("ends when its session is lost")
    stage.wait_until_named(stage.newest_sent_seq)
    return "resumes" if hello.session_id else "opens a new session"


def _hello_again(stage: ClientStage, before: int) -> Hello:
    stage.wait_for(
        lambda: len(stage.hellos) > before or stage.over, "HELLO with the resume token, BYE, or the process's end"
    )
    if len(stage.hellos) == before:
        raise Declined("ends when its session is lost")
    return stage.hellos[-1]


def _quiet(stage: ClientStage) -> str:
    """After an end: a client stops, or says HELLO anew."""
    stray = stage.stray_controls
    stage.play_on(_WATCH_US)
    after = stage.stray_controls - stray
    require(after == 0, f"{after} CONTROLs in {_WATCH_US / 1e6:g} s after the session's end")
    if len(stage.hellos) > 1:
        return "says HELLO anew"
    return "its process ended" if not stage.running else "silent"
