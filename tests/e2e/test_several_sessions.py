"""Several players on one engine: each in its own world, none starved, none paid for that does not play."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bridge import Camera, Source
from bridge.backends.synthetic import render_room

PLACES = [(0.0, 0.0, 0.0), (8.0, 1.0, -6.0), (-9.0, -2.0, 7.0)]


def test_each_player_sees_its_own_place_and_all_get_network_frames(start_service: Any) -> None:
    service = start_service(engine={"frames_per_chunk": (5, 9), "cost_ms": 30.0})
    clients = [service.client() for _ in PLACES]
    generated = [0] * len(PLACES)
    deadline = time.monotonic() + 8
    try:
        while min(generated) < 6:
            assert time.monotonic() < deadline, generated
            for render_session, (client, place) in enumerate(zip(clients, PLACES, strict=True)):
                frame = client.step(Camera(position=place))
                if frame.source is not Source.GENERATED:
                    continue
                generated[render_session] += 1
                header = frame.header
                truth, _ = render_room(
                    np.array(header.position), np.array(header.rotation), header.vertical_fov_deg,
                    header.width, header.height,
                )  # fmt: skip
                assert np.abs(truth.astype(int) - frame.pixels).mean() < 2
                assert np.allclose(header.position, place, atol=0.05)
            time.sleep(0.01)
        stats = [client.stats() for client in clients]
        assert [each.sessions for each in stats] == [3, 3, 3]
        chunks = [each.chunks for each in stats]
        assert max(chunks) <= 2 * min(chunks) + 2, chunks
    finally:
        for client in clients:
            client.close()


def test_a_player_that_pauses_gets_no_chunks_and_goes_on_at_once(start_service: Any) -> None:
    with start_service().client() as client:
        here = Camera(position=(0, 0, 0))
        while client.step(here).header.chunk < 1:
            time.sleep(0.01)
        time.sleep(1.5)
        made = client.stats().chunks
        time.sleep(0.6)
        assert client.stats().chunks == made
        assert client.step(here).source is Source.REPROJECTED
        deadline = time.monotonic() + 3
        while client.step(here).header.chunk < made:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_chunks_of_several_players_are_made_at_once_and_reach_each_its_own(start_service: Any) -> None:
    """The engine takes 240 ms for three at once: 25 chunks in 6 s. In turn it would be 10, in pairs and singles 14."""
    service = start_service(engine={"frames_per_chunk": (5,), "cost_ms": 200.0, "max_batch": 3, "beside_share": 0.1})
    clients = [service.client() for _ in PLACES]
    try:
        began = time.monotonic()
        while time.monotonic() < began + 6:
            for client, place in zip(clients, PLACES, strict=True):
                frame = client.step(Camera(position=place))
                assert frame.header.chunk < 0 or np.allclose(frame.header.position, place, atol=0.05)
            time.sleep(0.01)
        chunks = [client.stats().chunks for client in clients]
    finally:
        for client in clients:
            client.close()
    assert min(chunks) > 14, chunks
