"""A client's own socket, against our ROUTER and against a script of bytes."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bridge.clock import FakeClock, MonotonicClock
from bridge.curve import ClientKeys
from bridge.errors import ConfigError, PeerLost, TransportError
from bridge.local_dealer import LocalDealer, dealer_for
from bridge.transport import CLIENT_MAX_PART_BYTES, DealerSocket, Poller, RouterSocket, SendResult, new_curve_pair

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + b"\x01" + bytes(31)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00"
BIG = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def until(done: Callable[[], object]) -> None:
    clock = MonotonicClock()
    gives_up_us = clock.now_us() + 10_000_000
    while not done():
        assert clock.now_us() < gives_up_us, "it never came"
        clock.sleep_until_us(clock.now_us() + 200)


def connected(stack: ExitStack, address: str = "tcp://127.0.0.1:*") -> tuple[RouterSocket, LocalDealer, bytes]:
    router = stack.enter_context(RouterSocket(address))
    dealer = stack.enter_context(LocalDealer(router.address))
    until(lambda: dealer.send([b"hello"]) is SendResult.SENT)
    peer, parts = heard(router)
    assert parts == [b"hello"]
    return router, dealer, peer


def heard(router: RouterSocket) -> tuple[bytes, list[bytes]]:
    poller, found = Poller(), []
    poller.watch(router)

    def look() -> bool:
        poller.wait(1000)
        found.extend([received] if (received := router.receive()) is not None else [])
        return bool(found)

    until(look)
    return found[0]


def told(dealer: LocalDealer) -> list[bytes]:
    found: list[list[bytes]] = []

    def look() -> bool:
        dealer.wait(1000)
        found.extend([parts] if (parts := dealer.receive()) is not None else [])
        return bool(found)

    until(look)
    return found[0]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:*", "tcp://[::1]:*", "ipc://{}/dealer.sock", "ipc://@h7{}"])
def test_messages_of_all_sizes_go_both_ways(stack: ExitStack, tmp_path: Path, address: str) -> None:
    try:
        router, dealer, peer = connected(stack, address.format(tmp_path))
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    for parts in ([b"a"], [b"", b"x" * 255, b"x" * 256, b""], [b"HLB1", b"\x04", BIG, BIG], [b"last"]):
        assert router.send(peer, parts) is SendResult.SENT
        assert told(dealer) == parts
        dealer.send_or_lose(parts)
        assert heard(router) == (peer, parts)
    assert dealer.receive() is None


def test_waiting_messages_come_in_order_and_a_sent_buffer_may_be_overwritten(stack: ExitStack) -> None:
    router, dealer, peer = connected(stack)
    for number in range(10):
        router.send(peer, [b"%d" % number])
    assert [told(dealer) for _ in range(10)] == [[b"%d" % number] for number in range(10)]
    buffer = bytearray(b"before")
    dealer.send([buffer])
    buffer[:] = b"after!"
    assert heard(router)[1] == [b"before"]


def test_nobody_there_is_full_and_a_server_that_comes_later_is_found(stack: ExitStack) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    dealer = stack.enter_context(LocalDealer(address))
    assert dealer.send([b"a"]) is SendResult.FULL
    assert dealer.receive() is None
    with pytest.raises(PeerLost, match="does not take messages"):
        dealer.send_or_lose([b"a"])
    for text in (b"first", b"restarted"):
        with RouterSocket(address) as router:
            until(lambda: dealer.send([text]) is SendResult.SENT)  # noqa: B023
            peer, parts = heard(router)
            assert parts == [text]
            router.send(peer, [b"hello"])
            assert told(dealer) == [b"hello"]
        until(lambda: dealer.receive() is None and dealer.send([b"gone"]) is SendResult.FULL)


def test_a_message_larger_than_the_kernel_takes_waits_for_its_reader(stack: ExitStack) -> None:
    router, dealer, peer = connected(stack)
    level = BIG * 4
    while dealer.send([level]) is SendResult.SENT:  # the router's queue and the kernel's buffers fill up
        pass
    assert dealer.send([b"later"]) is SendResult.FULL
    count = 0
    while dealer.send([b"later"]) is not SendResult.SENT:
        assert heard(router) == (peer, [level])
        count += 1
        dealer.wait(1000)
    while (parts := heard(router)[1]) != [b"later"]:
        assert parts == [level]
        dealer.receive()
    assert count > 0


@pytest.mark.parametrize("last", [b"bye", BIG * 4], ids=["short", "more than the kernel takes"])
def test_what_was_said_last_arrives_though_frames_are_unread(stack: ExitStack, last: bytes) -> None:
    router, dealer, peer = connected(stack)
    router.send(peer, [BIG])
    assert dealer.send([last]) is SendResult.SENT
    dealer.close(linger_ms=5000)
    assert heard(router) == (peer, [last])


# -- a script of bytes ---------------------------------------------------------------------------------------------


class Script:
    """A server that sends what a test says."""

    def __init__(self, stack: ExitStack, clock: FakeClock | None = None) -> None:
        self._listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.dealer = stack.enter_context(LocalDealer(f"tcp://127.0.0.1:{self._listening.getsockname()[1]}", clock))
        self._stack = stack

    def accept(self) -> socket.socket:
        self.dealer.receive()
        self._listening.settimeout(5)
        connection, _ = self._listening.accept()
        return self._stack.enter_context(connection)


def read(connection: socket.socket, count: int) -> bytes:
    connection.settimeout(5)
    return connection.recv(count, socket.MSG_WAITALL)


def test_bytes_may_come_one_by_one_and_commands_are_answered_or_ignored(stack: ExitStack) -> None:
    script = Script(stack)
    connection = script.accept()
    long = b"y" * 300
    ping = b"\x04\x0e\x04PING\x00\x10context"
    message = b"\x01\x04HLB1" + b"\x01\x01\x0c" + b"\x02" + struct.pack(">Q", 300) + long
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    *all_but_the_last, last = GREETING + READY + ping + b"\x04\x07\x06UNHEAR" + message
    for byte in all_but_the_last:
        connection.send(bytes([byte]))
        script.dealer.wait(1000)
        assert script.dealer.receive() is None
    connection.send(bytes([last]))
    assert told(script.dealer) == [b"HLB1", b"\x0c", long]
    assert script.dealer.send([b"a", b"b"]) is SendResult.SENT
    assert read(connection, 64)[:16] == b"\xff" + bytes(8) + b"\x7f\x03\x00NULL"
    assert read(connection, 30) == b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
    assert read(connection, 14) == b"\x04\x0c\x04PONGcontext"
    assert read(connection, 6) == b"\x01\x01a\x00\x01b"


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4,
        GREETING.replace(b"NULL\x00", b"CURVE"),
        GREETING + READY + b"\x03" + struct.pack(">Q", CLIENT_MAX_PART_BYTES + 1),
        GREETING + READY + b"\x01\x01a" * 100,
    ],
    ids=["another protocol", "wants keys", "a part too large", "parts without end"],
)
def test_who_is_no_server_of_ours_is_left_alone(stack: ExitStack, said: bytes) -> None:
    script = Script(stack)
    connection = script.accept()
    connection.sendall(said)
    until(lambda: script.dealer.receive() is None and connection_closed(connection))
    assert script.dealer.receive() is None


def connection_closed(connection: socket.socket) -> bool:
    connection.settimeout(0.01)
    try:
        return connection.recv(4096) == b""
    except TimeoutError:
        return False
    except ConnectionResetError:
        return True


def test_a_server_that_has_said_nothing_for_long_is_given_up(stack: ExitStack) -> None:
    clock = FakeClock()
    script = Script(stack, clock)
    connection = script.accept()
    connection.sendall(GREETING + READY)
    until(lambda: script.dealer.send([b"a"]) is SendResult.SENT)
    clock.advance_us(14_000_000)
    assert script.dealer.receive() is None
    assert script.dealer.send([b"a"]) is SendResult.SENT
    clock.advance_us(2_000_000)
    assert script.dealer.receive() is None
    assert script.dealer.send([b"a"]) is SendResult.FULL


def test_closing_twice_is_fine_and_using_it_then_is_a_transport_error() -> None:
    dealer = LocalDealer("tcp://127.0.0.1:9")
    dealer.close()
    dealer.close()
    with pytest.raises(TransportError):
        dealer.receive()


def test_who_gets_a_socket_of_its_own() -> None:
    with pytest.raises(ConfigError, match="expected tcp://HOST:PORT"):
        dealer_for("localhost")
    server, _ = new_curve_pair()
    public, secret = new_curve_pair()
    keys = ClientKeys(server=server, public=public, secret=secret)
    for address, given, kind in (
        ("tcp://127.0.0.1:9", None, LocalDealer),
        ("ipc:///tmp/nobody", None, LocalDealer),
        ("tcp://192.0.2.1:9", None, DealerSocket),
        ("tcp://127.0.0.1:9", keys, DealerSocket),
    ):
        with dealer_for(address, given) as dealer:
            assert type(dealer) is kind
