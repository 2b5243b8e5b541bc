"""Plays traces against the service's core on a fake clock.

The code that serves runs unchanged (`bridge.service.core`). Replaced are the network, by the trace's delays; the
engine's process, by its costs; and the pixels, by nothing. As in the server's one thread, whatever arrives while it is
busy waits, and is taken in before any control is answered. Heartbeats are left out.
"""

from __future__ import annotations

import functools
import heapq
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bridge.bench.simulation.outcome import Answered, Outcome
from bridge.bench.simulation.traces import EngineModel, Sent, Trace
from bridge.clock import FakeClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo, Plan, Rung, SessionStart
from bridge.engine.ipc_messages import ArrivingChunk, SessionOpened, Step, StepResult
from bridge.engine.supervisor import EngineEvent
from bridge.geometry import Pose
from bridge.presentation.reprojection import MovedPart
from bridge.protocol.codec import encode
from bridge.protocol.messages import VERSION_MAJOR, VERSION_MINOR, Control, FrameHeader, Hello, Source
from bridge.scheduling.chunk_scheduler import ChunkSchedulerConfig
from bridge.service.core import ServiceCore
from bridge.service.render_session import RenderSession
from bridge.session.events import Send
from bridge.session.registry import Outgoing
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
    """One simulated client."""

    trace: Trace
    outcome: Outcome
    peer: bytes
    pending: int = 0  # the control to send next
    newest_read: int = -1
    last_camera_us: int = 0


class Simulation:
    """Several clients of one service.

    Args:
        engine: what chunks cost.
        scheduler: None takes the default for the engine's frame rate.
        rungs: the quality levels that the engine can fall back on, best first.
        cuts: whether a chunk can be cut and made anew from inside.
    """

    def __init__(
        self,
        traces: Sequence[Trace],
        *,
        engine: EngineModel | None = None,
        scheduler: ChunkSchedulerConfig | None = None,
        rungs: tuple[Rung, ...] = RUNGS,
        cuts: bool = True,
    ) -> None:
        self._model = engine or EngineModel()
        self._clock = FakeClock(1_000_000)
        self._began_us = self._clock.now_us()
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._wake_us: int | None = None
        config = ServeConfig(fps=self._model.fps, max_credit=_CREDIT, max_sessions=max(1, len(traces)))
        info = EngineInfo(
            model="simulated", runner="none", frame_width=_WIDTH, frame_height=_HEIGHT,
            frames_per_chunk=self._model.frames_per_chunk, depth_width=_WIDTH, depth_height=_HEIGHT,
            camera_method="channels", default_map="none", rungs=rungs, max_batch=self._model.max_batch,
        )  # fmt: skip
        self._engine = _SimulatedEngine(
            self, {rung.name: rung.cost_share for rung in rungs}, overlaps=self._model.overlaps, cuts=cuts
        )
        secrets = itertools.count()
        self.core = ServiceCore(
            config,
            info,
            self._engine,
            self._clock,
            scheduler_config=scheduler or ChunkSchedulerConfig(fps=self._model.fps),
            new_render_session=lambda hello: RenderSession(
                config=config, info=info, clock=self._clock, warper=NoPixels()
            ),
            new_secret=lambda: f"{next(secrets):032d}",
        )
        self._seats = {b"%d" % number: self._connect(b"%d" % number, trace) for number, trace in enumerate(traces)}

    def run(self) -> list[Outcome]:
        """Plays everything to the end."""
        for seat in self._seats.values():
            self._at(self._began_us + seat.trace.controls[0].sent_us, functools.partial(self._send_control, seat))
        while self._events:
            self._clock.sleep_until_us(self._events[0][0])
            while self._events and self._events[0][0] <= self._clock.now_us():
                heapq.heappop(self._events)[2]()
            self._deliver(self.core.answer_controls())
            for event in self._engine.take_opened():
                self._deliver(self.core.on_engine_event(event))
            self._start_chunks()
        for session in self.core.registry:
            outcome = self._seats[self.core.registry.peer_of(session)].outcome
            outcome.wasted_us = self.core.scheduler.wasted_us(session.session_id)
            render_session = self.core.render_sessions[session.session_id]
            outcome.ledger = render_session.fill_stats(session.ledger, self._clock.now_us())
            outcome.accounts = session.accounts
        return [seat.outcome for seat in self._seats.values()]

    # -- clients and the network -----------------------------------------------------------------------------------

    def _connect(self, peer: bytes, trace: Trace) -> _Seat:
        hello = Hello(
            version_major=VERSION_MAJOR, version_minor=VERSION_MINOR, client=peer.decode(), credit=_CREDIT,
            budget_us=trace.tick_us, tick_hz=1e6 / trace.tick_us,
        )  # fmt: skip
        for _ in self.core.receive(peer, encode(hello)):
            pass  # WELCOME
        return _Seat(trace=trace, outcome=Outcome(), peer=peer)

    def _send_control(self, seat: _Seat) -> None:
        """The client's tick: sends a control, and comes back for the next."""
        seq, sent = seat.pending, seat.trace.controls[seat.pending]
        at_us = self._began_us + sent.sent_us  # the server's work may have put the clock ahead of the client's tick
        control = _control(seq, sent, at_us, frame_received_seq=seat.newest_read)
        self._at(at_us + sent.up_us, functools.partial(self._receive, seat, control))
        seat.pending += 1
        if seat.pending < len(seat.trace.controls):
            next_us = self._began_us + seat.trace.controls[seat.pending].sent_us
            self._at(next_us, functools.partial(self._send_control, seat))

    def _receive(self, seat: _Seat, control: Control) -> None:
        """The server takes a control in."""
        # What a socket held up arrives behind the answers made meanwhile: the clock may be ahead of the event.
        self._deliver(self.core.receive(seat.peer, encode(control)))
        session = self._session_of(seat)
        seat.outcome.totals_held &= sum(session.accounts.values()) == session.ledger.controls == control.seq + 1

    def _deliver(self, outgoing: Iterable[Outgoing]) -> None:
        """Sends what the core yields: each answer takes the server's time, then the network's."""
        for each in outgoing:
            if isinstance(each.output, Send) and isinstance(each.output.message, FrameHeader):
                seat, header = self._seats[each.peer], each.output.message
                self._clock.advance_us(_ANSWER_US[header.source])
                arrives_us = self._clock.now_us() + seat.trace.controls[header.seq].down_us
                answered = self._answered(seat, header, arrives_us)
                self._at(arrives_us, functools.partial(self._read, seat, answered))

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

    # -- the engine ------------------------------------------------------------------------------------------------

    def _start_chunks(self) -> None:
        now_us = self._clock.now_us()
        if not self._engine.idle:
            return
        self.core.start_chunks()
        for seat in self._seats.values():
            rungs = seat.outcome.rungs
            if not rungs or rungs[-1][1] != self.core.scheduler.ladder.rung:
                rungs.append((now_us - self._began_us, self.core.scheduler.ladder.rung))
        start_us = self.core.next_start_us
        if start_us is not None and (self._wake_us is None or self._wake_us <= now_us or start_us < self._wake_us):
            self._wake_us = start_us
            self._at(start_us, lambda: None)

    def begin_steps(self, steps: Sequence[Step], cost_share: float) -> tuple[int, list[tuple[int, float]]]:
        """Accounts for steps that begin now.

        Args:
            cost_share: of their quality level, in terms of the best one's cost.

        Returns:
            What they cost in microseconds, and the pieces in which their frames come (`EngineModel.pieces`).
        """
        elapsed_us = self._clock.now_us() - self._began_us
        seats = [self._seat_of(step.engine_session) for step in steps]
        slowness = max(seat.trace.slowness(elapsed_us) for seat in seats)
        frames = steps[0].plan.frames
        cost_us = round(self._model.cost_us(frames, len(steps)) * cost_share * slowness)
        for seat in seats:
            seat.outcome.lengths.append(frames)
            seat.outcome.together.append(len(steps))
            seat.outcome.busy_us += cost_us // len(steps)
        return cost_us, self._model.pieces(frames)

    def schedule_event(self, delay_us: int, event: EngineEvent, then: Callable[[], None]) -> None:
        """Brings an engine event to the core after `delay_us`, behind a call of `then`."""

        def bring() -> None:
            then()
            self._deliver(self.core.on_engine_event(event))

        self._at(self._clock.now_us() + delay_us, bring)

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _at(self, at_us: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_us, next(self._order), act))

    def _session_of(self, seat: _Seat) -> Session:
        return next(one for one in self.core.registry if self.core.registry.peer_of(one) == seat.peer)

    def _seat_of(self, engine_session: int) -> _Seat:
        return next(
            self._seats[self.core.registry.peer_of(session)]
            for session in self.core.registry
            if self.core.render_sessions[session.session_id].engine_session == engine_session
        )


