"""Frames in shared memory, over a real service: the same pixels, nothing in the message, and every way back."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bridge import Camera, Client, Frame

CAMERA = Camera(position=(0.0, 0.0, 0.0))


def settled(client: Client) -> Frame:
    """A frame of the engine, seen from where it was made."""
    frame = client.step(CAMERA)
    while frame.header.chunk < 1:
        frame = client.step(CAMERA)
    return frame


def rings() -> set[str]:
    return {path.name for path in pathlib.Path("/dev/shm").glob("hlb_*")}


pytestmark = pytest.mark.skipif(not pathlib.Path("/dev/shm").is_dir(), reason="looks into /dev/shm")


def test_pixels_in_the_ring_are_those_in_the_message(start_service: Callable[..., Any]) -> None:
    service = start_service()
    with service.client(shared_memory=True) as shared, service.client(shared_memory=False) as inline:
        in_ring, in_message = settled(shared), settled(inline)
        assert (in_ring.header.ring_slot >= 0, in_message.header.ring_slot) == (True, -1)
        assert in_ring.pixels.shape == in_message.pixels.shape
        kept = in_ring.pixels.tobytes()
        # The same room from the same place; the corner pixel counts chunks, and a bend may round differently.
        difference = np.abs(in_ring.pixels.astype(int) - in_message.pixels.astype(int))[1:, 1:]
        assert np.percentile(difference, 99) <= 2
        assert shared.welcome.ring in rings()
        assert inline.welcome.ring == ""
        slots = {shared.step(CAMERA).header.ring_slot for _ in range(12)}
        assert slots == {0, 1, 2, 3}  # credit 2, and two to spare
        assert in_ring.pixels.tobytes() == kept  # a frame that is kept is not written over
    service.stop()
    assert shared.welcome.ring not in rings()


def test_a_client_that_cannot_open_the_ring_gets_its_pixels_inline(
    start_service: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.client.client.open_ring", lambda *_: None)
    with start_service().client(shared_memory=True) as client:
        assert client.welcome.ring != ""
        assert settled(client).header.ring_slot == -1


def test_a_service_without_shared_memory_offers_none(
    start_service: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.service.ring_registry.create_ring", lambda *_: None)
    with start_service().client(shared_memory=True) as client:
        assert client.welcome.ring == ""
        assert settled(client).header.ring_slot == -1


def test_a_client_on_this_machine_asks_by_itself_and_raw_pixels_are_shared_even_where_jpeg_was_chosen(
    start_service: Callable[..., Any],
) -> None:
    with start_service().client(pixel_formats=("jpeg", "rgb8")) as client:
        assert client.welcome.pixel_format.value == "jpeg"
        frame = settled(client)
        assert (frame.header.ring_slot >= 0, frame.header.pixel_format.value) == (True, "rgb8")


def test_a_resumed_session_has_a_new_ring_and_the_old_name_is_gone(start_service: Callable[..., Any]) -> None:
    service = start_service(heartbeat_us=50_000, missed_heartbeats=2)
    with service.client(shared_memory=True) as client:
        settled(client)
        first = client.welcome.ring
        time.sleep(0.3)  # silent for longer than the server waits
        for _ in range(100):
            client.send(CAMERA)
            time.sleep(0.01)
            frame = client.poll()
            if frame is not None and client._core.welcome is not client.welcome:
                break
        assert frame is not None
        assert frame.header.ring_slot >= 0
        resumed = client._core.welcome
        assert resumed is not None
        assert (resumed.resumed, resumed.ring != first) == (True, True)
        assert first not in rings()
