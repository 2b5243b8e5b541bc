import math

import msgspec
import numpy as np
import pytest

from bridge.client.jitter_buffer import JitterBufferConfig
from bridge.client.protocol_core import ClientCore
from bridge.client.types import Camera
from bridge.errors import ErrorCode, RemoteProtocolError, SessionBusy, SessionClosed
from bridge.protocol.messages import Busy, Bye, ErrorMessage, Event, Ping, Pong, Reset, SceneUpdate, Source, Stats
from tests.client_talk import CAMERA, answer, opened, send, take
from tests.valid_messages import HELLO, WELCOME


def test_controls_count_up_and_take_numbers_of_any_kind() -> None:
    core = opened()
    camera = Camera(position=tuple(np.arange(3)), rotation=tuple(np.float32([0, 0, 0, 1])), vertical_fov_deg=60)
    control = core.control(camera, "run", [Event(kind="door")], 5, teleport=True)
    assert (control.seq, control.t_us, control.position, control.teleport) == (0, 5, (0.0, 1.0, 2.0), True)
    assert all(type(value) is float for value in (*control.position, *control.rotation, control.vertical_fov_deg))
    core.sent(control)
    assert core.control(CAMERA, "", (), 6, teleport=False).seq == 1


def test_a_control_that_could_not_be_sent_leaves_no_gap() -> None:
    core = opened()
    core.control(CAMERA, "", (), 0, teleport=False)
    assert core.control(CAMERA, "", (), 1, teleport=False).seq == 0
    assert core.counts.controls == 0


def test_only_the_newest_frame_is_returned_and_only_once() -> None:
    core = opened()
    for tick in range(3):
        send(core, tick)
    answer(core, 0, 10)
    answer(core, 2, 11)
    answer(core, 1, 12)
    frame = core.take_newest(0)
    assert frame is not None
    assert frame.seq == 2
    assert frame.pixels.tolist() == [[[2, 1, 2], [3, 4, 5]]]
    assert core.take_newest(0) is None
    assert core.counts.answered == 2


@pytest.mark.parametrize("seq", [0, 1, 2, 999])
def test_a_frame_that_was_read_or_answers_nothing_is_ignored(seq: int) -> None:
    core = opened()
    for tick in range(2):
        send(core, tick)
    answer(core, 1, 10)
    answer(core, seq, 11, source=Source.HELD)
    assert (core.counts.answered, len(core.take_answers())) == (1, 1)
    frame = core.take_newest(20)
    assert frame is not None
    assert frame.seq == 1
    assert core.control(CAMERA, "", (), 30, teleport=False).frame_received_seq == 1


def test_every_answer_is_counted_and_told_of_whether_it_is_returned_or_not() -> None:
    core = opened()
    for tick in range(4):
        send(core, tick * 10_000)
    for seq, source in enumerate([Source.HELD, Source.GENERATED, Source.REPROJECTED]):
        answer(core, seq, 20_000, source=source)
    frame = core.take_newest(0)
    assert frame is not None
    assert frame.seq == 2
    counts = core.counts
    assert counts.by_source == {Source.GENERATED: 1, Source.REPROJECTED: 1, Source.HELD: 1}
    assert (counts.controls, counts.answered, counts.unanswered) == (4, 3, 1)
    assert (counts.in_budget, counts.late) == (2, 1)
    told = core.take_answers()
    assert [(one.seq, one.source, one.latency_ms) for one in told] == [
        (0, Source.HELD, 20.0), (1, Source.GENERATED, 10.0), (2, Source.REPROJECTED, 0.0),
    ]  # fmt: skip
    assert core.take_answers() == []


def test_answers_that_nobody_asks_for_do_not_pile_up() -> None:
    core = opened()
    for tick in range(1_100):
        answer(core, send(core, tick), tick)
    told = core.take_answers()
    assert (len(told), told[-1].seq) == (1024, 1_099)


def test_the_age_that_a_player_feels_is_measured_on_the_clients_clock_alone() -> None:
    core = opened()
    for tick in range(4):
        send(core, 100_000 + 16_000 * tick)
    answer(core, 3, 160_000, t_us=148_000, control_t_us=116_000, server_t_us=9_000_000)
    (told,) = core.take_answers()
    assert told.age_ms == 44.0
    best = core.clock_sync.best
    assert best is not None
    assert best.round_trip_us == 12_000 - 1_000
    assert best.offset_us == (9_000_000 - 1_000 - 148_000 + 9_000_000 - 160_000) // 2


def test_a_buffered_frame_is_returned_when_its_time_has_come() -> None:
    core = opened(playout=JitterBufferConfig(fixed_us=20_000))
    send(core, 0)
    answer(core, 0, 5_000)
    assert core.take_newest(24_000) is None
    frame = core.take_newest(25_000)
    assert frame is not None
    assert frame.seq == 0


def test_latency_age_and_lateness_are_the_clients_own() -> None:
    core = opened()
    send(core, 100_000)
    answer(core, 0, 118_000)
    frame = core.take_newest(0)
    assert frame is not None
    assert frame.latency_ms == 18.0
    assert frame.age_ms == 20.0 + 18.0 - 1.0
    control = core.control(CAMERA, "", (), 0, teleport=False)
    assert (control.lateness_us, control.frame_received_seq) == (2_000, 0)
    assert (core.counts.late, core.counts.in_budget) == (1, 0)


