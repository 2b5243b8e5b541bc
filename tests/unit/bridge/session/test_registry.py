from typing import Any

import msgspec
import pytest

from bridge.config import ServeConfig
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.messages import Busy, Bye, Control, ErrorMessage, Hello, Message, Ping, Pong, Welcome
from bridge.session.events import Closed, ControlAccepted, Lost, Opened, Send
from bridge.session.registry import Outgoing, SessionRegistry
from bridge.session.session import Session
from bridge.session.states import SessionState
from tests.valid_messages import HELLO, OFFER

CONTROL = Control(seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0)


def new_lobby(**changed: Any) -> SessionRegistry:
    secrets = (f"secret-{number}" for number in range(1000))
    config = ServeConfig(**{"max_sessions": 2, "resume_window_us": 10_000_000, **changed})
    return SessionRegistry(offer=OFFER, config=config, new_secret=lambda: next(secrets))


def sent(addressed: list[Outgoing]) -> list[tuple[bytes, Message]]:
    return [(one.peer, one.output.message) for one in addressed if isinstance(one.output, Send)]


def welcome_of(addressed: list[Outgoing]) -> Welcome:
    (found,) = [message for _, message in sent(addressed) if isinstance(message, Welcome)]
    return found


def session_of(addressed: list[Outgoing]) -> Session:
    found = addressed[-1].session
    assert found is not None
    return found


def resume(welcome: Welcome, **changed: Any) -> Hello:
    return msgspec.structs.replace(
        HELLO, **{"session_id": welcome.session_id, "resume_token": welcome.resume_token, **changed}
    )


def test_two_peers_have_two_sessions() -> None:
    registry = new_lobby()
    first, second = welcome_of(registry.receive(b"a", HELLO, 0)), welcome_of(registry.receive(b"b", HELLO, 0))
    assert len({first.session_id, first.resume_token, second.session_id, second.resume_token}) == 4
    (accepted,) = registry.receive(b"a", CONTROL, 1)
    assert isinstance(accepted.output, ControlAccepted)
    assert accepted.session is not None
    assert accepted.session.session_id == first.session_id
    assert len(registry) == 2


def test_control_before_hello_is_refused_and_leaves_nothing_behind() -> None:
    registry = new_lobby()
    ((peer, error),) = sent(registry.receive(b"a", CONTROL, 0))
    assert peer == b"a"
    assert isinstance(error, ErrorMessage)
    assert (error.code, error.fatal, error.seq) == (ErrorCode.UNEXPECTED_MESSAGE, True, 0)
    assert len(registry) == 0
    assert isinstance(sent(registry.receive(b"a", HELLO, 1))[0][1], Welcome)


def test_who_cannot_be_served_beside_the_others_is_told_busy_and_why() -> None:
    registry = SessionRegistry(
        offer=OFFER,
        config=ServeConfig(max_sessions=8),
        refusal=lambda now_us, active: "too slow for two" if active and now_us < 100 else None,
    )
    first = welcome_of(registry.receive(b"a", HELLO, 0))
    ((peer, busy),) = sent(registry.receive(b"b", HELLO, 0))
    assert (peer, busy) == (b"b", Busy(text="too slow for two", retry_after_us=5_000_000))
    assert len(registry) == 1
    assert welcome_of(registry.receive(b"b", HELLO, 100)).session_id != first.session_id
    registry.receive(b"a", Bye(), 100)


def test_a_session_that_is_known_comes_back_however_crowded_it_is() -> None:
    registry = SessionRegistry(
        offer=OFFER, config=ServeConfig(), refusal=lambda now_us, active: "full" if active else None
    )
    welcome = welcome_of(registry.receive(b"a", HELLO, 0))
    assert welcome_of(registry.receive(b"b", resume(welcome), 1)).resumed


def test_bytes_from_a_stranger_are_refused_and_leave_nothing_behind() -> None:
    registry = new_lobby()
    refusal = registry.refuse(b"a", RemoteProtocolError(ErrorCode.BAD_FRAMING, "x"), 0)
    assert [type(message) for _, message in sent(refusal)] == [ErrorMessage]
    assert len(registry) == 0


def test_a_full_house_is_busy_and_nobody_inside_notices() -> None:
    registry = new_lobby()
    registry.receive(b"a", HELLO, 0)
    registry.receive(b"b", HELLO, 0)
    assert [type(message) for _, message in sent(registry.receive(b"c", HELLO, 0))] == [Busy]
    assert isinstance(registry.receive(b"a", CONTROL, 1)[0].output, ControlAccepted)
    registry.receive(b"b", Bye(), 2)
    assert isinstance(sent(registry.receive(b"c", HELLO, 3))[0][1], Welcome)


def test_a_lost_session_makes_room_when_it_must() -> None:
    registry = new_lobby()
    registry.receive(b"a", HELLO, 0)
    registry.receive(b"b", HELLO, 0)
    assert isinstance(registry.unreachable(b"a", 1)[0].output, Lost)
    assert len(registry) == 2
    outputs = registry.receive(b"c", HELLO, 2)
    assert [type(one.output) for one in outputs] == [Closed, Send, Opened]
    assert len(registry) == 2


@pytest.mark.parametrize("loss", ["unreachable", "silent"])
def test_bye_ends_the_session_that_its_connection_has_lost(loss: str) -> None:
    registry = new_lobby()
    session = session_of(registry.receive(b"a", HELLO, 0))
    if loss == "silent":
        registry.tick(60_000_000)
    else:
        registry.unreachable(b"a", 1)
    assert session.state is SessionState.LOST
    assert [type(one.output) for one in registry.receive(b"b", Bye(), 60_000_001)] == []
    assert [type(one.output) for one in registry.receive(b"a", Bye(reason="done"), 60_000_002)] == [Closed]
    assert len(registry) == 0


