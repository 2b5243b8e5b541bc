import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.delivery import Delivery
from bridge.messages import FrameHeader, PixelFormat, Source


def frame(seq: int, *, source: Source = Source.GENERATED, met: bool = True) -> FrameHeader:
    return FrameHeader(
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
        server_us=1000,
        stage_ms={},
        deadline_met=met,
        width=1,
        height=1,
        pixel_format=PixelFormat.RGB8,
    )


def with_credit(credit: int) -> Delivery:
    delivery = Delivery()
    delivery.credit = credit
    return delivery


def play(delivery: Delivery, *seqs: int) -> list[int]:
    """Controls that are answered at once where that is allowed; returns the answered ones."""
    answered = []
    for seq in seqs:
        delivery.accept(seq)
        if delivery.answer(frame(seq)):
            answered.append(seq)
    return answered


def test_without_credit_the_newest_control_waits_alone() -> None:
    delivery = with_credit(2)
    assert play(delivery, *range(6)) == [0, 1]
    assert not delivery.has_credit
    ledger = delivery.ledger
    assert (ledger.controls, ledger.answered, ledger.dropped, ledger.waiting) == (6, 2, 3, 1)
    delivery.acknowledge(0)
    assert play(delivery, 6) == [6]
    ledger = delivery.ledger
    assert (ledger.controls, ledger.answered, ledger.dropped, ledger.waiting) == (7, 3, 4, 0)


def test_reading_a_frame_gives_back_the_credit_of_all_before() -> None:
    delivery = with_credit(2)
    play(delivery, 0, 1, 2, 3)
    delivery.acknowledge(1)
    assert play(delivery, 4, 5, 6) == [4, 5]


def test_late_answers_are_counted() -> None:
    delivery = with_credit(2)
    for seq in (0, 1):
        delivery.accept(seq)
        delivery.answer(frame(seq, met=seq == 0))
    assert (delivery.ledger.answered, delivery.ledger.late) == (2, 1)


def test_answers_to_nothing_are_ignored() -> None:
    delivery = with_credit(2)
    delivery.accept(0)
    delivery.accept(1)
    assert not delivery.answer(frame(0))
    assert delivery.answer(frame(1))
    assert not delivery.answer(frame(1))
    assert not delivery.answer(frame(7))
    assert (delivery.ledger.answered, delivery.ledger.dropped) == (1, 1)


def test_a_frame_that_could_not_be_handed_over_is_dropped_and_costs_no_credit() -> None:
    delivery = with_credit(1)
    delivery.accept(0)
    header = frame(0, source=Source.HELD, met=False)
    assert delivery.answer(header)
    delivery.take_back(header)
    assert delivery.has_credit
    ledger = delivery.ledger
    assert (ledger.answered, ledger.held, ledger.late, ledger.dropped) == (0, 0, 0, 1)


@pytest.mark.parametrize("source", Source)
def test_answers_are_counted_by_source(source: Source) -> None:
    delivery = with_credit(1)
    delivery.accept(0)
    delivery.answer(frame(0, source=source))
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
            header = frame(self.next_seq - back, source=source, met=met)
            if self.delivery.answer(header):
                self.sent.append(header.seq)

    @rule(newest=st.booleans())
    def client_reads(self, newest: bool) -> None:
        unread = [seq for seq in self.sent if seq > self.read]
        if unread:
            self.read = unread[-1 if newest else 0]
            self.delivery.acknowledge(self.read)

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
