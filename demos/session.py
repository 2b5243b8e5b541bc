"""A game's side of the bridge, shared by the window and the headless tour: one exchange a tick, and the count of it.

The protocol is the SDK's business (`bridge.Client`); here is what a game adds: a steady tick, which frame to show, what
the player's words have done to the pixels shown so far, and numbers for the HUD and the report.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import bridge
from bridge.clock import Clock
from bridge.rolling_stats import RateMeter
from demos.action_parser import apply_text
from model.demo.world.conditions import Conditions

HISTORY_S = 6.0
SETTLE_S = 0.5  # how long the last answers are waited for before a run is counted


class FrameSource(Protocol):
    """What a session needs of `bridge.Client`."""

    def send(self, camera: bridge.Camera, action: str = "") -> int: ...

    def receive(self, timeout_s: float = 1.0) -> bridge.Frame: ...

    def take_answers(self) -> list[bridge.Answer]: ...

    @property
    def counts(self) -> bridge.Counts: ...


class Ticker:
    """A steady clock for a game loop. A loop that falls behind goes on from now instead of hurrying after."""

    def __init__(self, clock: Clock, tick_hz: float) -> None:
        self.start_us = clock.now_us()
        self.tick_us = round(1e6 / tick_hz)
        self._clock = clock
        self._began_us = self.start_us
        self._previous_us = self.start_us - self.tick_us

    @property
    def elapsed_s(self) -> float:
        """Since the loop began, at this tick's start."""
        return (self.start_us - self._began_us) / 1e6

    @property
    def dt_s(self) -> float:
        """From the last tick's start to this one's; a pause (a dragged window) counts as a quarter of a second."""
        return min((self.start_us - self._previous_us) / 1e6, 0.25)

    def deadline_us(self, share: float) -> int:
        """The instant at which `share` of this tick is over."""
        return self.start_us + round(share * self.tick_us)

    def next(self) -> None:
        """Sleeps until the next tick begins."""
        due_us = self.start_us + self.tick_us
        self._clock.sleep_until_us(due_us)
        self._previous_us = self.start_us
        late = self._clock.now_us() > due_us + self.tick_us
        self.start_us = self._clock.now_us() if late else due_us


@dataclass(slots=True, kw_only=True)
class Applied:
    """What the shown pixels' action texts have made of the world, by the game's own reading of them."""

    conditions: Conditions = field(default_factory=Conditions)
    action: str = ""

    def see(self, header: bridge.FrameHeader) -> None:
        """Takes in an answer's header. It tells the text in force, which counts when it changes."""
        if header.chunk >= 0 and header.action != self.action:
            self.action = header.action
            self.conditions = apply_text(self.conditions, header.action)


@dataclass(slots=True, kw_only=True)
class Figures:
    """What a run's report tells beyond the client's own counts: times of every answer, and the frames shown."""

    latencies_ms: list[float] = field(default_factory=list)
    control_ages_ms: list[float] = field(default_factory=list)
    new_frames: int = 0
    first_new_us: int | None = None
    last_new_us: int | None = None

    @property
    def generated_fps(self) -> float:
        """Different network frames shown a second, from the first to the last."""
        if self.first_new_us is None or self.last_new_us is None or self.last_new_us == self.first_new_us:
            return 0.0
        return (self.new_frames - 1) * 1e6 / (self.last_new_us - self.first_new_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One answer, for plots."""

    at_us: int
    latency_ms: float
    control_age_ms: float
    source: bridge.Source


class BridgeSession:
    """One game's conversation with a service. Not thread-safe.

    newest: the frame to show, None before the first answer. applied: the conditions that its pixels should show.
    counts: the client's account of controls and answers.
    """

    def __init__(self, client: FrameSource, clock: Clock, *, budget_ms: float) -> None:
        self.counts = client.counts
        self.figures = Figures()
        self.applied = Applied()
        self.newest: bridge.Frame | None = None
        self.history: deque[Sample] = deque()
        self.new_frame_rate = RateMeter()
        self.began_us = clock.now_us()
        self.budget_ms = budget_ms
        self._client = client
        self._clock = clock
        self._newest_key = (-1, -1)
        self._last_seq = -1

    def exchange(self, camera: bridge.Camera, action: str, *, until_us: int) -> bridge.Frame | None:
        """One tick: sends a control, and waits for its answer until `until_us`. Returns: the frame to show."""
        self._last_seq = self._client.send(camera, action)
        self._collect(until_us)
        return self.newest

    def settle(self) -> None:
        """Waits a moment for answers that are still under way."""
        self._collect(self._clock.now_us() + round(SETTLE_S * 1e6))

    def _collect(self, until_us: int) -> None:
        with suppress(bridge.ReceiveTimeout):  # what is late is shown with the next tick
            while self.newest is None or self.newest.seq < self._last_seq:
                left_s = max(0.0, (until_us - self._clock.now_us()) / 1e6)
                self._show(self._client.receive(timeout_s=left_s))
        for answer in self._client.take_answers():
            self._note(answer)

    def _show(self, frame: bridge.Frame) -> None:
        now_us, figures = self._clock.now_us(), self.figures
        self.newest = frame
        key = (frame.header.chunk, frame.header.index)
        if frame.header.chunk >= 0 and key > self._newest_key:
            self._newest_key = key
            self.new_frame_rate.add(now_us)
            figures.new_frames += 1
            figures.first_new_us = now_us if figures.first_new_us is None else figures.first_new_us
            figures.last_new_us = now_us

    def _note(self, answer: bridge.Answer) -> None:
        """Takes in an answer, shown or overtaken by a newer one."""
        now_us, painted = self._clock.now_us(), answer.header.chunk >= 0
        self.applied.see(answer.header)
        self.figures.latencies_ms.append(answer.latency_ms)
        if painted:
            self.figures.control_ages_ms.append(answer.age_ms)
        self.history.append(
            Sample(
                at_us=now_us,
                latency_ms=answer.latency_ms,
                control_age_ms=answer.age_ms if painted else 0.0,
                source=answer.header.source,
            )
        )
        while self.history[0].at_us < now_us - HISTORY_S * 1e6:
            self.history.popleft()
