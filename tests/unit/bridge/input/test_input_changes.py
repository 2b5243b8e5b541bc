"""What a player did that no chunk was asked for yet."""

from __future__ import annotations

from bridge.input.input_changes import News
from bridge.protocol.messages import Control, Event


def control(action: str = "", *events: Event) -> Control:
    return Control(
        seq=0, t_us=0, position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 1.0), vertical_fov_deg=60.0, action=action,
        events=events,
    )  # fmt: skip


def test_an_event_and_another_action_are_news_until_a_chunk_is_asked_for() -> None:
    news = News()
    news.note(control(), paused=False)
    assert not news.waits
    for told in (control("rain"), control("rain", Event(kind="door", value="open"))):
        news.note(told, paused=False)
        assert news.waits
        assert not news.take("rain")
        news.note(control("rain"), paused=False)
        assert not news.waits


def test_a_chunk_comes_after_a_pause_once() -> None:
    news = News()
    news.note(control(), paused=True)
    news.note(control(), paused=False)
    assert [news.take(""), news.take("")] == [True, False]


def test_a_chunk_that_was_not_begun_leaves_all_as_it_was() -> None:
    news = News()
    news.note(control("rain"), paused=True)
    news.take("rain")
    news.give_back()
    assert news.waits
    assert news.take("rain")
    news.note(control(""), paused=False)
    news.take("")
    news.give_back()
    news.note(control("rain"), paused=False)
    assert news.take("rain") is False
    news.take("")
    news.give_back()
    news.note(control("rain"), paused=False)
    assert not news.waits  # "rain" is what the newest chunk was told
