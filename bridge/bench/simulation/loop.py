"""Plays a trace against the code that serves: session, player, conductor and ledger, on one fake clock.

Only what touches the world is replaced: the network by the trace's delays, the engine process by its costs, the pixels
by nothing. One server thread: whatever arrives while it is busy waits, and is taken in before any is answered.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bridge.bench.simulation.outcome import Answered, Outcome
from bridge.bench.simulation.traces import EngineModel, Sent, Trace
from bridge.clock import FakeClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo, Plan, Rung
from bridge.engine.ipc_messages import ArrivingChunk, StepResult
from bridge.geometry import Pose
from bridge.presentation.reprojection import MovedPart
from bridge.protocol.messages import VERSION_MAJOR, VERSION_MINOR, Control, FrameHeader, Hello, PixelFormat, Source
from bridge.scheduling.chunk_scheduler import ChunkScheduler, ChunkSchedulerConfig
from bridge.scheduling.in_flight_chunk import InFlightChunk
from bridge.service.render_session import RenderSession
from bridge.session.capabilities import ServerCapabilities
from bridge.session.events import ControlAccepted, Send
from bridge.session.session import Session

CLIENT_CLOCK_US = 5_000_000_000  # what the client's clock is ahead of the server's
_WIDTH, _HEIGHT = 8, 4
_ANSWER_US = {Source.GENERATED: 300, Source.REPROJECTED: 1_500, Source.HELD: 200}
_CREDIT = 4
RUNGS = (
    Rung(name="full", steps=(2, 2, 2)),
    Rung(name="three-steps", steps=(1, 1, 1), cost_share=0.55),
    Rung(name="tiny-decoder", steps=(1, 1, 1), cost_share=0.42),
    Rung(name="small", steps=(1, 1, 1), cost_share=0.25),
)
"""What the simulated engine can fall back on: shares of the full cost, as measured parts of a large model suggest."""


class NoPixels:
    """Stands for the warp where only decisions matter."""

    def warp(
        self,
        frame: NDArray[np.uint8],
        *,
        source: Pose,
        target: Pose,
        depth: NDArray[np.float32] | None = None,
        parts: NDArray[np.uint32] | None = None,
        moved: Sequence[MovedPart] = (),
    ) -> NDArray[np.uint8]:
        return frame

    def keep(self, frame: NDArray[np.uint8], pose: Pose) -> None:
        """Nothing is looked at."""

    def forget(self) -> None:
        """Nothing is kept."""


@dataclass(slots=True)
class _Seat:
    """One simulated client and its side of the server."""

    trace: Trace
    session: Session
    render_session: RenderSession
    outcome: Outcome
    pending: int = 0  # the control to send next
    unanswered: list[tuple[ControlAccepted, Sent]] = field(default_factory=list)
    newest_read: int = -1
    last_camera_us: int = 0


class Simulation:
    """Several sessions on one engine. `quality` pins a rung."""

    def __init__(
        self,
        traces: Sequence[Trace],
        *,
        engine: EngineModel | None = None,
        scheduler: ChunkSchedulerConfig | None = None,
        rungs: tuple[Rung, ...] = RUNGS,
        cuts: bool = True,
    ) -> None:
        self._engine = engine or EngineModel()
        self._rungs = {rung.name: rung for rung in rungs}
        self._cuts = cuts
        self._clock = FakeClock(1_000_000)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._config = ServeConfig(fps=self._engine.fps, max_credit=_CREDIT)
        self._info = EngineInfo(
            model="simulated", runner="none", frame_width=_WIDTH, frame_height=_HEIGHT,
            frames_per_chunk=self._engine.frames_per_chunk, depth_width=_WIDTH, depth_height=_HEIGHT,
            camera_method="channels", default_map="none", rungs=rungs,
            max_batch=self._engine.max_batch,
        )  # fmt: skip
        self.scheduler = ChunkScheduler(
            scheduler or ChunkSchedulerConfig(fps=self._engine.fps), self._info, self._clock.now_us()
        )
        self._began_us = self._clock.now_us()
        self._is_busy = False
        self._wake_us: int | None = None
        self._seats = {f"s{number}": self._seat(f"s{number}", trace) for number, trace in enumerate(traces)}

    def run(self) -> list[Outcome]:
        """Plays everything to the end."""
        for name, seat in self._seats.items():
            self._at(self._began_us + seat.trace.controls[0].sent_us, self._sender(name, seat))
        while self._events:
            self._clock.sleep_until_us(self._events[0][0])
            while self._events and self._events[0][0] <= self._clock.now_us():
                heapq.heappop(self._events)[2]()
            for seat in self._seats.values():
                self._answer_waiting(seat)
            self._make_frames()
        for name, seat in self._seats.items():
            now_us = self._clock.now_us()
            seat.outcome.wasted_us = self.scheduler.wasted_us(name)
            seat.outcome.ledger = seat.render_session.fill_stats(seat.session.ledger, now_us)
            seat.outcome.accounts = seat.session.accounts
        return [seat.outcome for seat in self._seats.values()]

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _at(self, at_us: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_us, next(self._order), act))

    def _seat(self, name: str, trace: Trace) -> _Seat:
        offer = ServerCapabilities(
            server="simulation", model="simulated", runner="none", camera_method="none", default_map="none",
            frame_width=_WIDTH, frame_height=_HEIGHT, fps=self._engine.fps,
            frames_per_chunk=self._engine.frames_per_chunk,
        )  # fmt: skip
        now_us = self._clock.now_us()
        session = Session(offer=offer, config=self._config, session_id=name, resume_token=name, now_us=now_us)
        hello = Hello(
            version_major=VERSION_MAJOR, version_minor=VERSION_MINOR, client=name, credit=_CREDIT,
            budget_us=trace.tick_us, tick_hz=1e6 / trace.tick_us,
        )  # fmt: skip
        session.receive(hello, now_us)
        render_session = RenderSession(config=self._config, info=self._info, clock=self._clock, warper=NoPixels())
        render_session.engine_session, render_session.opened = 0, True
        return _Seat(trace=trace, session=session, render_session=render_session, outcome=Outcome())

    def _sender(self, name: str, seat: _Seat) -> Callable[[], None]:
        """The client's tick: sends a control, and comes back for the next."""

        def send() -> None:
            sent = seat.trace.controls[seat.pending]
            at_us = self._began_us + sent.sent_us  # the server's work may have put the clock ahead of the client's tick
            control = _control(seat.pending, sent, at_us, frame_received_seq=seat.newest_read)
            self._at(at_us + sent.up_us, lambda: self._receive(seat, control, sent))
            seat.pending += 1
            if seat.pending < len(seat.trace.controls):
                self._at(self._began_us + seat.trace.controls[seat.pending].sent_us, send)

        return send

    def _receive(self, seat: _Seat, control: Control, sent: Sent) -> None:
        """The server takes a control in."""
        # What a socket held up arrives behind the answers made meanwhile: the clock may be ahead of the event.
        now_us = self._clock.now_us()
        for output in seat.session.receive(control, now_us):
            if isinstance(output, ControlAccepted):
                seat.render_session.push(output)
                seat.unanswered.append((output, sent))
        accounts = seat.session.accounts
        seat.outcome.totals_held &= sum(accounts.values()) == seat.session.ledger.controls == control.seq + 1

    def _answer_waiting(self, seat: _Seat) -> None:
        controls, seat.unanswered = seat.unanswered, []
        for accepted, sent in controls:
            if not seat.session.awaits(accepted.control.seq):
                continue
            header, pixels = seat.render_session.answer(accepted, PixelFormat.RGB8)
            self._clock.advance_us(_ANSWER_US[header.source])
            for output in seat.session.answer(header, pixels):
                if isinstance(output, Send) and isinstance(output.message, FrameHeader):
                    answered = self._answered(seat, output.message, self._clock.now_us() + sent.down_us)
                    self._at(answered.arrived_us, functools.partial(self._read, seat, answered))

    def _answered(self, seat: _Seat, header: FrameHeader, arrived_us: int) -> Answered:
        sent_us = header.t_us - CLIENT_CLOCK_US
        if header.source is not Source.HELD or header.chunk < 0:
            seat.last_camera_us = sent_us
        return Answered(
            seq=header.seq,
            sent_us=sent_us,
            arrived_us=arrived_us,
            source=header.source,
            control_us=None if header.control_t_us < 0 else header.control_t_us - CLIENT_CLOCK_US,
            camera_us=seat.last_camera_us,
            rung=header.rung,
        )

    @staticmethod
    def _read(seat: _Seat, answered: Answered) -> None:
        seat.newest_read = max(seat.newest_read, answered.seq)
        seat.outcome.answers.append(answered)

    def _make_frames(self) -> None:
        now_us = self._clock.now_us()
        if self._is_busy:
            return
        playing = {
            name: seat.render_session for name, seat in self._seats.items() if seat.render_session.wants_frames(now_us)
        }
        start = self.scheduler.next_start(now_us, playing)
        for seat in self._seats.values():
            rungs = seat.outcome.rungs
            if not rungs or rungs[-1][1] != self.scheduler.ladder.rung:
                rungs.append((now_us - self._began_us, self.scheduler.ladder.rung))
        if start is None:
            return
        if start.at_us > now_us:
            if self._wake_us is None or self._wake_us <= now_us or start.at_us < self._wake_us:
                self._wake_us = start.at_us
                self._at(start.at_us, lambda: None)
            return
        starts = (start, *start.beside)
        slowness = max(self._seats[one.session].trace.slowness(now_us - self._began_us) for one in starts)
        cost_us = round(
            self._engine.cost_us(start.plan.frames, len(starts)) * self._rungs[start.plan.rung].cost_share * slowness
        )
        for one in starts:
            seat = self._seats[one.session]
            seat.render_session.store.evict(now_us)
            in_flight = seat.render_session.ask(now_us, one, cause=self.scheduler.cause(one))
            self.scheduler.begun(now_us, in_flight)
            seat.outcome.lengths.append(in_flight.plan.frames)
            seat.outcome.together.append(len(starts))
            seat.outcome.busy_us += cost_us // len(starts)
            pieces = self._engine.pieces(in_flight.plan.frames)
            whole = 0 if self._engine.overlaps else len(pieces) - 1  # the piece with which the engine is free
            for index, (made, cost_share) in enumerate(pieces):
                come = self._made if index == whole else self._grow
                self._at(now_us + round(cost_us * cost_share), functools.partial(come, seat, in_flight, made))
        self._is_busy = True

    def _grow(self, seat: _Seat, in_flight: InFlightChunk, made: int) -> None:
        frames = np.zeros((in_flight.plan.frames, _HEIGHT, _WIDTH, 3), np.uint8)
        growing = ArrivingChunk(
            engine_session=0, slot=in_flight.number, frame_count=len(frames), frames_ready=made, frames=frames,
            with_depth=False, actions=in_flight.window.actions,
        )  # fmt: skip
        seat.render_session.grow(growing, self._clock.now_us())

    def _made(self, seat: _Seat, in_flight: InFlightChunk, come: int) -> None:
        self._is_busy = False
        now_us = self._clock.now_us()
        frames = in_flight.plan.frames
        made = ArrivingChunk(
            engine_session=0, slot=in_flight.number, frame_count=frames, frames_ready=come,
            frames=np.zeros((frames, _HEIGHT, _WIDTH, 3), np.uint8), with_depth=False, actions=in_flight.window.actions,
            result=StepResult(state={}, stage_ms={}, cuts=cuts_of(in_flight.plan) if self._cuts else ()),
        )  # fmt: skip
        delivered = seat.render_session.deliver(made, now_us)
        self.scheduler.made(now_us, in_flight, delivered)


def cuts_of(plan: Plan) -> tuple[int, ...]:
    """Where a chunk whose first latent frame holds one frame and whose others hold four may be cut."""
    return tuple(range(1, plan.frames, 4))


def _control(seq: int, sent: Sent, at_us: int, *, frame_received_seq: int) -> Control:
    x, y, z = (float(v) for v in sent.pose.position)
    qx, qy, qz, qw = (float(v) for v in sent.pose.rotation)
    return Control(
        seq=seq, t_us=at_us + CLIENT_CLOCK_US, position=(x, y, z), rotation=(qx, qy, qz, qw),
        vertical_fov_deg=sent.pose.vertical_fov_deg, action=sent.action,
        teleport=sent.teleport, frame_received_seq=frame_received_seq,
    )  # fmt: skip
