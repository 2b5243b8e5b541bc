import os
import socket as plain_socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from bridge.errors import ConfigError, PeerLost, TransportError
from bridge.transport.sockets import SERVER_MAX_PART_BYTES, DealerSocket, Poller, RouterSocket, SendResult

LONG_US = 2_000_000


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def wait_for(source: RouterSocket | DealerSocket) -> None:
    poller = Poller()
    poller.watch(source)
    for _ in range(1000):  # a wake-up may be empty
        if poller.wait(LONG_US) and source.raw.poll(0):
            return
    raise AssertionError("nothing came")


def connected(stack: ExitStack) -> tuple[RouterSocket, DealerSocket, bytes]:
    router = stack.enter_context(RouterSocket("tcp://127.0.0.1:*"))
    dealer = stack.enter_context(DealerSocket(router.address))
    poller = Poller()
    poller.watch(router)
    while dealer.send([b"hello"]) is not SendResult.SENT:
        poller.wait(1000)
    wait_for(router)
    received = router.receive()
    assert received is not None
    assert received[1] == [b"hello"]
    return router, dealer, received[0]


def test_messages_go_both_ways(stack: ExitStack) -> None:
    router, dealer, peer = connected(stack)
    assert dealer.receive() is None
    assert router.send(peer, [b"a", bytearray(b"b"), memoryview(b"pixels")]) is SendResult.SENT
    wait_for(dealer)
    assert dealer.receive() == [b"a", b"b", b"pixels"]
    assert router.receive() is None


def test_a_sent_buffer_may_be_overwritten_at_once(stack: ExitStack) -> None:
    router, dealer, peer = connected(stack)
    ring_slot = bytearray(b"1" * 200_000)
    router.send(peer, [memoryview(ring_slot)])
    ring_slot[:] = b"2" * 200_000
    wait_for(dealer)
    assert dealer.receive() == [b"1" * 200_000]


def test_unknown_and_vanished_peers_are_gone(stack: ExitStack) -> None:
    router, dealer, peer = connected(stack)
    assert router.send(b"nobody", [b"x"]) is SendResult.GONE
    dealer.close()
    poller = Poller()
    poller.watch(router)
    for _ in range(2000):
        if router.send(peer, [b"x"]) is SendResult.GONE:
            return
        poller.wait(1000)
    raise AssertionError("the peer still counts as there")


def test_a_peer_that_never_reads_fills_up_without_blocking(stack: ExitStack) -> None:
    router, _, peer = connected(stack)
    results = [router.send(peer, [bytes(1_000_000)]) for _ in range(200)]
    assert results[0] is SendResult.SENT
    assert SendResult.FULL in results  # and every call returned


def test_many_messages_at_once_are_all_handed_over(stack: ExitStack) -> None:
    router, dealer, peer = connected(stack)
    for number in range(60):
        dealer.send_or_lose([bytes([number])])
    for number in range(60):
        wait_for(router)
        assert router.receive() == (peer, [bytes([number])])


def test_nobody_there_is_full_for_a_client(stack: ExitStack) -> None:
    dealer = stack.enter_context(DealerSocket("tcp://127.0.0.1:9"))
    assert dealer.send([b"x"]) is SendResult.FULL
    with pytest.raises(PeerLost):
        dealer.send_or_lose([b"x"])


def test_an_address_in_use_is_one_clear_error(stack: ExitStack) -> None:
    router = stack.enter_context(RouterSocket("tcp://127.0.0.1:*"))
    with pytest.raises(ConfigError, match=rf"{router.address} is in use: another service"):
        RouterSocket(router.address)


def test_an_address_of_another_machine_is_one_clear_error() -> None:
    with pytest.raises(ConfigError, match="cannot bind to"):
        RouterSocket("tcp://192.0.2.1:5599")


def test_an_oversized_part_never_arrives_and_the_server_lives(stack: ExitStack) -> None:
    router, dealer, _ = connected(stack)
    dealer.send([bytes(SERVER_MAX_PART_BYTES + 1)])
    other = stack.enter_context(DealerSocket(router.address))
    poller = Poller()
    poller.watch(router)
    while other.send([b"fine"]) is not SendResult.SENT:
        poller.wait(1000)
    wait_for(router)
    received = router.receive()
    assert received is not None
    assert received[1] == [b"fine"]


def test_poller_watches_plain_descriptors_too(stack: ExitStack) -> None:
    router, dealer, _ = connected(stack)
    read_end, write_end = os.pipe()
    stack.callback(os.close, read_end)
    stack.callback(os.close, write_end)
    poller = Poller()
    poller.watch(router)
    poller.watch(read_end)
    assert poller.wait(0) == []
    os.write(write_end, b"!")
    assert poller.wait(LONG_US) == [read_end]
    dealer.send([b"now"])
    seen: list[object] = []
    while router not in seen:
        seen = list(poller.wait(LONG_US))
    assert set(seen) == {router, read_end}
    poller.forget(read_end)
    poller.forget(read_end)
    assert poller.wait(LONG_US) == [router]


def test_closing_twice_is_fine_and_using_a_closed_socket_is_a_transport_error() -> None:
    router = RouterSocket("tcp://127.0.0.1:*")
    router.close()
    router.close()
    with pytest.raises(TransportError):
        router.receive()


def test_ipv6_loopback_works_where_the_machine_has_it(stack: ExitStack) -> None:
    try:
        with plain_socket.socket(plain_socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 loopback here")
    router = stack.enter_context(RouterSocket("tcp://[::1]:*"))
    assert router.address.startswith("tcp://[::1]:")