class _SimulatedEngine:
    """Stands for the engine's process: chunks without pixels, at the cost that the simulation tells."""

    restarts = 0

    def __init__(self, simulation: Simulation, cost_shares: Mapping[str, float], *, overlaps: bool, cuts: bool) -> None:
        self.idle = True
        self._simulation = simulation
        self._cost_shares = cost_shares
        self._overlaps = overlaps
        self._cuts = cuts
        self._sessions = itertools.count()
        self._slots = itertools.count()
        self._opened: list[EngineEvent] = []

    def take_opened(self) -> list[EngineEvent]:
        """The sessions that were opened since the last call: opening takes no time."""
        opened, self._opened = self._opened, []
        return opened

    def open(self, start: SessionStart) -> int:
        engine_session = next(self._sessions)
        self._opened.append(SessionOpened(engine_session=engine_session, state={}))
        return engine_session

    def step_batch(self, steps: Sequence[Step]) -> int:
        plan = steps[0].plan
        cost_us, pieces = self._simulation.begin_steps(steps, self._cost_shares[plan.rung])
        self.idle = False
        free_with = 0 if self._overlaps else len(pieces) - 1  # the piece with which the engine is free
        result = StepResult(state={}, stage_ms={}, cuts=cuts_of(plan) if self._cuts else ())
        for step in steps:
            slot = next(self._slots)
            for index, (ready, cost_share) in enumerate(pieces):
                chunk = ArrivingChunk(
                    engine_session=step.engine_session, slot=slot, frame_count=plan.frames, frames_ready=ready,
                    with_depth=False, actions=step.window.actions, result=result if index == free_with else None,
                    frames=np.zeros((plan.frames, _HEIGHT, _WIDTH, 3), np.uint8),
                )  # fmt: skip
                then = self._become_idle if index == free_with else lambda: None
                self._simulation.schedule_event(round(cost_us * cost_share), chunk, then)
        return len(steps)

    def _become_idle(self) -> None:
        self.idle = True

    def forget(self, engine_session: int) -> None:
        """No session ends before the simulation does."""

    def prefetch_prompt(self, engine_session: int, prompt: str | None, action: str) -> None:
        """Texts cost nothing."""

    def save(self, engine_session: int, path: Path) -> None:
        raise NotImplementedError("simulated clients save nothing")

    def release(self, slot: int) -> None:
        """There are as many slots as it takes."""


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
