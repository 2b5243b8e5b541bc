"""The servers that `bench transport` measures, each in a process of its own: ours without an engine, and the peers.

python -m bridge.bench.transport_servers zmq|service|websockets|websockets-threads|grpc ADDRESS [KEYS]

`zmq` does for a control what the peers do: decode it, write a header, hand over a still picture, by our sockets and
rings. `service` is the same with everything else that the real one does: sessions, credit, the ledger, axes.
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import msgspec

from bridge.bench import transport_peers as bench_peers
from bridge.bench.transport_frame import HEIGHT, OFFER, WIDTH, header_for, picture, welcome_for
from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.errors import RemoteProtocolError
from bridge.presentation.frame_buffer import encode_pixels
from bridge.protocol.codec import Buffer, decode, encode
from bridge.protocol.messages import Control, Hello, PixelFormat
from bridge.service.ring_registry import RingRegistry
from bridge.session.events import Closed, ControlAccepted, Send
from bridge.session.registry import Outgoing, SessionRegistry
from bridge.transport.curve_keys import load_server_keys
from bridge.transport.frame_ring import FrameRingWriter, create_ring
from bridge.transport.sockets import Poller, RouterSocket


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


class StillService:
    """The real service without an engine: every answer is the same picture."""

    def __init__(self, address: str, keys: Path | None) -> None:
        self._router = RouterSocket(address, load_server_keys(keys) if keys is not None else None)
        self.address = self._router.address
        self._registry = SessionRegistry(offer=OFFER, config=ServeConfig(max_sessions=16))
        self._rings = RingRegistry()
        self._clock = MonotonicClock()
        self._picture = picture()

    def run(self, stopping: threading.Event) -> None:
        poller = Poller()
        poller.watch(self._router)
        try:
            while not stopping.is_set():
                poller.wait(100_000)
                while (received := self._router.receive()) is not None:
                    peer, parts = received
                    self._on_parts(peer, parts)
        finally:
            self._rings.close()

    def _on_parts(self, peer: bytes, parts: list[bytes]) -> None:
        now_us = self._clock.now_us()
        try:
            self._act(self._registry.receive(peer, decode(parts).message, now_us))
        except RemoteProtocolError as exc:
            self._act(self._registry.refuse(peer, exc, now_us))

    def _act(self, addressed: list[Outgoing]) -> None:
        for each in addressed:
            session, output = each.session, each.output
            if isinstance(output, Send):
                send = self._rings.prepare(session, output)
                self._router.send(each.peer, encode(send.message, send.pixels))
            elif isinstance(output, Closed) and session is not None:
                self._rings.forget(session.session_id)
            elif isinstance(output, ControlAccepted) and session is not None:
                pixels = encode_pixels(self._picture, session.pixel_format, session.jpeg_quality)
                header = header_for(output.control, session.pixel_format)
                self._act(self._registry.settle(session, session.answer(header, pixels)))


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
