from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.protocol.messages import FrameHeader, Source
from bridge.session.flow_control import Account, FlowControl
from tests.valid_messages import frame_header

BUDGET_US = 16_667


def frame(seq: int, *, source: Source = Source.GENERATED, met: bool = True, sent_us: int = 0) -> FrameHeader:
    return frame_header(seq, source=source, deadline_met=met, server_t_us=sent_us)


def with_credit(credit: int) -> FlowControl:
    delivery = FlowControl()
    delivery.credit = credit
    return delivery


def play(delivery: FlowControl, *seqs: int) -> list[int]:
    """Controls that are answered at once where that is allowed; returns the answered ones."""
    answered = []
    for seq in seqs:
        delivery.accept(seq, BUDGET_US)
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
        delivery.accept(seq, BUDGET_US)
        delivery.answer(frame(seq, met=seq == 0))
    assert (delivery.ledger.answered, delivery.ledger.late) == (2, 1)


def test_answers_to_nothing_are_ignored() -> None:
    delivery = with_credit(1)
    delivery.accept(0, BUDGET_US)
    delivery.accept(1, BUDGET_US)
    assert not delivery.answer(frame(0))
    assert delivery.answer(frame(1))
    assert not delivery.answer(frame(1))
    assert not delivery.answer(frame(7))
    assert (delivery.ledger.answered, delivery.ledger.dropped) == (1, 1)


def test_a_frame_that_could_not_be_handed_over_is_dropped_and_costs_no_credit() -> None:
    delivery = with_credit(1)
    delivery.accept(0, BUDGET_US)
    header = frame(0, source=Source.HELD, met=False)
    assert delivery.answer(header)
    delivery.take_back(header)
    assert delivery.has_credit
    ledger = delivery.ledger
    assert (ledger.answered, ledger.held, ledger.late, ledger.dropped) == (0, 0, 0, 1)


def test_of_controls_that_come_together_as_many_are_answered_as_there_is_credit_for() -> None:
    delivery = with_credit(2)
    for seq in range(4):
        delivery.accept(seq, BUDGET_US)
    assert [delivery.awaits(seq) for seq in range(4)] == [False, False, True, True]
    assert delivery.ledger.waiting == 2
    assert delivery.answer(frame(2))
    assert delivery.answer(frame(3))
    accounts = delivery.accounts
    assert (accounts[Account.OVERTAKEN], accounts[Account.GENERATED], accounts[Account.WAITING]) == (2, 2, 0)


def test_an_answer_to_a_newer_control_is_one_to_all_that_wait() -> None:
    delivery = with_credit(3)
    for seq in range(3):
        delivery.accept(seq, BUDGET_US)
    assert delivery.answer(frame(2))
    assert not delivery.answer(frame(1))
    assert delivery.accounts[Account.OVERTAKEN] == 2


def test_a_control_whose_successor_is_answered_by_its_deadline_was_overtaken_and_counts_as_delivered() -> None:
    delivery = with_credit(1)
    for seq, deadline_us in enumerate((10, 20, 30)):
        delivery.accept(seq, deadline_us)
    assert delivery.accounts[Account.SUPERSEDED] == 2  # until one is answered
    delivery.answer(frame(2, sent_us=15))
    accounts = delivery.accounts
    assert (accounts[Account.SUPERSEDED], accounts[Account.OVERTAKEN], accounts[Account.GENERATED]) == (1, 1, 1)
    assert delivery.ledger.dropped == 2
    assert delivery.ledger.delivery == pytest.approx(2 / 3)
    delivery.accept(3, 40)
    delivery.answer(frame(3, sent_us=16))  # says nothing about what the answer before it settled
    assert delivery.accounts[Account.SUPERSEDED] == 1


def test_a_frame_that_could_not_be_handed_over_overtook_nobody() -> None:
    delivery = with_credit(1)
    delivery.accept(0, 10)
    delivery.accept(1, 10)
    delivery.answer(frame(1, sent_us=5))
    delivery.take_back(frame(1, sent_us=5))
    accounts = delivery.accounts
    assert (accounts[Account.SUPERSEDED], accounts[Account.OVERTAKEN], accounts[Account.NOT_HANDED_OVER]) == (1, 0, 1)
    assert delivery.ledger.delivery == 0.0


