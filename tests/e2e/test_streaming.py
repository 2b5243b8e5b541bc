"""Over real processes: a chunk's first frame reaches the client before its last is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import Frame
from bridge.messages import Source


def test_the_first_frames_of_a_chunk_arrive_while_the_others_are_made(
    start_service: Any, play: Callable[..., list[Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's stage times come with the whole chunk: a frame without them left before its chunk was."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    service = start_service(
        patience={"factory": "streaming_engine:create"}, engine={"frames_per_chunk": (12,), "cost_ms": 0.0}
    )
    with service.client() as client:
        frames = play(client, until=lambda frame: frame.header.chunk >= 1)
    first = [frame.header for frame in frames if frame.header.chunk == 0]
    early = [header for header in first if "paint" not in header.stage_ms]
    whole = [header for header in first if "paint" in header.stage_ms]
    assert any(header.source is Source.GENERATED for header in early)
    assert {header.index for header in early} <= set(range(8))  # the last four are made last
    assert max(header.index for header in whole) == 11
    assert first.index(whole[0]) == len(early)  # first the ones that left early, then the others
