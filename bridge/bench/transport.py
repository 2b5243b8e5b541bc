"""`helios-bridge bench transport`: the round trip from a control to its frame, beside websockets and gRPC.

A client in this process asks servers in other processes for one frame of 640 x 384 at a time. Every row does the
same work: encode a control, decode it there, write a header, hand over the same pixels, decode them. Two more rows
include `bridge.Client` and the service's sessions, credit and ledger. Rows take turns, so that other load meets all
of them alike. The figures are this machine's, now.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.bench.transport_frame import HEIGHT, WIDTH
from bridge.bench.transport_peers import CLIENTS, Ask, is_installed
from bridge.client.client import Client
from bridge.client.pixels import decode_pixels
from bridge.client.types import Camera
from bridge.clock import MonotonicClock
from bridge.errors import EngineUnavailable
from bridge.machine import cpu_name
from bridge.protocol.codec import Decoded, decode, encode
from bridge.protocol.messages import VERSION_MAJOR, VERSION_MINOR, Control, FrameHeader, Hello, Welcome
from bridge.transport.curve_keys import ClientKeys, load_client_keys, new_keys
from bridge.transport.frame_ring import open_ring
from bridge.transport.sockets import DealerSocket, SendResult, new_curve_pair
from model.cli_args import commit, install

_CONTROLS, _WARM_UP = 600, 30
_TICK_US = 4_000
_COPIED, _IN_PLACE = "shared memory, ipc", "shared memory, ipc, in place"


@dataclass(slots=True, kw_only=True)
class Row:
    """One way to carry frames, and the round trips that it took, in ms."""

    name: str
    ask: Ask
    is_peer: bool
    milliseconds: list[float] = field(default_factory=list)

    def percentiles(self) -> dict[str, float]:
        return {f"p{rank}": float(np.percentile(self.milliseconds, rank)) for rank in (50, 95, 99)}


def bench_transport(report: Path | None, *, controls: int = _CONTROLS) -> int:
    """Prints and writes a row for each way. controls: of each. Returns the exit status."""
    with contextlib.ExitStack() as stack:
        rows = list(_open_rows(stack))
        measure(rows, controls)
    print(f"control -> frame of {WIDTH}x{HEIGHT} RGB, ms; {controls} controls each, in turns, after {_WARM_UP}")
    for name, value in machine().items():
        print(f"{name}: {value}")
    for row in sorted(rows, key=lambda row: row.percentiles()["p50"]):
        figures = "  ".join(f"{name} {value:6.3f}" for name, value in row.percentiles().items())
        print(f"{row.name:32} {figures}{'  (peer)' * row.is_peer}")
    print(_verdict(rows))
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        listed = [{"name": row.name, "peer": row.is_peer, **row.percentiles()} for row in rows]
        content = {"machine": machine(), "width": WIDTH, "height": HEIGHT, "controls": controls, "rows": listed}
        report.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(rows: list[Row], controls: int) -> None:
    """Asks each row for a frame in turn, `controls` times: what else the machine does changes within a second."""
    clock = MonotonicClock()
    for seq, row in enumerate(rows * (_WARM_UP + controls)):
        next_us = clock.now_us() + _TICK_US
        control = _control(seq, clock.now_us())
        begin_us = clock.now_us()
        pixels = row.ask(control)
        took_us = clock.now_us() - begin_us
        if pixels.shape != (HEIGHT, WIDTH, 3):
            raise EngineUnavailable(f"{row.name}: got a frame {pixels.shape}, expected {(HEIGHT, WIDTH, 3)}")
        if seq >= _WARM_UP * len(rows):
            row.milliseconds.append(took_us / 1e3)
        clock.sleep_until_us(next_us)


def machine() -> Mapping[str, str]:
    """What the figures are of."""
    packages = ("pyzmq", "msgpack", "msgspec", "websockets", "grpcio", "opencv-python-headless", "numpy")
    found = [f"{name} {importlib.metadata.version(name)}" for name in packages if _has(name)]
    return {
        "cpu": cpu_name(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": ", ".join(found),
        "commit": commit(),
    }


def _verdict(rows: list[Row]) -> str:
    """Our rows of shared memory against the best peer of the same run."""
    peers = [row for row in rows if row.is_peer]
    if not peers:
        return f"no peer to compare with: {install('dev')}"
    best = min(peers, key=lambda row: row.percentiles()["p50"])
    theirs = best.percentiles()["p50"]
    lines = [f"best peer: {best.name}, p50 {theirs:.3f} ms"]
    for row in rows:
        if row.name in (_COPIED, _IN_PLACE):
            mine = row.percentiles()["p50"]
            lines.append(f"{row.name}: p50 {mine:.3f} ms, {100 * mine / theirs:.0f} % of the best peer's")
    return "\n".join(lines)


def _open_rows(stack: contextlib.ExitStack) -> Iterator[Row]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    new_keys(folder / "keys", ["bench"], new_curve_pair)
    tcp = stack.enter_context(_server("zmq", "tcp://127.0.0.1:*"))
    curve = stack.enter_context(_server("zmq", "tcp://127.0.0.1:*", str(folder / "keys")))
    yield _bare(stack, "ZeroMQ tcp", tcp)
    yield _bare(stack, "ZeroMQ tcp, JPEG", tcp, pixel_format="jpeg")
    yield _bare(stack, "ZeroMQ tcp, CURVE", curve, keys=load_client_keys(folder / "keys" / "bench"))
    yield _bare(stack, "shared memory, tcp", tcp, shared_memory=True)
    if sys.platform != "win32":
        ipc = stack.enter_context(_server("zmq", f"ipc://{folder}/bare.sock"))
        service = stack.enter_context(_server("service", f"ipc://{folder}/service.sock"))
        yield _bare(stack, "ZeroMQ ipc", ipc)
        yield _bare(stack, _COPIED, ipc, shared_memory=True)
        yield _bare(stack, _IN_PLACE, ipc, shared_memory=True, in_place=True)
        yield _whole(stack, "Client and service, ipc", service, shared_memory=False)
        yield _whole(stack, "Client and service, shared memory", service, shared_memory=True)
    addresses: dict[str, str] = {}
    for name, (server, module, client) in CLIENTS.items():
        if not is_installed(module):
            print(f"{name}: left out, {module} is not installed ({install('dev')})")
            continue
        if server not in addresses:
            addresses[server] = stack.enter_context(_server(server, ""))
        yield Row(name=name, ask=stack.enter_context(client(addresses[server])), is_peer=True)


def _bare(
    stack: contextlib.ExitStack,
    name: str,
    address: str,
    *,
    pixel_format: str = "rgb8",
    shared_memory: bool = False,
    in_place: bool = False,
    keys: ClientKeys | None = None,
) -> Row:
    """Our sockets, codec and ring alone. in_place: the frame is had where it lies, as a peer's is in its message."""
    socket = stack.enter_context(DealerSocket(address, keys))
    clock = MonotonicClock()

    def prefetch_prompt() -> Decoded:
        while (parts := socket.receive()) is None:
            socket.wait(1_000_000)
        return decode(parts)

    hello = Hello(
        version_major=VERSION_MAJOR,
        version_minor=VERSION_MINOR,
        client="bench",
        pixel_formats=(pixel_format,),
        shared_memory=shared_memory,
    )
    while socket.send(encode(hello)) is not SendResult.SENT:
        clock.sleep_until_us(clock.now_us() + 2_000)
    welcome = prefetch_prompt().message
    assert isinstance(welcome, Welcome)
    ring = open_ring(welcome.ring, WIDTH, HEIGHT)
    if shared_memory and ring is None:
        raise EngineUnavailable(f"{name}: there is no shared memory for a ring")

    def ask(control: Control) -> NDArray[np.uint8]:
        socket.send(encode(control))
        decoded = prefetch_prompt()
        header = decoded.message
        assert isinstance(header, FrameHeader)
        if ring is not None:
            take = ring.view if in_place else ring.read
            pixels = take(header.ring_slot, header.ring_sequence)
            assert pixels is not None, "one frame at a time is never written over"
            return pixels
        assert decoded.pixels is not None
        return decode_pixels(header, bytes(decoded.pixels))

    return Row(name=name, ask=ask, is_peer=False)


