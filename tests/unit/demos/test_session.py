"""A game's side of the bridge: the tick, the exchange, the ledger."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest

import bridge
from bridge.client.protocol_core import ClientCore
from bridge.clock import FakeClock
from bridge.protocol.codec import Decoded
from bridge.protocol.messages import Hello
from demos.headless import Take, fly
from demos.session import SETTLE_S, Applied, BridgeSession, Ticker
from demos.tour import tour
from demos.world import World
from model.demo.world.conditions import Conditions
from tests.valid_messages import frame_header

CAMERA = bridge.Camera(position=(0.0, 1.6, 0.0))
TICK_US = 16_667
BUDGET_MS = 16.667


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a control is answered. after_us None: never."""

    after_us: int | None = 2_000
    source: bridge.Source = bridge.Source.GENERATED
    key: tuple[int, int] = (0, 0)
    action: str = ""


def _header(seq: int, answer: Answer) -> bridge.FrameHeader:
    return frame_header(
        seq, source=answer.source, chunk=answer.key[0], index=answer.key[1], action=answer.action,
        control_age_us=100_000, width=4, height=2,
    )  # fmt: skip


class FakeService:
    """Answers controls by a script, through the SDK's own core."""

    def __init__(self, clock: FakeClock, script: list[Answer]) -> None:
        self._clock = clock
        self._script = deque(script)
        self._due: list[tuple[int, bridge.FrameHeader]] = []
        self._core = ClientCore(
            Hello(version_major=1, version_minor=0, client="test", budget_us=round(BUDGET_MS * 1e3))
        )

    @property
    def counts(self) -> bridge.Counts:
        return self._core.counts

    def take_answers(self) -> list[bridge.Answer]:
        return self._core.take_answers()

    def send(self, camera: bridge.Camera, action: str = "") -> int:
        now_us, answer = self._clock.now_us(), self._script.popleft()
        control = self._core.control(camera, action, (), now_us, teleport=False)
        self._core.sent(control)
        if answer.after_us is not None:
            self._due.append((now_us + answer.after_us, _header(control.seq, answer)))
        return control.seq

    def receive(self, timeout_s: float = 1.0) -> bridge.Frame:
        until_us = self._clock.now_us() + round(timeout_s * 1e6)
        if not self._due or self._due[0][0] > until_us:
            self._clock.sleep_until_us(until_us)
            raise bridge.ReceiveTimeout("nothing came")
        self._clock.sleep_until_us(self._due[0][0])
        while self._due and self._due[0][0] <= self._clock.now_us():
            decoded = Decoded(message=self._due.pop(0)[1], pixels=bytes(24))
            self._core.receive(decoded, self._clock.now_us())
        frame = self._core.take_newest(self._clock.now_us())
        assert frame is not None
        return frame


def _run(*script: Answer) -> BridgeSession:
    clock = FakeClock(1_000_000)
    session = BridgeSession(FakeService(clock, list(script)), clock, budget_ms=BUDGET_MS)
    tick = Ticker(clock, 60.0)
    for _ in script:
        session.exchange(CAMERA, "", until_us=tick.deadline_us(1.0))
        tick.next()
    session.settle()
    counts = session.counts
    assert counts.controls == len(script) == counts.answered + counts.unanswered
    assert counts.answered == counts.in_budget + counts.late == len(session.figures.latencies_ms)
    return session


def test_counts_what_was_answered_and_from_where() -> None:
    sources = [bridge.Source.HELD, bridge.Source.GENERATED, bridge.Source.REPROJECTED, bridge.Source.GENERATED]
    keys = [(-1, 0), (0, 0), (0, 0), (0, 1)]
    session = _run(*(Answer(source=source, key=key) for source, key in zip(sources, keys, strict=True)))
    assert session.counts.by_source == {
        bridge.Source.GENERATED: 2,
        bridge.Source.REPROJECTED: 1,
        bridge.Source.HELD: 1,
    }
    assert (session.counts.in_budget, session.counts.late, session.counts.unanswered) == (4, 0, 0)
    assert session.figures.latencies_ms == [2.0] * 4
    assert len(session.figures.control_ages_ms) == 3  # grey is no answer to any control


