"""Frames between the engine and the clients: the newest chunks of a session, the shared memory they lie in, encoding.

Here live ownership rules and lookups by time. Which frame is sent is `pacing.py`'s decision, how it is bent
`reproject.py`'s. Single-threaded on the server's side; a ring's slot is written by the engine process alone between
`acquire` and the announcement of its chunk, and read by the server alone until `release`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing import shared_memory

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.engine import ControlWindow, EngineInfo, FrameChunk, Plan
from bridge.errors import EngineUnavailable, StepFailed
from bridge.messages import PixelFormat
from bridge.part_motion import Places
from bridge.pose import Pose


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StoredChunk:
    """One chunk of a session, and when its frames are due on the server's clock.

    number: counts the session's chunks. fps: of this chunk's frames; less than the video's where the engine is slower.
    slot: the ring slot that `frames` (N, H, W, 3) and `depth` (N, h, w) lie in; they are views, valid until it is
    released. cuts: after how many frames the rest can be made anew, ascending. control_t_us: the client's time stamp of
    the newest control that shaped the chunk, -1 for none. parts: (N, h, w) uint32, the part at each depth;
    places: where the parts that ever moved stood in it.
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


class FrameStore:
    """A session's newest chunks: the one being shown and those after it."""

    def __init__(self) -> None:
        self._chunks: list[StoredChunk] = []

    @property
    def buffered_until_us(self) -> int | None:
        """When the last frame's time is over; None while there is no frame."""
        return self._chunks[-1].end_us if self._chunks else None

    @property
    def newest(self) -> StoredChunk | None:
        """The chunk made last."""
        return self._chunks[-1] if self._chunks else None

    def add(self, chunk: StoredChunk) -> None:
        self._chunks.append(chunk)

    def newest_due(self, now_us: int) -> FrameRef | None:
        """The frame for this moment, else the last one before it, else (nothing was due yet) the next to come.

        Where chunks overlap the newer one is right.
        """
        for chunk in reversed(self._chunks):
            if chunk.start_us <= now_us:
                index = int((now_us - chunk.start_us) * chunk.fps * 1e-6)
                # due_us is rounded to whole microseconds; slots must tile time by its values.
                index += (chunk.due_us(index + 1) <= now_us) - (chunk.due_us(index) > now_us)
                return FrameRef(chunk=chunk, index=min(index, len(chunk.frames) - 1))
        return FrameRef(chunk=self._chunks[0], index=0) if self._chunks else None

    def nearest(self, rotation: NDArray[np.float64]) -> FrameRef | None:
        """The frame whose camera is turned least from `rotation` (4,), whenever it is due; the newer one of equals."""
        best, found = -1.0, None
        for chunk in self._chunks:
            # |<p, q>| of unit quaternions falls with the angle between them.
            alike = np.abs(chunk.window.rotations @ rotation)
            index = len(alike) - 1 - int(np.argmax(alike[::-1]))
            if alike[index] >= best:
                best, found = float(alike[index]), FrameRef(chunk=chunk, index=index)
        return found

    def evict(self, now_us: int) -> list[int]:
        """Forgets the chunks that a newer one has replaced by now. Returns: their ring slots, free to be released."""
        showing = [i for i, chunk in enumerate(self._chunks) if chunk.start_us <= now_us]
        gone = self._chunks[: showing[-1]] if showing else []
        self._chunks = self._chunks[len(gone) :]
        return [chunk.slot for chunk in gone]

    def clear(self) -> list[int]:
        """Forgets everything. Returns: the ring slots, free to be released."""
        slots = [chunk.slot for chunk in self._chunks]
        self._chunks.clear()
        return slots


@dataclass(frozen=True, slots=True, kw_only=True)
class RingLayout:
    """Where things lie in a ring: every slot holds one chunk's frames, then its depth. Picklable, for the worker."""

    name: str
    slots: int
    frames: int
    height: int
    width: int
    depth_height: int
    depth_width: int

    @staticmethod
    def slot_bytes_of(info: EngineInfo) -> int:
        """Bytes of one chunk of the longest length."""
        pixels = info.frame_height * info.frame_width * 3
        return max(info.frames_per_chunk) * (pixels + info.depth_height * info.depth_width * 4)

    @property
    def frames_bytes(self) -> int:
        return self.frames * self.height * self.width * 3

    @property
    def slot_bytes(self) -> int:
        return self.frames_bytes + self.frames * self.depth_height * self.depth_width * 4


