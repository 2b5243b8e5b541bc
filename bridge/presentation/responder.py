"""Answers one session's controls at once from the frames that are there: draws, encodes, and writes each header.

frame_pacing.py chooses the frame. `Presenter` draws it as it is, bends it to the newest camera, or repeats the last
picture; `Responder` adds the header. The error of predicted cameras is measured here, where both the predicted and the
true one are known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.clock import Clock
from bridge.engine.interface import EngineInfo
from bridge.geometry import Pose, angle_between_deg, slerp
from bridge.input.motion_prediction import PredictionErrors
from bridge.presentation.frame_buffer import FrameBuffer, FrameRef, encode_pixels
from bridge.presentation.frame_pacing import PacingConfig, decide
from bridge.presentation.moving_parts import MovingParts
from bridge.presentation.reprojection import FrameWarper, MovedPart, Warper
from bridge.presentation.session_metrics import SessionMetrics
from bridge.protocol.codec import Buffer
from bridge.protocol.messages import FrameHeader, PixelFormat, Source
from bridge.session.events import ControlAccepted

GREY = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class PresentedFrame:
    """What was last sent; a held answer is this again."""

    pixels: Buffer
    pixel_format: PixelFormat
    pose: Pose
    chunk: int
    index: int
    action: str
    steps: tuple[int, ...]
    rung: str
    newest_control_t_us: int
    control_t_us: int


class Presenter:
    """Remembers what was last drawn, for a held answer."""

    def __init__(self, info: EngineInfo, clock: Clock, warper: FrameWarper) -> None:
        self._size = info.frame_height, info.frame_width
        self._clock, self._warper = clock, warper
        self._last: PresentedFrame | None = None

    def forget(self) -> None:
        """What was shown is of another place: holes are not filled from it."""
        self._warper.forget()

    def draw(
        self,
        frame: FrameRef,
        source: Source,
        camera: Pose,
        moved: Sequence[MovedPart],
        pixel_format: PixelFormat,
        jpeg_quality: int,
    ) -> PresentedFrame:
        """The frame as it is, or bent to `camera`; never a view of the ring, which may change before it is sent.

        moved: the parts that stand elsewhere now than in the frame.
        """
        pose = frame.pose
        pixels: NDArray[np.uint8]
        if source is Source.GENERATED:
            pixels = frame.pixels.copy() if pixel_format is PixelFormat.RGB8 else frame.pixels
            self._warper.keep(frame.pixels, pose)
        else:
            pixels = self._warper.warp(
                frame.pixels,
                source=pose,
                target=camera,
                depth=frame.depth,
                parts=frame.parts,
                moved=moved,
            )
            # Without depth only the turn is corrected: the picture still shows the place it was made for.
            position = camera.position if frame.depth is not None else pose.position
            pose = Pose(position=position, rotation=camera.rotation, vertical_fov_deg=camera.vertical_fov_deg)
        chunk = frame.chunk
        self._last = PresentedFrame(
            pixels=encode_pixels(pixels, pixel_format, jpeg_quality),
            pixel_format=pixel_format,
            pose=pose,
            chunk=chunk.number,
            index=frame.index,
            action=chunk.actions[frame.index],
            steps=chunk.plan.steps,
            rung=chunk.plan.rung,
            newest_control_t_us=chunk.window.newest_control_t_us,
            control_t_us=chunk.control_t_us,
        )
        return self._last

    def hold(self, camera: Pose, pixel_format: PixelFormat, jpeg_quality: int) -> PresentedFrame:
        """The last picture again; before the first one, grey as seen from `camera`."""
        last = self._last
        if last is not None and last.pixel_format is pixel_format:
            return last
        # Nothing was sent yet (or in another format, before a resume): a neutral grey that claims to be no frame.
        grey = np.full((*self._size, 3), GREY, np.uint8)
        self._last = PresentedFrame(
            pixels=encode_pixels(grey, pixel_format, jpeg_quality),
            pixel_format=pixel_format,
            pose=camera,
            chunk=-1,
            index=0,
            action="",
            steps=(),
            rung="",
            newest_control_t_us=self._clock.now_us(),
            control_t_us=-1,
        )
        return self._last


class Responder:
    """Reads `store` and `moving_parts`, which the player fills; adds its own figures to `metrics`."""

    def __init__(
        self,
        info: EngineInfo,
        clock: Clock,
        pacing: PacingConfig,
        *,
        warper: FrameWarper | None,
        store: FrameBuffer,
        moving_parts: MovingParts,
        metrics: SessionMetrics,
    ) -> None:
        self.prediction = PredictionErrors()
        self._info = info
        self._clock = clock
        self._pacing = pacing
        self._store = store
        self._moving_parts = moving_parts
        self._metrics = metrics
        self._aspect = info.frame_width / info.frame_height
        self._presenter = Presenter(info, clock, warper or Warper(info.frame_width, info.frame_height))
        self._shown: tuple[int, int] | None = None

    def forget(self) -> None:
        """What was shown is of another place: nothing is drawn from it."""
        self._presenter.forget()

    def answer(
        self, accepted: ControlAccepted, pixel_format: PixelFormat, jpeg_quality: int
    ) -> tuple[FrameHeader, Buffer]:
        """The answer to a control, to be sent at once, with the pose it shows in our axes."""
        control, now_us = accepted.control, self._clock.now_us()
        camera = accepted.pose
        due = frame = self._store.newest_due(now_us)
        if due is not None and angle_between_deg(due.pose.rotation, camera.rotation) > self._pacing.far_deg:
            frame = self._store.nearest(camera.rotation)
        decision = decide(
            now_us,
            frame=frame,
            newest_shown=self._shown,
            camera=camera,
            aspect=self._aspect,
            config=self._pacing,
        )
        stage_ms: dict[str, float] = {}
        if decision.frame is None:
            picture = self._presenter.hold(camera, pixel_format, jpeg_quality)
        else:
            moved = self._moving_parts.since(decision.frame.chunk.places)
            picture = self._presenter.draw(decision.frame, decision.source, camera, moved, pixel_format, jpeg_quality)
            stage_ms = dict(decision.frame.chunk.stage_ms)
            if decision.frame is due and (self._shown is None or due.key > self._shown):
                self._shown = decision.frame.key
                self._metrics.generated.add(now_us)
                self._measure_prediction(decision.frame, camera, now_us)
        end_us = self._clock.now_us()
        stage_ms["answer"] = (end_us - now_us) / 1e3
        server_us = max(0, end_us - accepted.received_us)
        control_age_us = max(0, end_us - picture.newest_control_t_us)
        self._metrics.control_age_us.add(end_us, control_age_us)
        self._metrics.server_us.add(end_us, server_us)
        header = FrameHeader(
            seq=control.seq,
            t_us=control.t_us,
            source=decision.source,
            chunk=picture.chunk,
            index=picture.index,
            position=tuple(picture.pose.position.tolist()),
            rotation=tuple(picture.pose.rotation.tolist()),
            vertical_fov_deg=picture.pose.vertical_fov_deg,
            action=picture.action,
            steps=picture.steps,
            rung=picture.rung,
            control_age_us=control_age_us,
            server_us=server_us,
            stage_ms=stage_ms,
            deadline_met=end_us <= accepted.deadline_us,
            control_t_us=picture.control_t_us,
            server_t_us=end_us,
            width=self._info.frame_width,
            height=self._info.frame_height,
            pixel_format=pixel_format,
        )
        return header, picture.pixels

    def _measure_prediction(self, frame: FrameRef, camera: Pose, now_us: int) -> None:
        """How far the player is from where the chunk was made for: between the frame's camera and the next one's."""
        pose, window = frame.pose, frame.chunk.window
        share = min(max((now_us - frame.due_us) / max(1, frame.until_us - frame.due_us), 0.0), 1.0)
        position, angle_deg = pose.position, angle_between_deg(pose.rotation, camera.rotation)
        if frame.index + 1 < len(window.positions):
            after = window.rotations[frame.index + 1]
            position = position + share * (window.positions[frame.index + 1] - position)
            between = slerp(pose.rotation, after, np.asarray(share))
            angle_deg = angle_between_deg(between, camera.rotation)
        distance_m = float(np.linalg.norm(position - camera.position))
        self.prediction.add(now_us, angle_deg=angle_deg, distance_m=distance_m)
