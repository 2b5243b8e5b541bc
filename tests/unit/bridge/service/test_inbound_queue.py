"""Big messages last, and every peer's messages in its own order."""

from __future__ import annotations

from bridge.service.inbound_queue import BIG_BYTES, MOST_HELD, MOST_HELD_BYTES, Admission, InboundQueue

BIG = [b"HLB1", b"\5", bytes(BIG_BYTES)]


def small(number: int) -> list[bytes]:
    return [b"HLB1", b"\3", bytes([number])]


def test_small_messages_are_handled_at_once() -> None:
    queue = InboundQueue()
    assert [queue.admit(b"a", small(number)) for number in range(3)] == [Admission.NOW] * 3
    assert len(queue) == 0


def test_a_peers_messages_keep_their_order_and_others_do_not_wait_for_them() -> None:
    queue = InboundQueue()
    sent = [BIG, small(1), small(2), BIG, small(3)]
    assert [queue.admit(b"a", parts) for parts in sent] == [Admission.LATER] * 5
    assert queue.admit(b"b", small(9)) is Admission.NOW
    assert queue.take() == (b"a", [BIG, small(1), small(2)])
    assert queue.admit(b"a", small(4)) is Admission.LATER  # behind the second big one
    assert queue.take() == (b"a", [BIG, small(3), small(4)])
    assert len(queue) == 0
    assert queue.admit(b"a", small(5)) is Admission.NOW


def test_peers_take_turns() -> None:
    queue = InboundQueue()
    for peer in (b"a", b"a", b"a", b"b", b"c"):
        queue.admit(peer, BIG)
    assert [queue.take()[0] for _ in range(5)] == [b"a", b"b", b"c", b"a", b"a"]


def test_what_one_peer_can_pile_up_is_bounded() -> None:
    queue = InboundQueue()
    huge = [b"HLB1", b"\5", bytes(4 * 2**20)]
    verdicts = [queue.admit(b"a", huge) for _ in range(8)]
    assert verdicts.count(Admission.LATER) == MOST_HELD_BYTES // len(huge[2]) - 1  # the other parts count too
    queue.admit(b"b", BIG)
    verdicts = [queue.admit(b"b", small(0)) for _ in range(MOST_HELD + 5)]
    assert verdicts == [Admission.LATER] * (MOST_HELD - 1) + [Admission.TOO_MANY] * 6
    for _ in range(4):
        queue.take()
    assert queue.admit(b"a", small(1)) is Admission.NOW
