import dataclasses
from typing import Any

import msgspec
import pytest

from bridge.config import ServeConfig
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.messages import (
    Axes,
    Bye,
    Control,
    ErrorMessage,
    FrameHeader,
    Message,
    Part,
    PartMove,
    Ping,
    PixelFormat,
    Pong,
    Reset,
    Save,
    SceneUpdate,
    Shape,
    Source,
    StatsRequest,
    Welcome,
)
from bridge.session.events import (
    Closed,
    ControlAccepted,
    Lost,
    Opened,
    Output,
    ResetAccepted,
    SaveRequested,
    SceneAccepted,
    Send,
    StatsRequested,
)
from bridge.session.session import MAX_STRIKES, Session
from bridge.session.states import SessionState
from tests import valid_messages as sound_messages
from tests.valid_messages import HELLO, frame_header

OFFER = dataclasses.replace(sound_messages.OFFER, capabilities=("pictures", "save"), pixel_formats=(PixelFormat.RGB8,))
CONFIG = ServeConfig(heartbeat_us=1_000_000, missed_heartbeats=3, resume_window_us=10_000_000, max_credit=4)
BOX = Part(id=1, shape=Shape.BOX, position=(0.0, 0.0, 0.0))


def new_session() -> Session:
    return Session(offer=OFFER, config=CONFIG, session_id="id", resume_token="secret", now_us=0)


def active_session(**changed: Any) -> Session:
    session = new_session()
    session.receive(msgspec.structs.replace(HELLO, **changed), 0)
    return session


