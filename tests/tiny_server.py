"""A service of a few pixels and no model, on a thread, for tests of whoever connects to one."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.conformance.fake_frames import fake_header
from bridge.errors import RemoteProtocolError
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import FrameHeader, PixelFormat
from bridge.session.events import ControlAccepted, SceneAccepted, Send, StatsRequested
from bridge.session.registry import Outgoing, SessionRegistry
from bridge.transport.sockets import Poller, RouterSocket
from tests import valid_messages as sound_messages

WIDTH, HEIGHT = 4, 2
OFFER = dataclasses.replace(
    sound_messages.OFFER, frame_width=WIDTH, frame_height=HEIGHT, pixel_formats=(PixelFormat.RGB8,)
)


class TinyServer:
    """A ROUTER that answers every control at once with a frame filled with its seq, while `answer` is set."""

    def __init__(
        self, config: ServeConfig, address: str = "tcp://127.0.0.1:*", registry: SessionRegistry | None = None
    ) -> None:
        self.registry = SessionRegistry(offer=OFFER, config=config) if registry is None else registry
        self.answer = True
        self.scenes: list[SceneAccepted] = []
        self.errors: list[BaseException] = []
        self._clock = MonotonicClock()
        self._socket = RouterSocket(address)
        self.address = self._socket.address
        self._jobs: list[Callable[[], list[Outgoing]]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def later(self, job: Callable[[], list[Outgoing]]) -> None:
        """Runs `job` in the server's thread and acts on what it returns."""
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
                    self._act(self._jobs.pop(0)())
                while (received := self._socket.receive()) is not None:
                    peer, parts = received
                    try:
                        outputs = self.registry.receive(peer, decode(parts).message, self._clock.now_us())
                    except RemoteProtocolError as error:
                        outputs = self.registry.refuse(peer, error, self._clock.now_us())
                    self._act(outputs)
                self._act(self.registry.tick(self._clock.now_us()))
        except BaseException as error:
            self.errors.append(error)
        self._socket.close()

    def _act(self, outputs: list[Outgoing]) -> None:
        for one in outputs:
            match one.output:
                case Send(message=message, pixels=pixels):
                    self._socket.send(one.peer, encode(message, pixels))
                case ControlAccepted() as accepted if self.answer:
                    assert one.session is not None
                    header, pixels = frame_for(accepted)
                    sent = msgspec.structs.replace(header, server_t_us=self._clock.now_us())
                    answers = one.session.answer(sent, pixels)
                    self._act(self.registry.settle(one.session, answers))
                case SceneAccepted() as scene:
                    self.scenes.append(scene)
                case StatsRequested():
                    assert one.session is not None
                    self._socket.send(one.peer, encode(one.session.ledger))


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
