"""The server side of the conformance kit: how many FRAMEs it allows unread, and in which order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec
import pytest

from bridge.clock import MonotonicClock
from bridge.conformance.outcome import Failed
from bridge.conformance.server_stage import Connection
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import Control, Hello
from bridge.transport.sockets import Poller, RouterSocket
from tests.valid_messages import WELCOME, frame_header

Connect = Callable[[Sequence[Sequence[int]]], Connection]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects to a server that answers its n-th CONTROL with FRAMEs for the controls `replies[n]`; credit is 2."""
    server, stopped = RouterSocket("tcp://127.0.0.1:0"), threading.Event()
    opened: list[Connection] = []
    threads: list[threading.Thread] = []

    def serve(replies: Sequence[Sequence[int]]) -> None:
        poller, controls = Poller(), list[Control]()
        poller.watch(server)
        while not stopped.is_set():
            received = server.receive()
            if received is None:
                poller.wait(10_000)
                continue
            peer, parts = received
            message = decode(parts).message
            if isinstance(message, Hello):
                server.send(peer, encode(WELCOME))
            elif isinstance(message, Control):
                controls.append(message)
                for seq in replies[len(controls) - 1]:
                    header = msgspec.structs.replace(frame_header(seq), t_us=controls[seq].t_us)
                    server.send(peer, encode(header, bytes(6)))

    def open_connection(replies: Sequence[Sequence[int]]) -> Connection:
        threads.append(threading.Thread(target=serve, args=(replies,), daemon=True))
        threads[-1].start()
        connection = Connection(server.address, patience_us=2_000_000, clock=MonotonicClock())
        opened.append(connection)
        connection.open_session()
        return connection

    yield open_connection
    for connection in opened:
        connection.close()
    stopped.set()
    for thread in threads:
        thread.join(2)
    server.close()


def play(connection: Connection, controls: int) -> int:
    """Sends controls that name no FRAME as read. Returns: the FRAMEs that came."""
    for _ in range(controls):
        connection.control(frame_received_seq=-1)
        connection.listen(20_000)
    connection.listen(50_000)
    return len(connection.frames)


def test_as_many_frames_as_the_credit_may_be_unread(connect: Connect) -> None:
    assert play(connect([[0], [1], []]), 3) == 2


def test_one_frame_more_than_the_credit_is_a_failure(connect: Connect) -> None:
    with pytest.raises(Failed, match="3 FRAMEs unread, WELCOME granted credit 2"):
        play(connect([[0], [1], [2]]), 3)


def test_a_frame_older_than_the_newest_is_a_failure(connect: Connect) -> None:
    with pytest.raises(Failed, match="FRAME 0 after 1: answers come in the order of their controls"):
        play(connect([[], [1, 0]]), 2)


def test_a_control_is_answered_once(connect: Connect) -> None:
    with pytest.raises(Failed, match="FRAME 0, but no CONTROL of that seq waits"):
        play(connect([[0, 0]]), 1)
