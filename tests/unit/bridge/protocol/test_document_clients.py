"""What unity_plugin_protocol.md has an author of clients write plays: its plain client, its bytes without ZeroMQ."""

from __future__ import annotations

import dataclasses
import re
import socket
import threading
from collections.abc import Iterator

import pytest

from bridge.config import ServeConfig
from bridge.conformance.fake_frames import fake_header
from bridge.protocol import messages
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import Control, FrameHeader
from bridge.session.events import ControlAccepted, Send
from bridge.session.registry import Outgoing, SessionRegistry
from bridge.transport.sockets import Poller, RouterSocket
from demos.clients.plain_python.__main__ import plain_client
from tests import valid_messages as sound_messages
from tests.protocol_text import code_block, section

OFFER = dataclasses.replace(sound_messages.OFFER, frame_width=4, frame_height=2)


class Answerer(threading.Thread):
    """Answers every control at once with a grey frame, pings after each, and stops on request."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = RouterSocket("tcp://127.0.0.1:*")
        self.registry = SessionRegistry(offer=OFFER, config=ServeConfig())
        self.stopping = threading.Event()
        self.controls: list[Control] = []
        self.pongs = 0

    def run(self) -> None:
        poller = Poller()
        poller.watch(self.socket)
        while not self.stopping.is_set():
            poller.wait(1000)
            while (received := self.socket.receive()) is not None:
                peer, parts = received
                message = decode(parts).message
                self.pongs += isinstance(message, messages.Pong)
                self.act(self.registry.receive(peer, message, 0))
        self.socket.close()

    def act(self, outputs: list[Outgoing]) -> None:
        for one in outputs:
            if isinstance(one.output, Send):
                self.socket.send(one.peer, encode(one.output.message, one.output.pixels))
            elif isinstance(one.output, ControlAccepted) and one.session is not None:
                self.controls.append(one.output.control)
                self.socket.send(one.peer, encode(messages.Ping(t_us=1)))
                answers = one.session.answer(grey_frame(one.output.control), bytes(24))
                self.act(self.registry.settle(one.session, answers))


@pytest.fixture
def server() -> Iterator[Answerer]:
    answerer = Answerer()
    answerer.start()
    yield answerer
    answerer.stopping.set()
    answerer.join()


def grey_frame(control: Control) -> FrameHeader:
    return fake_header(control, width=4, height=2, control_age_us=0, server_us=0, stage_ms={})


def test_the_plain_client_in_the_document_plays() -> None:
    scope = plain_client()
    server = Answerer()
    server.start()
    try:
        frames = scope["play"](server.socket.address, ticks=5)
    finally:
        server.stopping.set()
        server.join()
    assert [header["seq"] for header, _, _ in frames] == sorted(header["seq"] for header, _, _ in frames)
    assert frames
    assert all(len(pixels) == 24 for _, pixels, _ in frames)
    assert [control.seq for control in server.controls] == [0, 1, 2, 3, 4]
    assert server.pongs > 0


def test_the_plain_client_has_sixty_lines() -> None:
    code = code_block("A plain client", "python")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 60


def bytes_in(block: str) -> bytes:
    return bytes.fromhex("".join(line.split("#")[0] for line in block.splitlines()))


def test_a_client_without_a_library_speaks_by_the_document_alone(server: Answerer) -> None:
    """The document's own bytes over a plain TCP socket: greeting, READY, then HELLO and WELCOME in frames."""
    blocks = re.findall(r"```text\n(.*?)```", section("Without a ZeroMQ library"), re.S)
    greeting, ready = map(bytes_in, blocks)
    host, port = server.socket.address.removeprefix("tcp://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as stream:
        stream.sendall(greeting)
        theirs = take(stream, 64)
        assert (theirs[0], theirs[9], theirs[10] >= 3, theirs[12:17]) == (0xFF, 0x7F, True, b"NULL\0")
        stream.sendall(ready)
        flags, command = frame(stream)
        assert (flags, command[1:6]) == (4, b"READY")
        hello = encode(messages.Hello(version_major=1, version_minor=0, client="raw"))
        for at, part in enumerate(hello):
            stream.sendall(bytes([int(at < len(hello) - 1), len(part)]) + bytes(part))
        parts, more = [], True
        while more:
            flags, part = frame(stream)
            parts.append(part)
            more = bool(flags & 1)
        assert isinstance(decode(parts).message, messages.Welcome)


def take(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        data += stream.recv(count - len(data))
    return data


def frame(stream: socket.socket) -> tuple[int, bytes]:
    """One ZMTP frame by the document's table."""
    (flags,) = take(stream, 1)
    length = int.from_bytes(take(stream, 8 if flags & 2 else 1), "big")
    return flags, take(stream, length)
