"""A session's newest chunks, looked up by time and by camera; and the encoding of a frame's pixels.

frame_pacing.py decides which frame is sent, reprojection.py bends it. The pixels themselves lie in the engine's
chunk pool; a chunk's slot is released when the chunk is evicted. Single-threaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.engine.interface import ControlWindow, Plan
from bridge.geometry import Pose
from bridge.presentation.moving_parts import Places
from bridge.protocol.messages import PixelFormat


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredChunk:
    """One chunk of a session, and when its frames are due on the server's clock.

    Attributes:
        number: counts the session's chunks.
        start_us: when its first frame is due.
        fps: of this chunk's frames; less than the video's where the engine is slower.
        frames: (N, H, W, 3) uint8 RGB, a view of the pool's slot, valid until the slot is released.
        depth: (N, h, w) float32 metres along the view axis, likewise; None without a blockout.
        slot: of the chunk pool.
        made: how many of the frames are there so far.
        delivered: the slot is the buffer's to give back, though frames may be missing.
        cuts: after how many frames the rest can be made anew, ascending.
        control_t_us: the client's time stamp of the newest control that shaped the chunk, -1 for none.
        parts: (N, h, w) uint32, the part at each depth.
        places: where moving parts stand in it.
    """

    number: int
    start_us: int
    fps: float
    frames: NDArray[np.uint8]
    depth: NDArray[np.float32] | None
    window: ControlWindow
    actions: tuple[str, ...]
    plan: Plan
    stage_ms: Mapping[str, float]
    slot: int
    made: int
    delivered: bool = False
    cuts: tuple[int, ...] = ()
    control_t_us: int = -1
    parts: NDArray[np.uint32] | None = None
    places: Places = field(default_factory=dict)

    def due_us(self, index: int) -> int:
        """When frame `index` is due; index N is the end of the last one."""
        return self.start_us + round(index * 1e6 / self.fps)

    @property
    def end_us(self) -> int:
        return self.due_us(len(self.frames))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameRef:
    """One frame of a stored chunk."""

    chunk: StoredChunk
    index: int

    @property
    def key(self) -> tuple[int, int]:
        """Names the frame within its session; later frames have larger keys."""
        return self.chunk.number, self.index

    @property
    def due_us(self) -> int:
        return self.chunk.due_us(self.index)

    @property
    def until_us(self) -> int:
        return self.chunk.due_us(self.index + 1)

    @property
    def pose(self) -> Pose:
        window = self.chunk.window
        return Pose(
            position=window.positions[self.index],
            rotation=window.rotations[self.index],
            vertical_fov_deg=float(window.vertical_fov_deg[self.index]),
        )

    @property
    def pixels(self) -> NDArray[np.uint8]:
        pixels: NDArray[np.uint8] = self.chunk.frames[self.index]
        return pixels

    @property
    def depth(self) -> NDArray[np.float32] | None:
        return None if self.chunk.depth is None else self.chunk.depth[self.index]

    @property
    def parts(self) -> NDArray[np.uint32] | None:
        return None if self.chunk.parts is None else self.chunk.parts[self.index]


class FrameBuffer:
    """A session's newest chunks: the one being shown and those after it."""

    def __init__(self) -> None:
        self._chunks: list[StoredChunk] = []
        self._growing = False  # the newest one is: its slot is not ours yet

    @property
    def buffered_until_us(self) -> int | None:
        """When the last frame's time is over; None while there is no frame."""
        return self._chunks[-1].end_us if self._chunks else None

    @property
    def newest(self) -> StoredChunk | None:
        """The chunk made last."""
        return self._chunks[-1] if self._chunks else None

    def add(self, chunk: StoredChunk) -> None:
        """Takes a chunk in, or a later stage of the one that is growing: it has a slot to be released once it has all
        its frames."""
        if self._growing and self._chunks[-1].number == chunk.number:
            self._chunks.pop()
        self._chunks.append(chunk)
        self._growing = chunk.made < len(chunk.frames) and not chunk.delivered

    def ripen(self, slot: int, made: int) -> bool:
        """More frames of a delivered chunk are there. Returns: False if it is none of ours."""
        for index, chunk in enumerate(self._chunks):
            if chunk.slot == slot and chunk.delivered and chunk.made < len(chunk.frames):
                self._chunks[index] = replace(chunk, made=made)
                return True
        return False

    def drop_growing(self) -> None:
        """The chunk whose frames are still being made will never be whole."""
        if self._growing:
            self._chunks.pop()
        self._growing = False

    def cut_short(self) -> None:
        """No frame will come any more: a delivered chunk that lacks some ends with those that are there."""
        self.drop_growing()
        self._chunks = [
            replace(chunk, frames=chunk.frames[: chunk.made]) if chunk.made < len(chunk.frames) else chunk
            for chunk in self._chunks
        ]

    def newest_due(self, now_us: int) -> FrameRef | None:
        """The frame for this moment, else the last one before it, else (nothing was due yet) the next to come.

        Where chunks overlap the newer one is right.
        """
        for chunk in reversed(self._chunks):
            if chunk.start_us <= now_us:
                index = int((now_us - chunk.start_us) * chunk.fps * 1e-6)
                # due_us is rounded to whole microseconds; slots must tile time by its values.
                index += (chunk.due_us(index + 1) <= now_us) - (chunk.due_us(index) > now_us)
                return FrameRef(chunk=chunk, index=min(index, chunk.made - 1))
        return FrameRef(chunk=self._chunks[0], index=0) if self._chunks else None

    def nearest(self, rotation: NDArray[np.float64]) -> FrameRef | None:
        """The frame whose camera is turned least from `rotation` (4,), whenever it is due; the newer one of equals."""
        best, found = -1.0, None
        for chunk in self._chunks:
            # |<p, q>| of unit quaternions falls with the angle between them.
            alike = np.abs(chunk.window.rotations[: chunk.made] @ rotation)
            index = len(alike) - 1 - int(np.argmax(alike[::-1]))
            if alike[index] >= best:
                best, found = float(alike[index]), FrameRef(chunk=chunk, index=index)
        return found

    def evict(self, now_us: int) -> list[int]:
        """Forgets the chunks that a newer one has replaced by now. Returns: their pool slots, free to be released."""
        showing = [i for i, chunk in enumerate(self._chunks) if chunk.start_us <= now_us]
        gone = self._chunks[: showing[-1]] if showing else []
        self._chunks = self._chunks[len(gone) :]
        return [chunk.slot for chunk in gone]

    def clear(self) -> list[int]:
        """Forgets everything. Returns: the pool slots, free to be released."""
        self.drop_growing()
        slots = [chunk.slot for chunk in self._chunks]
        self._chunks.clear()
        return slots


def encode_pixels(frame: NDArray[np.uint8], pixel_format: PixelFormat, jpeg_quality: int = 85) -> memoryview:
    """The bytes of a FRAME's last part. frame: (H, W, 3) uint8 RGB, contiguous, kept alive by what is returned."""
    if pixel_format is PixelFormat.RGB8:
        return np.ascontiguousarray(frame).data.cast("B")
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    if not encoded:
        raise ValueError(f"jpeg: got an image {frame.shape} {frame.dtype} that OpenCV cannot encode")
    return np.asarray(data).data.cast("B")
