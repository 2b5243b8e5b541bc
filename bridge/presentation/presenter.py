"""Draws and encodes a session's answers: a frame as it is, a frame bent to the newest camera, or the last one again.

frame_pacing.py decides which. The result carries what the header says of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.clock import Clock
from bridge.engine.interface import EngineInfo
from bridge.geometry import Pose
from bridge.presentation.frame_buffer import FrameRef, encode_pixels
from bridge.presentation.reprojection import FrameWarper, MovedPart
from bridge.protocol.codec import Buffer
from bridge.protocol.messages import PixelFormat, Source

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
