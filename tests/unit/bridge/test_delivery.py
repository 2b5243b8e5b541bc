import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.delivery import MAX_WAITING, Delivery, ReadyFrame
from bridge.messages import FrameHeader, PixelFormat, Source


def frame(seq: int, *, source: Source = Source.GENERATED, server_us: int = 1000, met: bool = True) -> ReadyFrame:
    header = FrameHeader(
        seq=seq,
        t_us=0,
        source=source,
        chunk=0,
        index=0,
        position=(0.0, 0.0, 0.0),
        rotation=(0.0, 0.0, 0.0, 1.0),
        vertical_fov_deg=60.0,
        action="",
        steps=(1, 1, 1),
        rung="full",
        control_age_us=5000,
        server_us=server_us,
        stage_ms={},
        deadline_met=met,
        width=1,
        height=1,
        pixel_format=PixelFormat.RGB8,
    )
    return ReadyFrame(header=header, pixels=bytes([seq % 256] * 3))


def with_credit(credit: int) -> Delivery:
    delivery = Delivery()
    delivery.credit = credit
    delivery.budget_us = 16_000
    return delivery


def seq_of(sent: ReadyFrame | None) -> int | None:
    return None if sent is None else sent.header.seq


def test_without_credit_the_newest_frame_waits_alone() -> None:
    delivery = with_credit(2)
    for seq in range(6):
        delivery.accept(seq)
    assert [seq_of(delivery.offer(frame(seq), 0)) for seq in range(6)] == [0, 1, None, None, None, None]
    assert not delivery.has_credit
    delivery.acknowledge(0)
    assert seq_of(delivery.release(0)) == 5
    assert delivery.release(0) is None
    ledger = delivery.ledger
    assert (ledger.controls, ledger.answered, ledger.dropped, ledger.waiting) == (6, 3, 3, 0)


def test_reading_a_frame_gives_back_the_credit_of_all_before() -> None:
    delivery = with_credit(2)
    for seq in range(4):
        delivery.accept(seq)
        delivery.offer(frame(seq), 0)
    delivery.acknowledge(1)
    assert seq_of(delivery.release(0)) == 3
    assert delivery.has_credit


def test_a_frame_that_waited_says_so() -> None:
    delivery = with_credit(1)
    for seq in (0, 1):
        delivery.accept(seq)
        delivery.offer(frame(seq, server_us=10_000), 100_000)
    delivery.acknowledge(0)
    sent = delivery.release(107_000)
    assert sent is not None
    assert (sent.header.server_us, sent.header.control_age_us) == (17_000, 12_000)
    assert not sent.header.deadline_met
    assert delivery.ledger.late == 1


def test_answering_a_newer_control_drops_the_older_ones() -> None:
    delivery = with_credit(2)
    for seq in range(3):
        delivery.accept(seq)
    assert seq_of(delivery.offer(frame(2), 0)) == 2
    assert delivery.offer(frame(1), 0) is None
    assert (delivery.ledger.answered, delivery.ledger.dropped) == (1, 2)


def test_answers_to_nothing_are_ignored() -> None:
    delivery = with_credit(2)
    delivery.accept(0)
    delivery.offer(frame(0), 0)
    assert delivery.offer(frame(0), 0) is None
    assert delivery.offer(frame(7), 0) is None
    assert delivery.ledger.answered == 1


def test_a_frame_that_could_not_be_handed_over_is_dropped_and_costs_no_credit() -> None:
    delivery = with_credit(1)
    delivery.accept(0)
    sent = delivery.offer(frame(0, source=Source.HELD, met=False), 0)
    assert sent is not None
    delivery.take_back(sent.header)
    assert delivery.has_credit
    ledger = delivery.ledger
    assert (ledger.answered, ledger.held, ledger.late, ledger.dropped) == (0, 0, 0, 1)


def test_a_flood_of_controls_is_bounded() -> None:
    delivery = with_credit(1)
    for seq in range(MAX_WAITING + 10):
        delivery.accept(seq)
    assert (delivery.ledger.waiting, delivery.ledger.dropped) == (MAX_WAITING, 10)


@pytest.mark.parametrize("source", Source)
def test_answers_are_counted_by_source(source: Source) -> None:
    delivery = with_credit(1)
    delivery.accept(0)
    delivery.offer(frame(0, source=source), 0)
    ledger = delivery.ledger
    assert {"generated": ledger.generated, "reprojected": ledger.reprojected, "held": ledger.held}[source.value] == 1


class LedgerMachine(RuleBasedStateMachine):
    """Any order of events keeps the sums, the window, and the order of what is sent."""

    def __init__(self) -> None:
        super().__init__()
        self.delivery = with_credit(2)
        self.next_seq = 0
        self.sent: list[int] = []
        self.read = -1

    def note(self, sent: ReadyFrame | None) -> None:
        if sent is not None:
            self.sent.append(sent.header.seq)

    @rule()
    def control(self) -> None:
        self.delivery.accept(self.next_seq)
        self.next_seq += 1

    @rule()
    def refused(self) -> None:
        self.delivery.refuse()

    @rule(back=st.integers(1, 4), source=st.sampled_from(list(Source)), met=st.booleans())
    def answer(self, back: int, source: Source, met: bool) -> None:
        if self.next_seq >= back:
            self.note(self.delivery.offer(frame(self.next_seq - back, source=source, met=met), 0))

    @rule(newest=st.booleans())
    def client_reads(self, newest: bool) -> None:
        unread = [seq for seq in self.sent if seq > self.read]
        if unread:
            self.read = unread[-1 if newest else 0]
            self.delivery.acknowledge(self.read)
            self.note(self.delivery.release(0))

    @rule()
    def vanish(self) -> None:
        self.delivery.drop_all()
        self.read = self.sent[-1] if self.sent else -1

    @invariant()
    def sums_hold(self) -> None:
        ledger = self.delivery.ledger
        assert ledger.controls == ledger.answered + ledger.dropped + ledger.refused + ledger.waiting
        assert ledger.answered == ledger.generated + ledger.reprojected + ledger.held == len(self.sent)

    @invariant()
    def never_older_and_never_more_than_credit(self) -> None:
        assert self.sent == sorted(set(self.sent))
        assert len([seq for seq in self.sent if seq > self.read]) <= 2


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
