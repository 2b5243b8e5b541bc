"""One engine process's threads: what becomes of a process that cannot even be started."""

from __future__ import annotations

import queue

import pytest

from bridge.engine import pipe as module
from bridge.engine.pipe import Ended, EngineConfig, EnginePipe, Inbox, Wake


def test_a_process_that_cannot_be_started_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(process: object, threads: int) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(module, "_start_with_threads", refuse)
    inbox: Inbox = queue.SimpleQueue()
    wake = Wake()
    link = EnginePipe(EngineConfig(), inbox, wake)
    told, word = inbox.get(timeout=5)
    assert told is link
    assert isinstance(word, Ended)
    assert "Cannot allocate memory" in word.reason
    link.kill()  # there is nothing to kill, and that is no error
    link.finish(1.0)
    wake.close()


def test_a_wake_up_is_never_too_much_and_never_too_late() -> None:
    wake = Wake()
    for _ in range(2_000):  # more than the descriptor holds
        wake.set()
    wake.clear()
    wake.close()
    wake.set()  # the link's thread may have a last word after the supervisor has stopped