def control(seq: int, **changed: Any) -> Control:
    base = Control(seq=seq, t_us=seq, position=(1.0, 2.0, 3.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0)
    return msgspec.structs.replace(base, **changed)


def header(seq: int, **changed: Any) -> FrameHeader:
    return frame_header(seq, **{"source": Source.HELD, "position": (1.0, 2.0, -3.0), **changed})


def the_error(outputs: list[Output]) -> ErrorMessage:
    first = outputs[0]
    assert isinstance(first, Send)
    assert isinstance(first.message, ErrorMessage)
    return first.message


def test_hello_is_answered_by_welcome() -> None:
    outputs = new_session().receive(msgspec.structs.replace(HELLO, credit=8, axes=Axes.UNITY), 0)
    assert isinstance(outputs[0], Send)
    welcome = outputs[0].message
    assert isinstance(welcome, Welcome)
    assert (welcome.session_id, welcome.resume_token, welcome.resumed) == ("id", "secret", False)
    assert (welcome.credit, welcome.axes, welcome.last_seq) == (4, Axes.UNITY, -1)
    assert outputs[1:] == [Opened(hello=msgspec.structs.replace(HELLO, credit=8, axes=Axes.UNITY), resumed=False)]


IMAGE = Reset(pictures=(bytes(3),), picture_width=1, picture_height=1)


@pytest.mark.parametrize("message", [IMAGE, Reset(restore="slot"), Save(name="slot")])
def test_what_the_server_does_not_offer_is_refused_and_the_session_goes_on(message: Message) -> None:
    able = active_session()
    assert able.receive(message, 1) == [
        SaveRequested(name="slot") if isinstance(message, Save) else ResetAccepted(reset=message)  # type: ignore[arg-type]
    ]
    session = Session(
        offer=dataclasses.replace(OFFER, capabilities=()), config=CONFIG, session_id="id", resume_token="", now_us=0
    )
    session.receive(HELLO, 0)
    error = the_error(session.receive(message, 1))
    assert (error.code, error.fatal) == (ErrorCode.UNSUPPORTED, False)
    assert "capability" in error.text
    assert session.state is SessionState.ACTIVE


def test_another_major_version_is_refused_by_name() -> None:
    session = new_session()
    outputs = session.receive(msgspec.structs.replace(HELLO, version_major=2), 0)
    error = the_error(outputs)
    assert (error.code, error.fatal) == (ErrorCode.VERSION_MISMATCH, True)
    assert "2.0" in error.text
    assert "1.1" in error.text
    assert isinstance(outputs[1], Closed)
    assert session.state is SessionState.CLOSED


def test_another_minor_version_is_welcome() -> None:
    assert active_session(version_minor=7).state is SessionState.ACTIVE


def test_pixel_formats_are_agreed_on_or_refused() -> None:
    assert active_session(pixel_formats=("avif", "jpeg", "rgb8")).pixel_format is PixelFormat.RGB8
    error = the_error(new_session().receive(msgspec.structs.replace(HELLO, pixel_formats=("avif",)), 0))
    assert (error.code, error.fatal) == (ErrorCode.UNSUPPORTED, True)


def test_control_comes_out_in_our_axes_with_its_deadline() -> None:
    session = active_session(axes=Axes.UNREAL, units_per_metre=100.0)
    outputs = session.receive(control(0, position=(300.0, 100.0, 200.0)), 5000)
    assert len(outputs) == 1
    accepted = outputs[0]
    assert isinstance(accepted, ControlAccepted)
    assert accepted.control.position == (1.0, 2.0, -3.0)
    assert (accepted.received_us, accepted.deadline_us) == (5000, 21_000)
    sent = session.answer(header(0), b"abcdef")[0]
    assert isinstance(sent, Send)
    assert isinstance(sent.message, FrameHeader)
    assert sent.message.position == (300.0, 100.0, 200.0)
    assert sent.pixels == b"abcdef"


@pytest.mark.parametrize("seq", [5, 4, 0])
def test_replayed_and_out_of_order_controls_are_refused_and_the_session_lives(seq: int) -> None:
    session = active_session()
    session.receive(control(5), 0)
    error = the_error(session.receive(control(seq), 1))
    assert (error.code, error.seq, error.fatal) == (ErrorCode.BAD_SEQUENCE, seq, False)
    assert isinstance(session.receive(control(6), 2)[0], ControlAccepted)
    assert (session.ledger.controls, session.ledger.refused) == (3, 1)


def test_reading_a_frame_that_was_never_sent_is_refused() -> None:
    session = active_session()
    assert the_error(session.receive(control(0, frame_received_seq=0), 0)).code is ErrorCode.BAD_SEQUENCE


def test_a_position_too_far_in_metres_is_refused() -> None:
    session = active_session(units_per_metre=0.001)
    error = the_error(session.receive(control(0, position=(1001.0, 0.0, 0.0)), 0))
    assert (error.code, error.seq) == (ErrorCode.INVALID_FIELD, 0)
    assert isinstance(session.receive(control(1, position=(999.0, 0.0, 0.0)), 0)[0], ControlAccepted)


def test_the_control_that_gives_credit_back_is_answered_itself() -> None:
    session = active_session(credit=1)
    answered = []
    for seq, read in enumerate([-1, -1, -1, 0, 3, 4]):
        accepted = session.receive(control(seq, frame_received_seq=read), seq)
        assert [type(output) for output in accepted] == [ControlAccepted]
        if session.answer(header(seq), b""):
            answered.append(seq)
    # What waited for credit is gone: a client with one frame under way is not one tick older from then on.
    assert answered == [0, 3, 4, 5]
    assert (session.ledger.answered, session.ledger.dropped, session.ledger.waiting) == (4, 2, 0)


def test_undecodable_bytes_are_answered_and_counted() -> None:
    session = active_session()
    refused = RemoteProtocolError(ErrorCode.INVALID_FIELD, "CONTROL: bad", seq=3, in_reply_to="CONTROL")
    error = the_error(session.refuse(refused, 0))
    assert (error.code, error.seq, error.in_reply_to, error.fatal) == (ErrorCode.INVALID_FIELD, 3, "CONTROL", False)
    session.refuse(RemoteProtocolError(ErrorCode.BAD_FRAMING, "bad"), 0)
    assert (session.ledger.controls, session.ledger.refused) == (1, 1)


def test_many_refusals_in_a_row_end_the_session_but_a_good_message_forgives() -> None:
    session = active_session()
    bad = RemoteProtocolError(ErrorCode.MALFORMED, "bad")
    for _ in range(MAX_STRIKES):
        session.refuse(bad, 0)
    session.receive(control(0), 0)
    for _ in range(MAX_STRIKES):
        assert not the_error(session.refuse(bad, 0)).fatal
    session.receive(Ping(t_us=0), 0)
    outputs = session.refuse(bad, 0)
    assert (the_error(outputs).code, the_error(outputs).fatal) == (ErrorCode.TOO_MANY_ERRORS, True)
    assert isinstance(outputs[1], Closed)


def test_reset_and_stats_pass_through_and_ping_is_answered() -> None:
    session = active_session()
    assert session.receive(Reset(seed=3), 0) == [ResetAccepted(reset=Reset(seed=3))]
    assert session.receive(StatsRequest(), 0) == [StatsRequested()]
    assert session.receive(Ping(t_us=77), 0) == [Send(message=Pong(t_us=77))]


def test_a_silent_client_is_asked_then_lost_then_forgotten() -> None:
    session = active_session()
    session.receive(control(0), 0)
    assert session.next_tick_us == 1_000_000
    assert session.tick(999_999) == []
    assert session.tick(1_000_000) == [Send(message=Ping(t_us=1_000_000))]
    assert session.tick(1_000_001) == []
    assert session.next_tick_us == 2_000_000
    assert len(session.tick(2_000_000)) == 1
    outputs = session.tick(3_000_000)
    assert (the_error(outputs).code, the_error(outputs).fatal) == (ErrorCode.SESSION_EXPIRED, True)
    assert isinstance(outputs[1], Lost)
    assert session.ledger.waiting == 0
    assert session.next_tick_us == 13_000_000
    assert session.tick(12_999_999) == []
    assert isinstance(session.tick(13_000_000)[0], Closed)


def test_a_client_that_answers_pings_lives() -> None:
    session = active_session()
    for second in range(1, 20):
        assert session.tick(second * 1_000_000) == [Send(message=Ping(t_us=second * 1_000_000))]
        session.receive(Pong(t_us=second * 1_000_000), second * 1_000_000 + 500)
        assert session.state is SessionState.ACTIVE
        session.receive(Ping(t_us=0), (second + 1) * 1_000_000 - 1_000_000)


def test_a_resumed_session_goes_on_where_it_was() -> None:
    session = active_session(credit=1)
    session.receive(SceneUpdate(replace=True, add=(BOX,)), 0)
    session.receive(control(7), 0)
    session.answer(header(7), b"")
    session.receive(control(8), 0)
    session.lose("gone", 1)
    assert session.answer(header(8), b"") == []
    outputs = session.receive(HELLO, 3)
    assert isinstance(outputs[0], Send)
    assert isinstance(outputs[0].message, Welcome)
    assert (outputs[0].message.resumed, outputs[0].message.last_seq) == (True, 8)
    assert isinstance(
        session.receive(SceneUpdate(move=(PartMove(id=1, position=(1.0, 0.0, 0.0)),)), 4)[0], SceneAccepted
    )
    assert the_error(session.receive(control(8), 4)).code is ErrorCode.BAD_SEQUENCE
    session.receive(control(9), 5)
    assert len(session.answer(header(9), b"")) == 1
    ledger = session.ledger
    assert (ledger.controls, ledger.answered, ledger.dropped, ledger.refused) == (4, 2, 1, 1)


def test_close_says_bye_once() -> None:
    session = active_session()
    outputs = session.close("shutdown")
    assert isinstance(outputs[0], Send)
    assert outputs[0].message == Bye(reason="shutdown")
    assert outputs[1:] == [Closed(reason="shutdown")]
    assert session.close("again") == []


def jpeg_qualities(bytes_of_quality: Any, *, seconds: float = 8.0) -> list[int]:
    """A session whose FRAMEs take 1 us a byte to be read: the client names each when it has it."""
    session = active_session(credit=2)
    now_us, read, free_at_us = 0, -1, 0
    under_way: list[tuple[int, int]] = []
    qualities = []
    for seq in range(round(seconds * 60)):
        now_us += 16_667
        while under_way and under_way[0][0] <= now_us:
            read = under_way.pop(0)[1]
        session.receive(control(seq, frame_received_seq=read), now_us)
        pixels = bytes(bytes_of_quality(session.jpeg_quality))
        if session.answer(header(seq), pixels):
            qualities.append(session.jpeg_quality)
            free_at_us = max(free_at_us, now_us) + len(pixels)
            under_way.append((free_at_us, seq))
    return qualities


def test_jpeg_quality_falls_on_a_narrow_link_and_stays_on_a_wide_one() -> None:
    assert min(jpeg_qualities(lambda quality: 500 * quality)) < 60  # 42 ms a frame at 85: too much for a tick
    assert set(jpeg_qualities(lambda quality: 50 * quality)) == {85}
