"""One session between its controls and its frames: input, stored chunks, the chunk in flight, answers.

Joins the timeline (input/), the frame buffer and the responder (presentation/). Knows no socket and no engine
process. The core owns one for each session.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from bridge.clock import Clock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo, Pictures, SessionStart
from bridge.engine.ipc_messages import ArrivingChunk
from bridge.engine.state_file import path_of
from bridge.input.control_timeline import ClientClock, ControlTimeline, InputChanges, TimedControl
from bridge.input.motion_prediction import MotionLimits
from bridge.input.scene_state import SceneState
from bridge.presentation.frame_buffer import FrameBuffer, StoredChunk
from bridge.presentation.frame_pacing import PacingConfig
from bridge.presentation.moving_parts import MovingParts
from bridge.presentation.reprojection import FrameWarper
from bridge.presentation.responder import Responder
from bridge.presentation.session_metrics import SessionMetrics
from bridge.protocol.codec import Buffer
from bridge.protocol.messages import Event, FrameHeader, PixelFormat, Reset, SceneUpdate, Stats
from bridge.scheduling.edf import ScheduledChunk
from bridge.scheduling.in_flight_chunk import ChunkResult, InFlightChunk
from bridge.scheduling.replanning import ReplanConfig, cut_point, has_left
from bridge.scheduling.start_margin import DeadlineStats, UnderrunCause
from bridge.session.events import ControlAccepted

MOST_SCENES = 16  # updates that wait for the engine; a game that moves a part each tick sends 5 to 20 a chunk
IDLE_AFTER_US = 1_000_000  # a player silent this long (a paused game) gets no new chunks


class RenderSession:
    """One session's state between its controls and its frames. Single-threaded.

    Attributes:
        engine_session: the engine's id for it; None while there is none.
        opened: the engine can make chunks of it.
        refused: the engine would not open it; nothing is tried until the client changes something.
        opening_reset: the RESET whose pictures or saved state it is being opened with; None for none.
    """

    def __init__(
        self,
        *,
        config: ServeConfig,
        info: EngineInfo,
        clock: Clock,
        pacing: PacingConfig | None = None,
        limits: MotionLimits | None = None,
        replan: ReplanConfig | None = None,
        warper: FrameWarper | None = None,
    ) -> None:
        self.engine_session: int | None = None
        self.opened = False
        self.refused = False
        self.opening_reset: Reset | None = None
        self.scene = SceneState(seed=config.seed, prompt=config.prompt)
        self.timeline = ControlTimeline(limits=limits)
        self.deadlines = DeadlineStats()
        self.in_flight: InFlightChunk | None = None
        self.not_before_us = 0
        self.store = FrameBuffer()
        self._pacing = pacing or PacingConfig()
        self._steered = info.camera_method != "none"
        self._replan = replan or ReplanConfig()
        self._client_clock = ClientClock()
        self._chunks_asked = 0
        self._chunks_made = 0
        self._replans = 0
        self._control_t_us = -1
        self._changes = InputChanges()
        self._can_cut = False
        self._moving_parts = MovingParts()
        self._texts = ("", "")
        self._metrics = SessionMetrics()
        self._responder = Responder(
            info,
            clock,
            self._pacing,
            warper=warper,
            store=self.store,
            moving_parts=self._moving_parts,
            metrics=self._metrics,
        )

    # -- what the player does --------------------------------------------------------------------------------------

    def take_control(self, accepted: ControlAccepted) -> list[int]:
        """Takes a control in. Returns: pool slots that it made useless (the camera jumped), to be released."""
        control = accepted.control
        newest = self.timeline.newest
        away = newest is not None and accepted.received_us - newest.arrival_us >= IDLE_AFTER_US
        self._changes.note(control, paused=away)
        self._control_t_us = control.t_us
        cut = self.timeline.push(
            TimedControl(
                time_us=self._client_clock.server_time_us(arrival_us=accepted.received_us, client_us=control.t_us),
                arrival_us=accepted.received_us,
                pose=accepted.pose,
                action=control.action,
                cut=control.teleport,
            ),
            tuple(map(_event_text, control.events)),
        )
        self._metrics.client_lateness_us.add(accepted.received_us, control.lateness_us)
        if not cut:
            return []
        self._responder.forget()
        return self.store.clear()

    def change_scene(self, update: SceneUpdate) -> None:
        """Takes a scene update in. It goes to the engine with the next chunk, or when the engine session is opened."""
        self._moving_parts.note(update, self.scene)
        self.scene.apply(update)
        if self.engine_session is None:
            return
        self.timeline.push_scene(update)
        if self.timeline.scenes_waiting > MOST_SCENES:
            # What a client can make us keep is bounded: one whole blockout stands for all that led to it.
            self.timeline.drop_scenes()
            self.timeline.push_scene(self.scene.whole())

    def session_start(self, reset: Reset | None, states: Path | None) -> SessionStart:
        """What an engine session is opened with.

        Args:
            reset: the RESET that asks for it; its pictures or saved state are used. None: neither.
            states: the folder of saved states.
        """
        pictures, restore = None, None
        if reset is not None and reset.pictures:
            pictures = Pictures(
                data=reset.pictures,
                pixel_format=reset.picture_format,
                width=reset.picture_width,
                height=reset.picture_height,
            )
        if reset is not None and reset.restore:
            assert states is not None, "the session refuses `restore` without a folder"
            restore = path_of(states, reset.restore)
        return self.scene.start(pictures=pictures, restore=restore)

    def opening(self, engine_session: int, reset: Reset | None) -> None:
        """The engine was asked to open `engine_session`, for `reset` or for none."""
        self.engine_session, self.refused = engine_session, False
        needs_reset = reset is not None and (reset.pictures or reset.restore)
        self.opening_reset = reset if needs_reset else None

    def opened_with(self, scene: SceneUpdate | None) -> None:
        """The engine session is open. scene: what a restored one shows; None for one that was not restored."""
        self.opened = True
        self.opening_reset = None
        if scene is not None:
            self.scene = SceneState.of(scene)

    @property
    def shows_new_scene(self) -> bool:
        """Whether the engine was last asked to show something that a SCENE brought."""
        return bool(self.in_flight.window.scene_updates) if self.in_flight is not None else self.scene.has_parts

    def new_prompt(self) -> tuple[str, str] | None:
        """Prompt and action in force, once after either changed, for the engine to encode early; else None."""
        newest = self.timeline.newest
        texts = (self.scene.prompt, "" if newest is None else newest.action)
        if texts == self._texts or not self.opened:
            return None
        self._texts = texts
        return texts

    def wants_frames(self, now_us: int) -> bool:
        """Whether the player plays and the engine can make a chunk for it."""
        newest = self.timeline.newest
        return (
            self.opened
            and self.in_flight is None
            and newest is not None
            and now_us - newest.arrival_us < IDLE_AFTER_US
            and now_us >= self.not_before_us
        )

    # -- chunks ----------------------------------------------------------------------------------------------------

    def start_chunk(
        self, now_us: int, start: ScheduledChunk, *, cause: UnderrunCause = UnderrunCause.OVERRUN
    ) -> InFlightChunk:
        """The chunk to ask the engine for: in flight until it is finished, failed, cancelled or the engine is lost."""
        newest = self.store.newest
        keep = None
        if start.cut_us is not None:
            assert newest is not None, "what is cut was made"
            keep = next(frames for frames in newest.cuts if newest.due_us(frames) == start.cut_us)
            self._replans += 1
        window = self.timeline.take_window(
            start_us=start.display_us, frames=start.plan.frames, fps=1e6 / start.frame_us
        )
        after_pause = self._changes.take("" if self.timeline.newest is None else self.timeline.newest.action)
        self.in_flight = InFlightChunk(
            number=self._chunks_asked,
            epoch=self.timeline.epoch,
            asked_us=now_us,
            start=start,
            window=window,
            keep=keep,
            follows_us=self.store.buffered_until_us,
            cause=UnderrunCause.PAUSED if after_pause else cause,
            control_t_us=self._control_t_us,
            places=self._moving_parts.places,
        )
        self._chunks_asked += 1
        return self.in_flight

    def add_frames(self, growing: ArrivingChunk, now_us: int) -> None:
        """Takes the first frames of the chunk asked for, or some more; or more of one that was delivered before."""
        in_flight = self.in_flight
        if self.store.ripen(growing.slot, growing.frames_ready):
            return
        if in_flight is None or in_flight.epoch != self.timeline.epoch:
            return
        parts = growing.parts
        if in_flight.frames_ready and self.store.newest is not None:
            parts = self.store.newest.parts
        in_flight.arrived(growing.frames_ready, now_us)
        self.store.add(in_flight.stored(growing, made=growing.frames_ready, parts=parts))

    def finish_chunk(self, made: ArrivingChunk, now_us: int) -> ChunkResult:
        """Takes the chunk asked for."""
        assert made.result is not None, "the engine is done stepping"
        in_flight, self.in_flight = self.in_flight, None
        if in_flight is None:
            return ChunkResult(useful=False, lead_us=0)
        there = made.frames_ready
        in_flight.arrived(there, now_us)  # the decoder keeps up with those still to come
        lead_us = in_flight.lead_us
        if in_flight.epoch != self.timeline.epoch:
            return ChunkResult(useful=False, lead_us=lead_us)
        self._chunks_made += 1
        self._can_cut = True
        self._metrics.chunk_ms.add(now_us, (now_us - in_flight.asked_us) / 1e3)
        self._metrics.rung = in_flight.plan.rung
        self._metrics.chunk_frames = in_flight.plan.frames
        chunk = in_flight.stored(made, made=there, parts=made.parts)
        self.store.add(replace(chunk, stage_ms=made.result.stage_ms, delivered=True, cuts=made.result.cuts))
        if in_flight.follows_us is None:
            return ChunkResult(useful=True, lead_us=lead_us)
        underrun = self.deadlines.settle(
            now_us,
            slack_us=in_flight.follows_us - in_flight.asked_us - lead_us,
            frame_us=in_flight.start.frame_us,
            cause=in_flight.cause,
            early=in_flight.keep is not None,
        )
        return ChunkResult(useful=True, lead_us=lead_us, underrun=underrun)

    @property
    def buffered_until_us(self) -> int | None:
        """When the last frame's time is over; None while there is no frame."""
        return self.store.buffered_until_us

    @property
    def newest_chunk(self) -> StoredChunk | None:
        """The chunk made last."""
        return self.store.newest

    def cut_us(self, now_us: int, ready_us: int) -> int | None:
        """Where to cut what is still to be shown, if new frames at `ready_us` make that worth it; None if not."""
        chunk = self.store.newest
        if chunk is None or not self._can_cut or not chunk.start_us <= now_us:
            return None
        boundaries_us = [due_us for frames in chunk.cuts if (due_us := chunk.due_us(frames)) >= now_us]
        return cut_point(self._replan, boundaries_us=boundaries_us, ready_us=ready_us, end_us=chunk.end_us)

    @property
    def is_off(self) -> bool:
        """True when the player left the path that is being shown, or something happened since it was planned."""
        angle_deg, distance_m = self._error
        return has_left(self._replan, error_deg=angle_deg, error_m=distance_m, changes=self._changes.waits)

    @property
    def is_stale(self) -> bool:
        """True when what is being shown has to be bent to what the player does, or something happened since."""
        angle_deg, distance_m = self._error
        pacing = self._pacing
        return self._changes.waits or angle_deg > pacing.exact_angle_deg or distance_m > pacing.exact_distance_m

    @property
    def _error(self) -> tuple[float, float]:
        """Degrees and metres that making frames anew would mend."""
        return self._responder.prediction.newest if self._steered else (0.0, 0.0)

    def lose_engine(self) -> None:
        """The engine process ended: the chunk asked for will never come, through no fault of what it asked, and will be
        asked for again; nor will the last frames of the one before it."""
        in_flight, self.in_flight = self.in_flight, None
        self.store.drop_growing()
        self.store.cut_short()
        self._can_cut = False  # the states inside the newest chunk went with the process that made it
        if in_flight is not None:
            self.timeline.give_back(in_flight.window)

    def cancel_chunk(self) -> None:
        """The engine could not begin the chunk that was asked for just now: all is as it was before."""
        in_flight, self.in_flight = self.in_flight, None
        if in_flight is None:
            return
        self._changes.give_back()
        self._replans -= in_flight.keep is not None
        self.timeline.give_back(in_flight.window)

    def fail_chunk(self, now_us: int, *, wait_us: int) -> None:
        """The engine refused the chunk: its scene updates and events may be why and are not tried again, and nothing
        is for `wait_us`."""
        in_flight, self.in_flight = self.in_flight, None
        self.store.drop_growing()
        self.not_before_us = now_us + wait_us
        self._can_cut = False
        if in_flight is not None:
            self.timeline.give_back_cut(in_flight.window)
            for update in in_flight.window.scene_updates:
                self.scene.forget_parts(update)

    def drop_engine_session(self, *, refused: bool = False) -> list[int]:
        """There is no engine session any more. Returns: pool slots to be released."""
        self.refused = refused
        self.engine_session, self.opened, self.in_flight, self.not_before_us = None, False, None, 0
        self.timeline.drop_scenes()
        self._responder.forget()
        return self.store.clear()

    def release_frames(self) -> None:
        """Lets go of all frames and their slots."""
        self.store.clear()

    # -- answers ---------------------------------------------------------------------------------------------------

    def answer(
        self, accepted: ControlAccepted, pixel_format: PixelFormat, jpeg_quality: int = 85
    ) -> tuple[FrameHeader, Buffer]:
        """The answer to a control, to be sent at once, with the pose it shows in our axes."""
        return self._responder.answer(accepted, pixel_format, jpeg_quality)

    def fill_stats(self, ledger: Stats, now_us: int) -> Stats:
        """The ledger with this session's rates and times."""
        stats = msgspec.structs.replace(ledger, chunks=self._chunks_made, replans=self._replans)
        stats = self.deadlines.fill(stats, now_us)
        stats = self._responder.prediction.fill(stats, now_us)
        return self._metrics.fill(stats, now_us)


def _event_text(event: Event) -> str:
    return f"{event.kind} {event.value}".strip()