@pytest.mark.parametrize("source", Source)
def test_answers_are_counted_by_source(source: Source) -> None:
    delivery = with_credit(1)
    delivery.accept(0, BUDGET_US)
    delivery.answer(frame(0, source=source))
    ledger = delivery.ledger
    assert {"generated": ledger.generated, "reprojected": ledger.reprojected, "held": ledger.held}[source.value] == 1


class LedgerMachine(RuleBasedStateMachine):
    """Any order of events keeps the sums, the window, the order of what is sent, and who was delivered."""

    def __init__(self) -> None:
        super().__init__()
        self.delivery = with_credit(2)
        self.next_seq = 0
        self.sent: list[int] = []
        self.read = -1
        self.now_us = 0
        self.refusals = 0
        self.given_up: set[int] = set()  # seqs whose frame was not handed over, or whose client went
        self.deadlines_us: list[int] = []
        self.sent_us: dict[int, int] = {}  # by seq
        self.last: FrameHeader | None = None  # the newest answer, while the transport may still fail on it

    @rule(pause_us=st.integers(0, 2 * BUDGET_US))
    def control(self, pause_us: int) -> None:
        self.now_us += pause_us
        self.deadlines_us.append(self.now_us + BUDGET_US)
        self.delivery.accept(self.next_seq, self.deadlines_us[-1])
        self.next_seq += 1
        self.last = None

    @rule()
    def refused(self) -> None:
        self.delivery.refuse()
        self.refusals += 1

    @rule(back=st.integers(1, 4), source=st.sampled_from(list(Source)), pause_us=st.integers(0, 2 * BUDGET_US))
    def answer(self, back: int, source: Source, pause_us: int) -> None:
        self.now_us += pause_us
        if self.next_seq >= back:
            seq = self.next_seq - back
            met = self.now_us <= self.deadlines_us[seq]
            header = frame(seq, source=source, met=met, sent_us=self.now_us)
            if self.delivery.answer(header):
                self.sent.append(header.seq)
                self.sent_us[seq] = self.now_us
                self.last = header

    def served(self, seq: int, due_us: int) -> bool:
        return any(newer >= seq and sent_us <= due_us for newer, sent_us in self.sent_us.items())

    @rule()
    def transport_fails(self) -> None:
        if self.last is not None:
            self.delivery.take_back(self.last)
            self.sent.remove(self.last.seq)
            del self.sent_us[self.last.seq]
            self.given_up.add(self.last.seq)
            self.last = None

    @rule(newest=st.booleans())
    def client_reads(self, newest: bool) -> None:
        unread = [seq for seq in self.sent if seq > self.read]
        if unread:
            self.read, self.last = unread[-1 if newest else 0], None
            self.delivery.acknowledge(self.read)

    @rule()
    def vanish(self) -> None:
        self.delivery.drop_all()
        self.given_up |= {seq for seq, due_us in enumerate(self.deadlines_us) if not self.served(seq, due_us)}
        self.read, self.last = self.sent[-1] if self.sent else -1, None

    @invariant()
    def sums_hold(self) -> None:
        ledger = self.delivery.ledger
        assert ledger.controls == ledger.answered + ledger.dropped + ledger.refused + ledger.waiting
        assert ledger.answered == ledger.generated + ledger.reprojected + ledger.held == len(self.sent)
        assert sum(self.delivery.accounts.values()) == ledger.controls == self.next_seq + self.refusals

    @invariant()
    def delivered_is_whoever_a_frame_of_its_own_or_newer_was_sent_for_in_time(self) -> None:
        served = sum(
            seq not in self.given_up and self.served(seq, due_us) for seq, due_us in enumerate(self.deadlines_us)
        )
        ledger = self.delivery.ledger
        ended = ledger.controls - ledger.waiting
        assert ledger.delivery == pytest.approx(served / ended if ended else 0.0)

    @invariant()
    def never_older_and_never_more_than_credit(self) -> None:
        assert self.sent == sorted(set(self.sent))
        assert len([seq for seq in self.sent if seq > self.read]) <= 2


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(("deadline_met", "account"), [(True, Account.GENERATED), (False, Account.LATE)])
def test_an_answer_counts_by_its_source_only_by_its_deadline(deadline_met: bool, account: Account) -> None:
    flow = FlowControl()
    flow.accept(0, 1_000)
    header = frame_header(0, deadline_met=deadline_met)
    assert flow.answer(header)
    assert flow.accounts[account] == 1
    flow.take_back(header)
    assert (flow.accounts[account], flow.accounts[Account.NOT_HANDED_OVER]) == (0, 1)
