"""A service of a few pixels and no model, on a thread, for tests of whoever connects to one."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from bridge.bench.transport_servers import NoEngine
from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.conformance.fake_frames import fake_header
from bridge.engine.interface import EngineInfo
from bridge.protocol.codec import Buffer, encode
from bridge.protocol.messages import FrameHeader, PixelFormat, SceneUpdate
from bridge.service.core import ServiceCore
from bridge.service.render_session import RenderSession
from bridge.session.capabilities import ServerCapabilities
from bridge.session.events import ControlAccepted, SaveRequested, Send
from bridge.session.registry import Outgoing
from bridge.session.session import Session
from bridge.transport.sockets import Poller, RouterSocket
from tests import valid_messages

WIDTH, HEIGHT = 4, 2
OFFER = dataclasses.replace(
    valid_messages.OFFER, frame_width=WIDTH, frame_height=HEIGHT, pixel_formats=(PixelFormat.RGB8,)
)
INFO = EngineInfo(
    model="t", runner="t", frame_width=WIDTH, frame_height=HEIGHT, frames_per_chunk=(1,), depth_width=1, depth_height=1,
    camera_method="none", default_map="t",
)  # fmt: skip


class TinyServer:
    """Answers every control at once with a frame filled with its seq, while `answer` is set."""

    def __init__(
        self,
        config: ServeConfig,
        address: str = "tcp://127.0.0.1:*",
        capabilities: ServerCapabilities = OFFER,
        core: _Core | None = None,
    ) -> None:
        """core: of a server that went, whose sessions go on here."""
        self.answer = True
        self.scenes: list[SceneUpdate] = []
        self.errors: list[BaseException] = []
        self._socket = RouterSocket(address)
        self.address = self._socket.address
        self._jobs: list[Callable[[], Iterable[Outgoing]]] = []
        self._stop = threading.Event()
        self.core = core or _Core(
            config,
            INFO,
            NoEngine(),
            MonotonicClock(),
            capabilities=capabilities,
            new_render_session=lambda hello: _Session(self.scenes, config=config, info=INFO, clock=MonotonicClock()),
        )
        self.core.server = self
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def later(self, job: Callable[[], Iterable[Outgoing]]) -> None:
        """Runs `job` in the server's thread, and does what it returns."""
        self._jobs.append(job)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        poller = Poller()
        poller.watch(self._socket)
        try:
            while not self._stop.is_set():
                poller.wait(1000)
                while self._jobs:
                    self._send(self.core.process(self._jobs.pop(0)()))
                while (received := self._socket.receive()) is not None:
                    self._send(self.core.receive(*received))
                    self._send(self.core.answer_controls())
                self._send(self.core.receive_big(socket_is_empty=True))
                self._send(self.core.tick())
        except BaseException as error:
            self.errors.append(error)
        self._socket.close()

    def _send(self, outgoing: Iterable[Outgoing]) -> None:
        for each in outgoing:
            if isinstance(each.output, Send):
                self._socket.send(each.peer, encode(each.output.message, each.output.pixels))


class _Core(ServiceCore):
    """Leaves controls alone while its server shall not answer, and SAVE to the test."""

    server: TinyServer

    def _take_control(self, session: Session, accepted: ControlAccepted) -> None:
        if self.server.answer:
            super()._take_control(session, accepted)

    def _act(self, outgoing: Outgoing, session: Session) -> Iterator[Outgoing]:
        if not isinstance(outgoing.output, SaveRequested):
            yield from super()._act(outgoing, session)


class _Session(RenderSession):
    def __init__(self, scenes: list[SceneUpdate], **settings: Any) -> None:
        super().__init__(**settings)
        self._scenes = scenes

    def change_scene(self, update: SceneUpdate) -> None:
        super().change_scene(update)
        self._scenes.append(update)

    def answer(
        self, accepted: ControlAccepted, pixel_format: PixelFormat, jpeg_quality: int = 85
    ) -> tuple[FrameHeader, Buffer]:
        header, pixels = frame_for(accepted)
        return msgspec.structs.replace(header, server_t_us=MonotonicClock().now_us()), pixels


def frame_for(accepted: ControlAccepted) -> tuple[FrameHeader, bytes]:
    control = accepted.control
    header = fake_header(control, width=WIDTH, height=HEIGHT, control_age_us=0, server_us=0, stage_ms={})
    return header, bytes([control.seq % 256]) * (WIDTH * HEIGHT * 3)


@contextmanager
def serving(**changed: int) -> Iterator[TinyServer]:
    server = TinyServer(ServeConfig(**changed))  # type: ignore[arg-type]  # settings by name
    try:
        yield server
    finally:
        server.stop()
    assert server.errors == []
