from typing import Any

import msgspec
import pytest

from bridge.config import ServeConfig
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.messages import Busy, Bye, Control, ErrorMessage, Hello, Message, Ping, Pong, Welcome
from bridge.session.events import Closed, ControlAccepted, Lost, Opened, Send
from bridge.session.registry import Addressed, Lobby
from bridge.session.session import Session
from bridge.session.states import SessionState
from tests.valid_messages import HELLO, OFFER

CONTROL = Control(seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0)


def new_lobby(**changed: Any) -> Lobby:
    secrets = (f"secret-{number}" for number in range(1000))
    config = ServeConfig(**{"max_sessions": 2, "resume_window_us": 10_000_000, **changed})
    return Lobby(offer=OFFER, config=config, new_secret=lambda: next(secrets))


def sent(addressed: list[Addressed]) -> list[tuple[bytes, Message]]:
    return [(one.peer, one.output.message) for one in addressed if isinstance(one.output, Send)]


def welcome_of(addressed: list[Addressed]) -> Welcome:
    (found,) = [message for _, message in sent(addressed) if isinstance(message, Welcome)]
    return found


def session_of(addressed: list[Addressed]) -> Session:
    found = addressed[-1].session
    assert found is not None
    return found


def resume(welcome: Welcome, **changed: Any) -> Hello:
    return msgspec.structs.replace(
        HELLO, **{"session_id": welcome.session_id, "resume_token": welcome.resume_token, **changed}
    )


def test_two_peers_have_two_sessions() -> None:
    lobby = new_lobby()
    first, second = welcome_of(lobby.receive(b"a", HELLO, 0)), welcome_of(lobby.receive(b"b", HELLO, 0))
    assert len({first.session_id, first.resume_token, second.session_id, second.resume_token}) == 4
    (accepted,) = lobby.receive(b"a", CONTROL, 1)
    assert isinstance(accepted.output, ControlAccepted)
    assert accepted.session is not None
    assert accepted.session.session_id == first.session_id
    assert len(lobby) == 2


def test_control_before_hello_is_refused_and_leaves_nothing_behind() -> None:
    lobby = new_lobby()
    ((peer, error),) = sent(lobby.receive(b"a", CONTROL, 0))
    assert peer == b"a"
    assert isinstance(error, ErrorMessage)
    assert (error.code, error.fatal, error.seq) == (ErrorCode.UNEXPECTED_MESSAGE, True, 0)
    assert len(lobby) == 0
    assert isinstance(sent(lobby.receive(b"a", HELLO, 1))[0][1], Welcome)


def test_who_cannot_be_served_beside_the_others_is_told_busy_and_why() -> None:
    lobby = Lobby(
        offer=OFFER,
        config=ServeConfig(max_sessions=8),
        refusal=lambda now_us, active: "too slow for two" if active and now_us < 100 else None,
    )
    first = welcome_of(lobby.receive(b"a", HELLO, 0))
    ((peer, busy),) = sent(lobby.receive(b"b", HELLO, 0))
    assert (peer, busy) == (b"b", Busy(text="too slow for two", retry_after_us=5_000_000))
    assert len(lobby) == 1
    assert welcome_of(lobby.receive(b"b", HELLO, 100)).session_id != first.session_id
    lobby.receive(b"a", Bye(), 100)


def test_a_session_that_is_known_comes_back_however_crowded_it_is() -> None:
    lobby = Lobby(offer=OFFER, config=ServeConfig(), refusal=lambda now_us, active: "full" if active else None)
    welcome = welcome_of(lobby.receive(b"a", HELLO, 0))
    assert welcome_of(lobby.receive(b"b", resume(welcome), 1)).resumed


def test_bytes_from_a_stranger_are_refused_and_leave_nothing_behind() -> None:
    lobby = new_lobby()
    refusal = lobby.refuse(b"a", RemoteProtocolError(ErrorCode.BAD_FRAMING, "x"), 0)
    assert [type(message) for _, message in sent(refusal)] == [ErrorMessage]
    assert len(lobby) == 0


def test_a_full_house_is_busy_and_nobody_inside_notices() -> None:
    lobby = new_lobby()
    lobby.receive(b"a", HELLO, 0)
    lobby.receive(b"b", HELLO, 0)
    assert [type(message) for _, message in sent(lobby.receive(b"c", HELLO, 0))] == [Busy]
    assert isinstance(lobby.receive(b"a", CONTROL, 1)[0].output, ControlAccepted)
    lobby.receive(b"b", Bye(), 2)
    assert isinstance(sent(lobby.receive(b"c", HELLO, 3))[0][1], Welcome)


def test_a_lost_session_makes_room_when_it_must() -> None:
    lobby = new_lobby()
    lobby.receive(b"a", HELLO, 0)
    lobby.receive(b"b", HELLO, 0)
    assert isinstance(lobby.unreachable(b"a", 1)[0].output, Lost)
    assert len(lobby) == 2
    outputs = lobby.receive(b"c", HELLO, 2)
    assert [type(one.output) for one in outputs] == [Closed, Send, Opened]
    assert len(lobby) == 2


@pytest.mark.parametrize("loss", ["unreachable", "silent"])
def test_bye_ends_the_session_that_its_connection_has_lost(loss: str) -> None:
    lobby = new_lobby()
    session = session_of(lobby.receive(b"a", HELLO, 0))
    if loss == "silent":
        lobby.tick(60_000_000)
    else:
        lobby.unreachable(b"a", 1)
    assert session.state is SessionState.LOST
    assert [type(one.output) for one in lobby.receive(b"b", Bye(), 60_000_001)] == []
    assert [type(one.output) for one in lobby.receive(b"a", Bye(reason="done"), 60_000_002)] == [Closed]
    assert len(lobby) == 0


