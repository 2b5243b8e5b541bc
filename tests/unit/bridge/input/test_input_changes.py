"""What a player did that no chunk was asked for yet."""

from __future__ import annotations

from bridge.input.input_changes import InputChanges
from bridge.protocol.messages import Control, Event


def control(action: str = "", *events: Event) -> Control:
    return Control(
        seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0, action=action,
        events=events,
    )  # fmt: skip


def test_an_event_and_another_action_are_news_until_a_chunk_is_asked_for() -> None:
    changes = InputChanges()
    changes.note(control(), paused=False)
    assert not changes.waits
    for told in (control("rain"), control("rain", Event(kind="door", value="open"))):
        changes.note(told, paused=False)
        assert changes.waits
        assert not changes.take("rain")
        changes.note(control("rain"), paused=False)
        assert not changes.waits


def test_a_chunk_comes_after_a_pause_once() -> None:
    changes = InputChanges()
    changes.note(control(), paused=True)
    changes.note(control(), paused=False)
    assert [changes.take(""), changes.take("")] == [True, False]


def test_a_chunk_that_was_not_begun_leaves_all_as_it_was() -> None:
    changes = InputChanges()
    changes.note(control("rain"), paused=True)
    changes.take("rain")
    changes.give_back()
    assert changes.waits
    assert changes.take("rain")
    changes.note(control(""), paused=False)
    changes.take("")
    changes.give_back()
    changes.note(control("rain"), paused=False)
    assert changes.take("rain") is False
    changes.take("")
    changes.give_back()
    changes.note(control("rain"), paused=False)
    assert not changes.waits  # "rain" is what the newest chunk was told
