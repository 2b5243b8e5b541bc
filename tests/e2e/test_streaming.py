"""Over real processes: a chunk's first frame reaches the client before its last is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import Frame
from bridge.protocol.messages import Source
from tests.e2e.streaming_engine import BESIDE


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


def test_a_chunk_begins_beside_the_last_frames_of_the_one_before(
    start_service: Any, play: Callable[..., list[Frame]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decoding takes longer here than showing, so the service begins the next chunk as soon as the engine is free."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    service = start_service(
        patience={"factory": "streaming_engine:create_overlapping"},
        engine={"frames_per_chunk": (12,), "cost_ms": 100.0},
    )
    with service.client() as client:
        frames = play(client, until=lambda frame: frame.header.chunk >= 4)
    headers = [frame.header for frame in frames if frame.header.chunk >= 0]
    assert {header.action for header in headers if header.chunk == 0} == {""}
    assert BESIDE in {header.action for header in headers}
    shown = [(header.chunk, header.index) for header in headers]
    assert max(index for _, index in shown) == 11  # those that came after their chunk was said to be made
    generated = [(header.chunk, header.index) for header in headers if header.source is Source.GENERATED]
    assert generated == sorted(generated)