@pytest.mark.parametrize("end", ["expiry", "room"])
def test_a_lost_session_ends_without_touching_the_one_that_its_connection_carries_now(end: str) -> None:
    lobby = new_lobby()
    old = session_of(lobby.receive(b"a", HELLO, 0))
    lobby.tick(60_000_000)
    assert old.state is SessionState.LOST
    new = session_of(lobby.receive(b"a", HELLO, 60_000_001))
    assert new is not old
    if end == "expiry":
        lobby.receive(b"a", Pong(t_us=0), 70_000_000)
        ended = lobby.tick(70_000_001)
    else:
        ended = lobby.receive(b"c", HELLO, 60_000_002)
    assert old.state is SessionState.CLOSED
    assert [message for peer, message in sent(ended) if peer == b"a"] == []
    (accepted,) = lobby.receive(b"a", CONTROL, 70_000_002)
    assert accepted.session is new
    assert isinstance(accepted.output, ControlAccepted)


def test_a_lost_session_survives_whatever_its_connection_says_and_is_resumed_there() -> None:
    lobby = new_lobby()
    opened = lobby.receive(b"a", HELLO, 0)
    lobby.tick(60_000_000)
    bad = RemoteProtocolError(ErrorCode.BAD_MESH, "part 1: no area", in_reply_to="SCENE")
    for refusal in (lobby.receive(b"a", CONTROL, 60_000_001), lobby.refuse(b"a", bad, 60_000_002)):
        ((_, error),) = sent(refusal)
        assert isinstance(error, ErrorMessage)
        assert (error.code, error.fatal) == (ErrorCode.UNEXPECTED_MESSAGE, True)
    assert "bad_mesh: part 1" in error.text
    assert session_of(opened).state is SessionState.LOST
    assert welcome_of(lobby.receive(b"a", resume(welcome_of(opened)), 60_000_003)).resumed


def test_a_lost_session_is_resumed_under_another_routing_id() -> None:
    lobby = new_lobby()
    opened = lobby.receive(b"a", HELLO, 0)
    lobby.receive(b"a", msgspec.structs.replace(CONTROL, seq=41), 0)
    lobby.unreachable(b"a", 1)
    again = lobby.receive(b"b", resume(welcome_of(opened)), 2)
    assert (welcome_of(again).resumed, welcome_of(again).last_seq) == (True, 41)
    assert session_of(again) is session_of(opened)
    assert lobby.peer_of(session_of(again)) == b"b"
    assert len(lobby) == 1


def test_a_session_is_resumed_even_before_its_loss_was_noticed() -> None:
    lobby = new_lobby()
    opened = lobby.receive(b"a", HELLO, 0)
    again = lobby.receive(b"b", resume(welcome_of(opened)), 1)
    assert welcome_of(again).resumed
    assert session_of(again).state is SessionState.ACTIVE
    ((_, stale),) = sent(lobby.receive(b"a", CONTROL, 2))
    assert isinstance(stale, ErrorMessage)
    assert isinstance(lobby.receive(b"b", CONTROL, 3)[0].output, ControlAccepted)


def test_the_same_connection_may_resume_after_a_silence() -> None:
    lobby = new_lobby()
    opened = lobby.receive(b"a", HELLO, 0)
    lobby.tick(60_000_000)
    assert session_of(opened).state is SessionState.LOST
    assert welcome_of(lobby.receive(b"a", resume(welcome_of(opened)), 60_000_001)).resumed


def test_a_wrong_token_opens_a_new_session_and_disturbs_nobody() -> None:
    lobby = new_lobby()
    opened = welcome_of(lobby.receive(b"a", HELLO, 0))
    for token in ("", "guess", opened.resume_token[:-1]):
        thief = welcome_of(lobby.receive(b"thief", resume(opened, resume_token=token), 1))
        assert not thief.resumed
        assert thief.session_id != opened.session_id
        lobby.receive(b"thief", Bye(), 2)
    assert isinstance(lobby.receive(b"a", CONTROL, 3)[0].output, ControlAccepted)


def test_a_resume_with_another_version_ends_that_session() -> None:
    lobby = new_lobby()
    opened = welcome_of(lobby.receive(b"a", HELLO, 0))
    outputs = lobby.receive(b"b", resume(opened, version_major=9), 1)
    assert [type(one.output) for one in outputs] == [Lost, Send, Closed]
    assert len(lobby) == 0


def test_time_passes_for_every_session() -> None:
    lobby = new_lobby(heartbeat_us=1_000_000)
    assert lobby.next_tick_us is None
    lobby.receive(b"a", HELLO, 0)
    lobby.receive(b"b", HELLO, 500_000)
    assert lobby.next_tick_us == 1_000_000
    assert sent(lobby.tick(1_500_000)) == [(b"a", Ping(t_us=1_500_000)), (b"b", Ping(t_us=1_500_000))]
    lobby.tick(60_000_000)
    lobby.tick(60_000_000 + 10_000_000)
    assert len(lobby) == 0


def test_closing_says_bye_to_all() -> None:
    lobby = new_lobby()
    lobby.receive(b"a", HELLO, 0)
    lobby.receive(b"b", HELLO, 0)
    assert sent(lobby.close("stop")) == [(b"a", Bye(reason="stop")), (b"b", Bye(reason="stop"))]
    assert len(lobby) == 0
    assert list(lobby) == []


def test_unreachable_strangers_are_nothing() -> None:
    assert new_lobby().unreachable(b"x", 0) == []
