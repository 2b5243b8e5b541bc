"""The servers that `bench transport` measures, each in a process of its own: ours without an engine, and the peers.

python -m bridge.bench.transport_servers zmq|service|websockets|websockets-threads|grpc ADDRESS [KEYS]

`zmq` does for a control what the peers do: decode it, write a header, hand over a still picture, by our sockets and
rings. `service` is our service core (sessions, credit, axes, timelines) without an engine.
"""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from bridge.bench import transport_peers as bench_peers
from bridge.bench.transport_frame import HEIGHT, OFFER, WIDTH, header_for, picture, welcome_for
from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo, SessionStart
from bridge.engine.ipc_messages import Step
from bridge.presentation.frame_buffer import encode_pixels
from bridge.protocol.codec import Buffer, decode, encode
from bridge.protocol.messages import Control, FrameHeader, Hello, PixelFormat
from bridge.service.core import ServiceCore
from bridge.service.render_session import RenderSession
from bridge.service.ring_registry import RingRegistry
from bridge.session.events import ControlAccepted, Send
from bridge.session.registry import Outgoing
from bridge.transport.curve_keys import load_server_keys
from bridge.transport.frame_ring import FrameRingWriter, create_ring
from bridge.transport.sockets import Poller, RouterSocket

INFO = EngineInfo(
    model=OFFER.model, runner=OFFER.runner, frame_width=WIDTH, frame_height=HEIGHT,
    frames_per_chunk=OFFER.frames_per_chunk, depth_width=1, depth_height=1, camera_method="none", default_map="none",
)  # fmt: skip


class BareServer:
    """Answers every control at once with the same picture; knows of each peer its pixel format and its ring."""

    def __init__(self, address: str, keys: Path | None) -> None:
        self._router = RouterSocket(address, load_server_keys(keys) if keys is not None else None)
        self.address = self._router.address
        self._picture = picture()
        self._peers: dict[bytes, tuple[PixelFormat, FrameRingWriter | None]] = {}

    def run(self, stopping: threading.Event) -> None:
        poller = Poller()
        poller.watch(self._router)
        try:
            while not stopping.is_set():
                poller.wait(100_000)
                while (received := self._router.receive()) is not None:
                    peer, parts = received
                    message = decode(parts).message
                    if isinstance(message, Hello):
                        self._welcome(peer, message)
                    elif isinstance(message, Control):
                        self._answer(peer, message)
        finally:
            for _, ring in self._peers.values():
                if ring is not None:
                    ring.close()

    def _welcome(self, peer: bytes, hello: Hello) -> None:
        pixel_format = PixelFormat(hello.pixel_formats[0])
        ring = create_ring(WIDTH, HEIGHT, hello.credit) if hello.shared_memory else None
        self._peers[peer] = pixel_format, ring
        self._router.send(peer, encode(welcome_for(hello, pixel_format, ring.name if ring is not None else "")))

    def _answer(self, peer: bytes, control: Control) -> None:
        pixel_format, ring = self._peers[peer]
        header = header_for(control, pixel_format)
        pixels: Buffer = encode_pixels(self._picture, pixel_format)
        if ring is not None:
            slot, sequence = ring.write(pixels)
            header, pixels = msgspec.structs.replace(header, ring_slot=slot, ring_sequence=sequence), b""
        self._router.send(peer, encode(header, pixels))


class NoEngine:
    """Stands for an engine that is never free: sessions open, and no chunk is made."""

    restarts = 0

    def __init__(self) -> None:
        self._sessions = itertools.count()

    @property
    def idle(self) -> bool:
        return False

    def open(self, start: SessionStart) -> int:
        return next(self._sessions)

    def step_batch(self, steps: Sequence[Step]) -> int:
        return 0

    def forget(self, engine_session: int) -> None:
        """Nothing is kept."""

    def prefetch_prompt(self, engine_session: int, prompt: str | None, action: str) -> None:
        """No text is read."""

    def save(self, engine_session: int, path: Path) -> None:
        raise NotImplementedError("no SAVE is offered")

    def release(self, slot: int) -> None:
        """There are no slots."""


class _StillSession(RenderSession):
    """Answers every control with the same picture."""

    picture = picture()

    def answer(
        self, accepted: ControlAccepted, pixel_format: PixelFormat, jpeg_quality: int = 85
    ) -> tuple[FrameHeader, Buffer]:
        return header_for(accepted.control, pixel_format), encode_pixels(self.picture, pixel_format, jpeg_quality)


class StillService:
    """The service's core behind a socket, without an engine: every answer is the same picture."""

    def __init__(self, address: str, keys: Path | None) -> None:
        self._router = RouterSocket(address, load_server_keys(keys) if keys is not None else None)
        self.address = self._router.address
        self._rings = RingRegistry()
        config, clock = ServeConfig(max_sessions=16), MonotonicClock()
        self._core = ServiceCore(
            config, INFO, NoEngine(), clock,
            capabilities=OFFER,
            new_render_session=lambda hello: _StillSession(config=config, info=INFO, clock=clock),
        )  # fmt: skip

    def run(self, stopping: threading.Event) -> None:
        poller = Poller()
        poller.watch(self._router)
        try:
            while not stopping.is_set():
                poller.wait(100_000)
                while (received := self._router.receive()) is not None:
                    self._send(self._core.receive(*received))
                    self._send(self._core.answer_controls())
        finally:
            self._rings.close()

    def _send(self, outgoing: Iterable[Outgoing]) -> None:
        for each in outgoing:
            if isinstance(each.output, Send):
                send = self._rings.prepare(each.session, each.output)
                self._router.send(each.peer, encode(send.message, send.pixels))
            elif each.session is not None:
                self._rings.forget(each.session.session_id)


def main(arguments: list[str]) -> None:
    """Serves until it is killed; prints the address first."""
    kind, address, *keys = arguments
    if kind in ("zmq", "service"):
        stopping = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopping.set())  # so that rings are taken away, each as a whole
        server = (BareServer if kind == "zmq" else StillService)(address, Path(keys[0]) if keys else None)
        print(server.address, flush=True)
        server.run(stopping)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        bench_peers.SERVERS[kind](lambda bound: print(bound, flush=True))


if __name__ == "__main__":
    main(sys.argv[1:])