def _whole(stack: contextlib.ExitStack, name: str, address: str, *, shared_memory: bool) -> Row:
    """`bridge.Client` as games use it."""
    client = stack.enter_context(Client(address, name="bench", shared_memory=shared_memory))

    def ask(control: Control) -> NDArray[np.uint8]:
        camera = Camera(position=control.position, rotation=control.rotation, vertical_fov_deg=60.0)
        return client.step(camera, control.action, timeout_s=5.0).pixels

    return Row(name=name, ask=ask, is_peer=False)


def _control(seq: int, now_us: int) -> Control:
    return Control(
        seq=seq,
        t_us=now_us,
        position=(0.0, 1.6, -0.002 * seq),
        rotation=(0.0, 0.0, 0.0, 1.0),
        vertical_fov_deg=60.0,
        action="walk towards the tower",
    )


@contextlib.contextmanager
def _server(kind: str, address: str, *more: str) -> Iterator[str]:
    """A server in a process of its own. Yields: its address."""
    command = [sys.executable, "-m", "bridge.bench.transport_servers", kind, address, *more]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if not (bound := process.stdout.readline().strip()):
            raise EngineUnavailable(f"the {kind} server of the benchmark did not start; what it said stands above")
        yield bound
    finally:
        process.terminate()
        process.communicate()


def _has(package: str) -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version(package))
    return False
