"""Which messages a resumed session is told again."""

from __future__ import annotations

from bridge.client.resend_queue import Unheard
from bridge.protocol.messages import Reset, Save, SceneUpdate, StatsRequest


def scene(prompt: str) -> SceneUpdate:
    return SceneUpdate(prompt=prompt)


def test_the_last_messages_in_front_of_hello_are_told_again_in_order() -> None:
    unheard = Unheard(most=16)
    told = [scene("lobby"), Reset(seed=1), scene("level"), Save(name="here"), Reset(seed=2), StatsRequest()]
    for message in told:
        unheard.sent(message, 0)
    unheard.resuming()
    unheard.sent(scene("behind HELLO"), 0)
    for name in ("SCENE", "CONTROL", "SAVE", "RESET", "PONG", "STATS_REQUEST"):
        unheard.refused(name)
    assert unheard.take_refused() == told[2:]
    unheard.resuming()
    assert unheard.take_refused() == []


def test_refusals_that_came_after_hello_do_not_reach_behind_it() -> None:
    unheard = Unheard(most=16)
    level = scene("level")
    unheard.sent(level, 0)
    unheard.resuming()
    unheard.sent(scene("behind HELLO"), 0)
    unheard.refused("SCENE")
    assert unheard.take_refused() == [level]


def test_where_hello_was_lost_what_came_behind_it_is_told_again_as_well() -> None:
    unheard = Unheard(most=16)
    told = [scene("level"), scene("night")]
    for message in told:
        unheard.sent(message, 0)
        unheard.refused("SCENE")
        unheard.resuming()
    assert unheard.take_refused() == told


def test_what_was_answered_since_hello_is_not_looked_at() -> None:
    unheard = Unheard(most=16)
    unheard.sent(scene("lobby"), 0)
    unheard.sent(level := scene("level"), 5)
    unheard.resuming()
    unheard.sent(scene("night"), 5)
    unheard.answered(4)
    unheard.refused("SCENE")
    assert unheard.take_refused() == [level]


def test_a_game_that_is_never_answered_keeps_no_more_than_the_newest() -> None:
    unheard = Unheard(most=3)
    told = [scene(str(number)) for number in range(5)]
    for message in told[:4]:
        unheard.sent(message, 0)
    unheard.resuming()
    unheard.sent(told[4], 0)
    assert len(unheard) == 3
    for _ in range(5):
        unheard.refused("SCENE")
    assert unheard.take_refused() == told[2:4]