def test_unanswered_is_what_is_left() -> None:
    core = opened()
    for tick in range(4):
        send(core, tick)
    answer(core, 1, 5)
    take(core, ErrorMessage(code=ErrorCode.BAD_SEQUENCE, text="", seq=2, in_reply_to="CONTROL"))
    assert (core.counts.controls, core.counts.answered, core.counts.refused, core.counts.unanswered) == (4, 1, 1, 3)
    assert [error.seq for error in core.errors] == [2]


def test_ping_is_answered_and_stats_are_kept() -> None:
    core = opened()
    assert take(core, Ping(t_us=9)) == [Pong(t_us=9)]
    assert take(core, Stats(controls=3)) == []
    assert core.stats == Stats(controls=3)


def test_busy_and_bye_have_their_errors() -> None:
    with pytest.raises(SessionBusy, match="full") as caught:
        take(ClientCore(HELLO), Busy(text="full", retry_after_us=7))
    assert caught.value.retry_after_us == 7
    with pytest.raises(SessionClosed, match="shutdown"):
        take(opened(), Bye(reason="shutdown"))


@pytest.mark.parametrize(("in_reply_to", "fatal"), [("SCENE", False), ("RESET", False), ("HELLO", True), ("", True)])
def test_refusals_that_a_game_must_know_are_raised(in_reply_to: str, fatal: bool) -> None:
    with pytest.raises(RemoteProtocolError, match="bad") as caught:
        take(opened(), ErrorMessage(code=ErrorCode.BAD_MESH, text="bad", fatal=fatal, in_reply_to=in_reply_to))
    assert (caught.value.code, caught.value.fatal) == (ErrorCode.BAD_MESH, fatal)


def test_an_expired_session_is_resumed_with_its_token_once() -> None:
    core = opened()
    send(core, 0)
    expired = ErrorMessage(code=ErrorCode.SESSION_EXPIRED, text="", fatal=True)
    stray = ErrorMessage(code=ErrorCode.UNEXPECTED_MESSAGE, text="", fatal=True, seq=0, in_reply_to="CONTROL")
    assert take(core, expired) == [msgspec.structs.replace(HELLO, session_id="id", resume_token="secret")]
    assert take(core, stray) == []
    assert core.counts.refused == 1
    take(core, msgspec.structs.replace(WELCOME, resumed=True, last_seq=40))
    assert send(core, 1) == 41
    assert len(take(core, stray)) == 1


def test_a_hello_that_was_lost_is_said_again() -> None:
    core = opened()
    send(core, 0)
    refused = ErrorMessage(code=ErrorCode.UNEXPECTED_MESSAGE, text="", fatal=True, seq=0, in_reply_to="CONTROL")
    assert len(take(core, refused)) == 1
    after = send(core, 1)  # behind HELLO on the same connection: a server that refuses it has not seen HELLO
    assert len(take(core, msgspec.structs.replace(refused, seq=after))) == 1
    assert take(core, msgspec.structs.replace(refused, seq=after)) == []


def test_what_a_lost_session_refused_is_told_again_when_it_is_resumed() -> None:
    core = opened()
    told = [SceneUpdate(replace=True), Reset(seed=1), SceneUpdate(prompt="night")]
    core.told(told[0])
    send(core, 0)
    answer(core, 0, now_us=1)  # the first one was heard
    for message in told[1:]:
        core.told(message)
    assert take(core, ErrorMessage(code=ErrorCode.SESSION_EXPIRED, text="", fatal=True)) == [core.hello()]
    for name in ("RESET", "SCENE"):
        refused = ErrorMessage(code=ErrorCode.UNEXPECTED_MESSAGE, text="", fatal=True, in_reply_to=name)
        assert take(core, refused) == []
    resumed = msgspec.structs.replace(WELCOME, resumed=True, last_seq=0)
    assert take(core, resumed) == told[1:]
    assert take(core, resumed) == []


def test_only_what_left_after_the_session_was_lost_is_told_again() -> None:
    core = opened()
    registry, level, night = (SceneUpdate(replace=True, prompt=name) for name in ("lobby", "level", "night"))
    core.told(registry)  # heard, though no control was answered since: the game fell silent
    core.told(level)
    refused = ErrorMessage(code=ErrorCode.UNEXPECTED_MESSAGE, text="", fatal=True, in_reply_to="SCENE")
    assert take(core, refused) == [core.hello()]
    core.told(night)  # behind HELLO
    resumed = msgspec.structs.replace(WELCOME, resumed=True, last_seq=0)
    assert take(core, resumed) == [level]


def test_a_server_that_forgot_the_session_ends_it() -> None:
    core = opened()
    take(core, ErrorMessage(code=ErrorCode.SESSION_EXPIRED, text="", fatal=True))
    with pytest.raises(SessionClosed, match="no longer has"):
        take(core, WELCOME)


def test_before_welcome_nothing_is_resumed() -> None:
    with pytest.raises(RemoteProtocolError):
        take(ClientCore(HELLO), ErrorMessage(code=ErrorCode.UNEXPECTED_MESSAGE, text="", fatal=True))


def test_lateness_is_never_nan() -> None:
    core = opened()
    for tick in range(1030):
        send(core, tick)
    answer(core, 0, 3)  # it is not remembered any more when it was sent
    frame = core.take_newest(0)
    assert frame is not None
    assert math.isfinite(frame.latency_ms)
