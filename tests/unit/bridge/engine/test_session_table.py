"""Every SAVE is answered once."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.engine.ipc_messages import SessionRefused, StateSaved
from bridge.engine.session_table import REPLACED, SaveTracker, refused

A, B = Path("a"), Path("b")


def test_what_a_process_had_not_answered_when_it_ended_is_told_of_once() -> None:
    saves = SaveTracker()
    saves.sent(1, A)
    saves.sent(2, B)
    saves.answered(StateSaved(engine_session=1, path=A, size_bytes=7, text=""))
    assert [(lost.engine_session, lost.path, lost.text) for lost in saves.lost()] == [(2, B, REPLACED)]
    assert saves.lost() == []


def test_the_same_save_asked_for_twice_is_answered_twice() -> None:
    saves = SaveTracker()
    done = StateSaved(engine_session=1, path=A, size_bytes=7, text="")
    for _ in range(2):
        saves.sent(1, A)
    for _ in range(2):
        saves.answered(done)
    with pytest.raises(ValueError, match="not in list"):
        saves.answered(done)


def test_what_could_not_be_sent_is_told_of_once() -> None:
    saves = SaveTracker()
    saves.fail(3, [A, B], "too late")
    assert [(failed.engine_session, failed.path, failed.text) for failed in saves.take_failed()] == [
        (3, A, "too late"),
        (3, B, "too late"),
    ]
    assert saves.take_failed() == []


def test_a_refused_world_s_saves_are_answered_before_it_ends() -> None:
    *unsaved, last = refused(4, [A, B], "no such mesh")
    assert [one.path for one in unsaved] == [A, B]  # type: ignore[union-attr]  # StateSaved
    assert last == SessionRefused(engine_session=4, text="no such mesh")
