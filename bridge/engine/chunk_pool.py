"""Shared memory for chunks: the engine's process writes frames, the server reads them.

Between `acquire` and the report that a frame is made, only the engine's process writes to a slot. Reported frames
are only read, by the server, until `release`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from multiprocessing import shared_memory

import numpy as np
from numpy.typing import NDArray

from bridge.engine.interface import EngineInfo, FrameChunk, FrameRun
from bridge.errors import EngineUnavailable, StepFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLayout:
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


class ChunkPool:
    """Chunk slots in shared memory. The server creates, acquires and releases; the engine process attaches and writes.

    The server's side also unlinks: a killed engine process leaks nothing.
    """

    def __init__(self, layout: PoolLayout, memory: shared_memory.SharedMemory, *, owner: bool) -> None:
        self.layout = layout
        self._memory = memory
        self._owner = owner
        self._free = list(range(layout.slots))

    @classmethod
    def create(cls, info: EngineInfo, slots: int) -> ChunkPool:
        """Raises: EngineUnavailable: there is not enough shared memory."""
        slot_bytes = PoolLayout.slot_bytes_of(info)
        free_bytes = _free_shared_bytes()
        if free_bytes is not None and slots * slot_bytes > free_bytes:
            # Writing past it would kill the engine process with SIGBUS, again and again.
            raise EngineUnavailable(
                f"shared memory: got {free_bytes >> 20} MiB free, expected {slots * slot_bytes >> 20} MiB for {slots} "
                "chunks; lower --max-sessions, or give the container more (docker run --shm-size)"
            )
        memory = shared_memory.SharedMemory(create=True, size=slots * slot_bytes)
        layout = PoolLayout(
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
    def attach(cls, layout: PoolLayout) -> ChunkPool:
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
        self.write_depth(slot, chunk.depth, frames=len(chunk.frames))
        self.write_run(slot, FrameRun(first=0, frames=chunk.frames))

    def write_run(self, slot: int, run: FrameRun) -> None:
        """Copies some frames of a chunk into `slot`. Raises: StepFailed: they are not as the engine announced."""
        layout, frames = self.layout, run.frames
        end = run.first + len(frames)
        expected = (layout.height, layout.width, 3)
        if frames.shape[1:] != expected or frames.dtype != np.uint8 or not 0 <= run.first < end <= layout.frames:
            raise StepFailed(
                f"chunk: got frames {frames.shape} {frames.dtype} from {run.first} on, "
                f"expected (1..{layout.frames}, *{expected}) uint8"
            )
        into, _ = self.view(slot, end, with_depth=False)
        into[run.first :] = frames

    def write_depth(self, slot: int, depth: NDArray[np.float32] | None, *, frames: int) -> None:
        """Copies the depth of a chunk's `frames` frames. Raises: StepFailed: it is not as the engine announced."""
        expected = (frames, self.layout.depth_height, self.layout.depth_width)
        if depth is None:
            return
        if depth.shape != expected or frames > self.layout.frames:
            raise StepFailed(f"chunk: got depth {depth.shape}, expected {expected}, {self.layout.frames} at most")
        _, into = self.view(slot, frames, with_depth=True)
        assert into is not None, "it was asked for"
        into[:] = depth

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


def _free_shared_bytes() -> int | None:
    """What /dev/shm has left; None on systems where shared memory lies elsewhere."""
    return shutil.disk_usage("/dev/shm").free if os.path.isdir("/dev/shm") else None
