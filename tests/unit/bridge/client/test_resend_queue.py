"""Which messages a resumed session is told again."""

from __future__ import annotations

from bridge.client.resend_queue import ResendQueue
from bridge.protocol.messages import Reset, Save, SceneUpdate, StatsRequest


def scene(prompt: str) -> SceneUpdate:
    return SceneUpdate(prompt=prompt)


def test_the_last_messages_in_front_of_hello_are_told_again_in_order() -> None:
    resends = ResendQueue(most=16)
    told = [scene("lobby"), Reset(seed=1), scene("level"), Save(name="here"), Reset(seed=2), StatsRequest()]
    for message in told:
        resends.sent(message, 0)
    resends.resuming()
    resends.sent(scene("behind HELLO"), 0)
    for name in ("SCENE", "CONTROL", "SAVE", "RESET", "PONG", "STATS_REQUEST"):
        resends.refused(name)
    assert resends.take_refused() == told[2:]
    resends.resuming()
    assert resends.take_refused() == []


def test_refusals_that_came_after_hello_do_not_reach_behind_it() -> None:
    resends = ResendQueue(most=16)
    level = scene("level")
    resends.sent(level, 0)
    resends.resuming()
    resends.sent(scene("behind HELLO"), 0)
    resends.refused("SCENE")
    assert resends.take_refused() == [level]


def test_where_hello_was_lost_what_came_behind_it_is_told_again_as_well() -> None:
    resends = ResendQueue(most=16)
    told = [scene("level"), scene("night")]
    for message in told:
        resends.sent(message, 0)
        resends.refused("SCENE")
        resends.resuming()
    assert resends.take_refused() == told


def test_what_was_answered_since_hello_is_not_looked_at() -> None:
    resends = ResendQueue(most=16)
    resends.sent(scene("lobby"), 0)
    resends.sent(level := scene("level"), 5)
    resends.resuming()
    resends.sent(scene("night"), 5)
    resends.answered(4)
    resends.refused("SCENE")
    assert resends.take_refused() == [level]


def test_a_game_that_is_never_answered_keeps_no_more_than_the_newest() -> None:
    resends = ResendQueue(most=3)
    told = [scene(str(number)) for number in range(5)]
    for message in told[:4]:
        resends.sent(message, 0)
    resends.resuming()
    resends.sent(told[4], 0)
    assert len(resends) == 3
    for _ in range(5):
        resends.refused("SCENE")
    assert resends.take_refused() == told[2:4]


def test_a_message_was_heard_once_the_control_after_it_is_answered() -> None:
    resends = ResendQueue(8)
    resends.sent(Save(name="a"), 3)
    resends.answered(2)
    assert len(resends) == 1
    resends.answered(3)
    assert len(resends) == 0