def test_network_frames_are_counted_once_each() -> None:
    """Ten ticks over five frames: 60 Hz of answers are 30 frames a second."""
    session = _run(*(Answer(key=(0, number // 2)) for number in range(10)))
    assert session.figures.new_frames == 5
    assert session.figures.generated_fps == pytest.approx(30, rel=0.01)


def test_a_late_answer_is_read_with_the_next_tick_and_counted_late() -> None:
    # 30 ms is in the second tick: it is read there first, then that tick's own answer.
    session = _run(Answer(after_us=30_000), Answer(after_us=14_000), Answer())
    assert (session.counts.in_budget, session.counts.late, session.counts.unanswered) == (2, 1, 0)
    assert session.figures.latencies_ms[0] == pytest.approx(30.0)


def test_answers_read_together_all_count_and_the_newest_is_shown() -> None:
    """A service that stalls answers three controls at once: none of them is unanswered, two are late."""
    stalled = (
        Answer(after_us=45_000, key=(0, 0), action="let it rain"),
        Answer(after_us=45_000 - TICK_US, key=(0, 1), source=bridge.Source.REPROJECTED, action="lamps on"),
        Answer(after_us=45_000 - 2 * TICK_US, key=(0, 2), action=""),
    )
    session = _run(*stalled)
    counts = session.counts
    assert (counts.unanswered, counts.in_budget, counts.late) == (0, 1, 2)
    assert (counts.by_source[bridge.Source.GENERATED], counts.by_source[bridge.Source.REPROJECTED]) == (2, 1)
    assert session.figures.latencies_ms == pytest.approx([45.0, 28.333, 11.666])
    assert len(session.history) == 3
    assert session.newest is not None
    assert session.newest.seq == 2
    assert session.figures.new_frames == 1  # the other two were never on show
    assert session.applied.conditions == Conditions(weather="rain", lamps="on")  # but the network has read their texts


def test_the_last_answers_are_waited_for_but_not_for_ever() -> None:
    assert _run(Answer(), Answer(after_us=300_000)).counts.unanswered == 0
    assert _run(Answer(), Answer(after_us=round(SETTLE_S * 1e6) + 100_000)).counts.unanswered == 1
    assert _run(Answer(), Answer(after_us=None)).counts.unanswered == 1


def test_without_an_answer_the_last_frame_stays_on_show() -> None:
    session = _run(Answer(key=(3, 1)), Answer(after_us=None))
    assert session.newest is not None
    assert (session.newest.header.chunk, session.newest.header.index) == (3, 1)


def test_conditions_follow_the_texts_of_shown_frames() -> None:
    applied = Applied()
    for chunk, action in [(-1, "let it snow"), (0, ""), (1, "let it rain"), (1, "let it rain"), (2, "lamps on")]:
        applied.see(_header(0, Answer(key=(chunk, 0), action=action)))
    assert applied.conditions == Conditions(weather="rain", lamps="on")


def test_the_same_text_counts_again_after_another() -> None:
    applied = Applied()
    for action in ("let it rain", "clear sky", "", "let it rain"):
        applied.see(_header(0, Answer(action=action)))
    assert applied.conditions.weather == "rain"


def test_ticks_are_steady() -> None:
    clock = FakeClock(500)
    tick = Ticker(clock, 60.0)
    starts = []
    for _ in range(60):
        starts.append(tick.start_us)
        clock.advance_us(5_000)
        tick.next()
    assert starts == [500 + TICK_US * number for number in range(60)]
    assert tick.dt_s == pytest.approx(1 / 60, rel=1e-3)


def test_a_stall_is_not_hurried_after() -> None:
    clock = FakeClock()
    tick = Ticker(clock, 60.0)
    clock.advance_us(1_000_000)
    tick.next()
    assert tick.start_us == 1_000_000
    assert tick.dt_s == 0.25  # the world does not jump by a second
    tick.next()
    assert tick.start_us == 1_000_000 + TICK_US


def test_a_flight_sends_the_tour_and_keeps_what_was_shown() -> None:
    clock, sent = FakeClock(5_000_000), []

    class Service(FakeService):
        def send(self, camera: bridge.Camera, action: str = "") -> int:
            sent.append((clock.now_us(), camera, action))
            return super().send(camera, action)

    script = [Answer(key=(number // 2, 0)) for number in range(70)]
    session = BridgeSession(Service(clock, script), clock, budget_ms=BUDGET_MS)
    take = fly(session, World.load(), clock, seconds=1.0, tick_hz=60.0)
    assert 60 <= len(sent) <= 61
    for at_us, camera, action in sent:
        point = tour((at_us - 5_000_000) / 1e6)
        assert camera == point.view.camera
        assert action == point.action
    assert len(take.film) == 24
    assert session.counts.answered == len(sent) == len(take.shots)


def test_a_take_of_any_length_keeps_frames_from_all_of_it() -> None:
    session = BridgeSession(FakeService(FakeClock(), []), FakeClock(), budget_ms=BUDGET_MS)
    take = Take(keeps_film=False)
    for number in range(5_000):
        header = _header(number, Answer(source=bridge.Source.REPROJECTED))
        session.newest = bridge.Frame(header=header, pixels=np.zeros((2, 4, 3), np.uint8), latency_ms=1.0)
        take.see(session, number / 60, number / 60)
        take.see(session, number / 60, number / 60)  # still the same frame: not compared twice
    seqs = [shot.frame.seq for shot in take.shots]
    assert 120 <= len(seqs) <= 240
    assert len(set(np.diff(seqs).tolist())) == 1
    assert seqs[0] == 0
    assert seqs[-1] > 4_900
    assert take.film == []


def test_grey_frames_are_not_compared() -> None:
    session = BridgeSession(FakeService(FakeClock(), []), FakeClock(), budget_ms=BUDGET_MS)
    header = _header(0, Answer(source=bridge.Source.HELD, key=(-1, 0)))
    session.newest = bridge.Frame(header=header, pixels=np.zeros((2, 4, 3), np.uint8), latency_ms=1.0)
    take = Take(keeps_film=True)
    take.see(session, 0.0, 0.0)
    assert (len(take.film), take.shots) == (1, [])