class SharedFrameRing:
    """Chunk slots in shared memory. The server creates, acquires and releases; the engine process attaches and writes.

    The server's side also unlinks: a killed engine process leaks nothing.
    """

    def __init__(self, layout: RingLayout, memory: shared_memory.SharedMemory, *, owner: bool) -> None:
        self.layout = layout
        self._memory = memory
        self._owner = owner
        self._free = list(range(layout.slots))

    @classmethod
    def create(cls, info: EngineInfo, slots: int) -> SharedFrameRing:
        """Raises: EngineUnavailable: there is not enough shared memory."""
        slot_bytes = RingLayout.slot_bytes_of(info)
        free_bytes = _free_shared_bytes()
        if free_bytes is not None and slots * slot_bytes > free_bytes:
            # Writing past it would kill the engine process with SIGBUS, again and again.
            raise EngineUnavailable(
                f"shared memory: got {free_bytes >> 20} MiB free, expected {slots * slot_bytes >> 20} MiB for {slots} "
                "chunks; lower --max-sessions, or give the container more (docker run --shm-size)"
            )
        memory = shared_memory.SharedMemory(create=True, size=slots * slot_bytes)
        layout = RingLayout(
            name=memory.name,
            slots=slots,
            frames=max(info.frames_per_chunk),
            height=info.frame_height,
            width=info.frame_width,
            depth_height=info.depth_height,
            depth_width=info.depth_width,
        )
        return cls(layout, memory, owner=True)

    @classmethod
    def attach(cls, layout: RingLayout) -> SharedFrameRing:
        return cls(layout, shared_memory.SharedMemory(name=layout.name), owner=False)

    def acquire(self) -> int | None:
        """A free slot, or None while all are in use."""
        return self._free.pop() if self._free else None

    def release(self, slot: int) -> None:
        if slot in self._free or not 0 <= slot < self.layout.slots:
            raise ValueError(f"ring: got slot {slot} to release, expected one that was acquired")
        self._free.append(slot)

    def write(self, slot: int, chunk: FrameChunk) -> None:
        """Copies a chunk into `slot`. Raises: StepFailed: its shape is not the one the engine announced."""
        layout = self.layout
        count = len(chunk.frames)
        expected = (layout.height, layout.width, 3)
        if chunk.frames.shape[1:] != expected or chunk.frames.dtype != np.uint8 or not 0 < count <= layout.frames:
            raise StepFailed(
                f"chunk: got frames {chunk.frames.shape} {chunk.frames.dtype}, "
                f"expected (1..{layout.frames}, *{expected}) uint8"
            )
        depth_expected = (count, layout.depth_height, layout.depth_width)
        if chunk.depth is not None and chunk.depth.shape != depth_expected:
            raise StepFailed(f"chunk: got depth {chunk.depth.shape}, expected {depth_expected}")
        frames, depth = self.view(slot, count, with_depth=chunk.depth is not None)
        frames[:] = chunk.frames
        if depth is not None:
            depth[:] = chunk.depth

    def view(self, slot: int, count: int, *, with_depth: bool) -> tuple[NDArray[np.uint8], NDArray[np.float32] | None]:
        """The first `count` frames (N, H, W, 3) and depths (N, h, w) of a slot, not copied."""
        layout = self.layout
        start = slot * layout.slot_bytes
        frames: NDArray[np.uint8] = np.ndarray(
            (count, layout.height, layout.width, 3), np.uint8, buffer=self._memory.buf, offset=start
        )
        depth: NDArray[np.float32] = np.ndarray(
            (count, layout.depth_height, layout.depth_width),
            np.float32,
            buffer=self._memory.buf,
            offset=start + layout.frames_bytes,
        )
        return frames, (depth if with_depth else None)

    def close(self) -> None:
        """Unmaps the memory, and gives it back to the system on the owner's side. No view may be used afterwards."""
        # A view that is still alive somewhere keeps the mapping until it goes; the name must go now.
        with contextlib.suppress(BufferError):
            self._memory.close()
        if self._owner:
            self._owner = False
            self._memory.unlink()


def encode_pixels(frame: NDArray[np.uint8], pixel_format: PixelFormat, jpeg_quality: int = 85) -> memoryview:
    """The bytes of a FRAME's last part. frame: (H, W, 3) uint8 RGB, contiguous, kept alive by what is returned."""
    if pixel_format is PixelFormat.RGB8:
        return np.ascontiguousarray(frame).data.cast("B")
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality]
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), options)
    if not encoded:
        raise ValueError(f"jpeg: got an image {frame.shape} {frame.dtype} that OpenCV cannot encode")
    return np.asarray(data).data.cast("B")


def _free_shared_bytes() -> int | None:
    """What /dev/shm has left; None on systems where shared memory lies elsewhere."""
    return shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else None
