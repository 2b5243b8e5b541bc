"""A running service for end-to-end tests: real sockets on loopback, a real engine process."""

from __future__ import annotations

import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from bridge import Camera, Client, Frame
from bridge.config import ServeConfig
from bridge.engine.pipe import EngineConfig
from bridge.service.server import Server

WIDTH, HEIGHT = 96, 64
TICK_S = 1 / 60
StartService = Callable[..., "Service"]


@dataclass
class Service:
    """A server in a thread of the test."""

    server: Server
    thread: threading.Thread
    failures: list[BaseException] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.server.address

    def client(self, **options: Any) -> Client:
        return Client(self.address, **options)

    def stop(self) -> None:
        self.server.stop()
        self.thread.join(10)
        assert not self.thread.is_alive(), "the server did not stop"


@contextmanager
def _services() -> Iterator[StartService]:
    services: list[Service] = []

    def start(
        *, engine: dict[str, object] | None = None, patience: dict[str, int] | None = None, **config: Any
    ) -> Service:
        settings = {"width": WIDTH, "height": HEIGHT, "frames_per_chunk": (5,), "cost_ms": 40.0, **(engine or {})}
        server = Server(
            ServeConfig(bind="tcp://127.0.0.1:*", **config), EngineConfig(settings=settings, **(patience or {}))
        )
        ready = threading.Event()
        service = Service(server, threading.Thread(target=lambda: None))

        def run() -> None:
            try:
                server.run(lambda address: ready.set())
            except Exception as exc:
                service.failures.append(exc)
            finally:
                ready.set()

        service.thread = threading.Thread(target=run, name="service")
        service.thread.start()
        services.append(service)
        assert ready.wait(30), "the engine did not become ready"
        return service

    try:
        yield start
    finally:
        for service in services:
            service.stop()
    for service in services:
        assert service.failures == []


@pytest.fixture
def start_service() -> Iterator[StartService]:
    """Starts services: `engine` holds the synthetic engine's settings, the rest is ServeConfig's."""
    with _services() as start:
        yield start


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    """One service for a whole file; with room for every client its tests leave behind."""
    with _services() as start:
        yield start(max_sessions=64)


@pytest.fixture
def play() -> Callable[..., list[Frame]]:
    """Plays at 60 Hz until `until(frame)` holds; returns the frames. Fails after `limit_s`."""

    def run(
        client: Client,
        until: Callable[[Frame], bool],
        *,
        camera: Callable[[float], Camera] = lambda seconds: Camera(position=(0.0, 0.0, 0.0)),
        action: str = "",
        limit_s: float = 8.0,
    ) -> list[Frame]:
        begin = time.monotonic()
        frames: list[Frame] = []
        while not frames or not until(frames[-1]):
            now = time.monotonic() - begin
            assert now < limit_s, f"not reached in {limit_s} s; the last frame was {frames[-1].header}"
            frames.append(client.step(camera(now), action))
            time.sleep(max(0.0, begin + now + TICK_S - time.monotonic()))
        return frames

    return run


@pytest.fixture
def engine_pid() -> Callable[[], int | None]:
    """The pid of the one living engine process, None while there is none."""

    def find() -> int | None:
        found = [child.pid for child in multiprocessing.active_children() if child.name == "engine"]
        assert len(found) <= 1, f"more than one engine process: {found}"
        return found[0] if found else None

    return find
