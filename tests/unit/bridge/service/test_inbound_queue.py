"""Big messages last, and every peer's messages in its own order."""

from __future__ import annotations

from bridge.service.inbound_queue import BIG_BYTES, MOST_HELD, MOST_HELD_BYTES, Admission, Intake

BIG = [b"HLB1", b"\5", bytes(BIG_BYTES)]


def small(number: int) -> list[bytes]:
    return [b"HLB1", b"\3", bytes([number])]


def test_small_messages_are_handled_at_once() -> None:
    intake = Intake()
    assert [intake.admit(b"a", small(number)) for number in range(3)] == [Admission.NOW] * 3
    assert len(intake) == 0


def test_a_peers_messages_keep_their_order_and_others_do_not_wait_for_them() -> None:
    intake = Intake()
    sent = [BIG, small(1), small(2), BIG, small(3)]
    assert [intake.admit(b"a", parts) for parts in sent] == [Admission.LATER] * 5
    assert intake.admit(b"b", small(9)) is Admission.NOW
    assert intake.take() == (b"a", [BIG, small(1), small(2)])
    assert intake.admit(b"a", small(4)) is Admission.LATER  # behind the second big one
    assert intake.take() == (b"a", [BIG, small(3), small(4)])
    assert len(intake) == 0
    assert intake.admit(b"a", small(5)) is Admission.NOW


def test_peers_take_turns() -> None:
    intake = Intake()
    for peer in (b"a", b"a", b"a", b"b", b"c"):
        intake.admit(peer, BIG)
    assert [intake.take()[0] for _ in range(5)] == [b"a", b"b", b"c", b"a", b"a"]


def test_what_one_peer_can_pile_up_is_bounded() -> None:
    intake = Intake()
    huge = [b"HLB1", b"\5", bytes(4 * 2**20)]
    verdicts = [intake.admit(b"a", huge) for _ in range(8)]
    assert verdicts.count(Admission.LATER) == MOST_HELD_BYTES // len(huge[2]) - 1  # the other parts count too
    intake.admit(b"b", BIG)
    verdicts = [intake.admit(b"b", small(0)) for _ in range(MOST_HELD + 5)]
    assert verdicts == [Admission.LATER] * (MOST_HELD - 1) + [Admission.TOO_MANY] * 6
    for _ in range(4):
        intake.take()
    assert intake.admit(b"a", small(1)) is Admission.NOW