@pytest.mark.parametrize("end", ["expiry", "room"])
def test_a_lost_session_ends_without_touching_the_one_that_its_connection_carries_now(end: str) -> None:
    registry = new_lobby()
    old = session_of(registry.receive(b"a", HELLO, 0))
    registry.tick(60_000_000)
    assert old.state is SessionState.LOST
    new = session_of(registry.receive(b"a", HELLO, 60_000_001))
    assert new is not old
    if end == "expiry":
        registry.receive(b"a", Pong(t_us=0), 70_000_000)
        ended = registry.tick(70_000_001)
    else:
        ended = registry.receive(b"c", HELLO, 60_000_002)
    assert old.state is SessionState.CLOSED
    assert [message for peer, message in sent(ended) if peer == b"a"] == []
    (accepted,) = registry.receive(b"a", CONTROL, 70_000_002)
    assert accepted.session is new
    assert isinstance(accepted.output, ControlAccepted)


def test_a_lost_session_survives_whatever_its_connection_says_and_is_resumed_there() -> None:
    registry = new_lobby()
    opened = registry.receive(b"a", HELLO, 0)
    registry.tick(60_000_000)
    bad = RemoteProtocolError(ErrorCode.BAD_MESH, "part 1: no area", in_reply_to="SCENE")
    for refusal in (registry.receive(b"a", CONTROL, 60_000_001), registry.refuse(b"a", bad, 60_000_002)):
        ((_, error),) = sent(refusal)
        assert isinstance(error, ErrorMessage)
        assert (error.code, error.fatal) == (ErrorCode.UNEXPECTED_MESSAGE, True)
    assert "bad_mesh: part 1" in error.text
    assert session_of(opened).state is SessionState.LOST
    assert welcome_of(registry.receive(b"a", resume(welcome_of(opened)), 60_000_003)).resumed


def test_a_lost_session_is_resumed_under_another_routing_id() -> None:
    registry = new_lobby()
    opened = registry.receive(b"a", HELLO, 0)
    registry.receive(b"a", msgspec.structs.replace(CONTROL, seq=41), 0)
    registry.unreachable(b"a", 1)
    again = registry.receive(b"b", resume(welcome_of(opened)), 2)
    assert (welcome_of(again).resumed, welcome_of(again).last_seq) == (True, 41)
    assert session_of(again) is session_of(opened)
    assert registry.peer_of(session_of(again)) == b"b"
    assert len(registry) == 1


def test_a_session_is_resumed_even_before_its_loss_was_noticed() -> None:
    registry = new_lobby()
    opened = registry.receive(b"a", HELLO, 0)
    again = registry.receive(b"b", resume(welcome_of(opened)), 1)
    assert welcome_of(again).resumed
    assert session_of(again).state is SessionState.ACTIVE
    ((_, stale),) = sent(registry.receive(b"a", CONTROL, 2))
    assert isinstance(stale, ErrorMessage)
    assert isinstance(registry.receive(b"b", CONTROL, 3)[0].output, ControlAccepted)


def test_the_same_connection_may_resume_after_a_silence() -> None:
    registry = new_lobby()
    opened = registry.receive(b"a", HELLO, 0)
    registry.tick(60_000_000)
    assert session_of(opened).state is SessionState.LOST
    assert welcome_of(registry.receive(b"a", resume(welcome_of(opened)), 60_000_001)).resumed


def test_a_wrong_token_opens_a_new_session_and_disturbs_nobody() -> None:
    registry = new_lobby()
    opened = welcome_of(registry.receive(b"a", HELLO, 0))
    for token in ("", "guess", opened.resume_token[:-1]):
        thief = welcome_of(registry.receive(b"thief", resume(opened, resume_token=token), 1))
        assert not thief.resumed
        assert thief.session_id != opened.session_id
        registry.receive(b"thief", Bye(), 2)
    assert isinstance(registry.receive(b"a", CONTROL, 3)[0].output, ControlAccepted)


def test_a_resume_with_another_version_ends_that_session() -> None:
    registry = new_lobby()
    opened = welcome_of(registry.receive(b"a", HELLO, 0))
    outputs = registry.receive(b"b", resume(opened, version_major=9), 1)
    assert [type(one.output) for one in outputs] == [Lost, Send, Closed]
    assert len(registry) == 0


def test_time_passes_for_every_session() -> None:
    registry = new_lobby(heartbeat_us=1_000_000)
    assert registry.next_tick_us is None
    registry.receive(b"a", HELLO, 0)
    registry.receive(b"b", HELLO, 500_000)
    assert registry.next_tick_us == 1_000_000
    assert sent(registry.tick(1_500_000)) == [(b"a", Ping(t_us=1_500_000)), (b"b", Ping(t_us=1_500_000))]
    registry.tick(60_000_000)
    registry.tick(60_000_000 + 10_000_000)
    assert len(registry) == 0


def test_closing_says_bye_to_all() -> None:
    registry = new_lobby()
    registry.receive(b"a", HELLO, 0)
    registry.receive(b"b", HELLO, 0)
    assert sent(registry.close("stop")) == [(b"a", Bye(reason="stop")), (b"b", Bye(reason="stop"))]
    assert len(registry) == 0
    assert list(registry) == []


def test_unreachable_strangers_are_nothing() -> None:
    assert new_lobby().unreachable(b"x", 0) == []
