"""Frames for clients on the same machine: a named ring in shared memory, written by the server, read by one client.

The layout is that of unity_plugin_protocol.md, section "Shared memory", for clients in other languages to read.
Each slot has a sequence lock: odd while it is written, and another even number after each write. Slots are handed out
in turn and credit bounds how many are unread, so a reader that keeps to the protocol never meets a write; the lock is
for those that do not. The FRAME that names a slot follows its pixels through a socket, which orders the two.

Both sides fall back by themselves: no ring, no memory, another machine, another user: pixels travel in the message.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import mmap
import os
import secrets
import struct
import sys
from dataclasses import dataclass
from multiprocessing import shared_memory
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bridge.protocol.codec import Buffer
from bridge.protocol.fields import MAX_CREDIT, MAX_FRAME_SIDE_PX

MAGIC: Final = b"HLBRING1"
HEAD_BYTES: Final = 64
SLOT_HEAD_BYTES: Final = 64
SPARE_SLOTS: Final = 2  # beyond credit: the frame that the client is showing, and the one being written
MOST_SLOTS: Final = MAX_CREDIT + SPARE_SLOTS
_HEAD: Final = struct.Struct("<8sIIII")  # magic, slots, slot stride in bytes, width, height
_LINE_BYTES: Final = 64
_MOST_COPIES: Final = 4

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RingShape:
    """Sizes of a ring: what its head says."""

    slots: int
    width: int
    height: int

    @property
    def pixel_bytes(self) -> int:
        return 3 * self.width * self.height

    @property
    def stride_bytes(self) -> int:
        """From one slot to the next: its head and its pixels, up to a full cache line."""
        return SLOT_HEAD_BYTES + -(-self.pixel_bytes // _LINE_BYTES) * _LINE_BYTES

    @property
    def total_bytes(self) -> int:
        return HEAD_BYTES + self.slots * self.stride_bytes

    def sequence_offset(self, slot: int) -> int:
        return HEAD_BYTES + slot * self.stride_bytes

    def pixels_offset(self, slot: int) -> int:
        return self.sequence_offset(slot) + SLOT_HEAD_BYTES


class FrameRingWriter:
    """The server's side: creates the ring, fills slots in turn, and takes it away again.

    Raises: OSError: the system has no shared memory left.
    """

    def __init__(self, shape: RingShape) -> None:
        self.name = f"hlb_{secrets.token_hex(8)}"  # macOS allows 31 characters
        self.shape = shape
        _check_free(shape.total_bytes)
        self._memory = shared_memory.SharedMemory(name=self.name, create=True, size=shape.total_bytes)
        assert self._memory.buf is not None
        self._all: NDArray[np.uint8] = np.frombuffer(self._memory.buf, np.uint8)
        self._next = 0
        _HEAD.pack_into(self._memory.buf, 0, MAGIC, shape.slots, shape.stride_bytes, shape.width, shape.height)

    def write(self, pixels: Buffer) -> tuple[int, int]:
        """Copies a frame's pixels (H * W * 3 bytes) in. Returns: the slot and its sequence, for the FRAME."""
        slot, self._next = self._next, (self._next + 1) % self.shape.slots
        at = self.shape.sequence_offset(slot)
        # One aligned store of 8 bytes each, which a reader sees whole.
        sequence = self._all[at : at + 8].view("<u8")
        sequence[0] += 1
        start = self.shape.pixels_offset(slot)
        self._all[start : start + self.shape.pixel_bytes] = np.frombuffer(pixels, np.uint8)
        sequence[0] += 1
        return slot, int(sequence[0])

    def close(self) -> None:
        """Takes the name away; who has it open keeps its mapping. May be called twice."""
        if self._all.size:
            self._all = np.empty(0, np.uint8)
            self._memory.close()
            with contextlib.suppress(FileNotFoundError):
                self._memory.unlink()


class FrameRingReader:
    """A client's side: maps the ring read-only.

    Raises: OSError, ValueError: there is no such ring here, or it is not one.
    """

    def __init__(self, name: str) -> None:
        self._map = _open_read_only(name)
        if len(self._map) < HEAD_BYTES:
            raise ValueError(f"shared memory {name}: {len(self._map)} bytes, expected at least {HEAD_BYTES}")
        magic, slots, stride, width, height = _HEAD.unpack_from(self._map)
        if magic != MAGIC or not (0 < slots <= MOST_SLOTS and 0 < width <= MAX_FRAME_SIDE_PX >= height > 0):
            raise ValueError(f"shared memory {name}: not a ring of frames")
        self.shape = RingShape(slots=slots, width=width, height=height)
        if stride != self.shape.stride_bytes or len(self._map) < self.shape.total_bytes:
            raise ValueError(f"shared memory {name}: {len(self._map)} bytes, expected {self.shape.total_bytes}")
        self._bytes: NDArray[np.uint8] = np.frombuffer(self._map, np.uint8)
        self._copies: list[NDArray[np.uint8]] = []

    def read(self, slot: int, sequence: int) -> NDArray[np.uint8] | None:
        """A copy of the slot's pixels, (H, W, 3) and read-only.

        Returns: None when the slot does not hold that write (any more). The copy's memory is used again when nobody
        holds it any more, and not before.
        """
        in_place = self.view(slot, sequence)
        if in_place is None:
            return None
        pixels = self._spare().reshape(in_place.shape)
        np.copyto(pixels, in_place)
        if not self.holds(slot, sequence):
            return None
        pixels.flags.writeable = False
        return pixels

    def view(self, slot: int, sequence: int) -> NDArray[np.uint8] | None:
        """The slot's pixels where they lie, (H, W, 3) and read-only, to be uploaded at once; None as for `read`.

        They are good when `holds` says so after they were used, and used before the frame is named to the server.
        """
        if not self.holds(slot, sequence):
            return None
        start = self.shape.pixels_offset(slot)
        pixels = self._bytes[start : start + self.shape.pixel_bytes]
        return pixels.reshape(self.shape.height, self.shape.width, 3)

    def holds(self, slot: int, sequence: int) -> bool:
        """Whether the slot holds the write that a FRAME named, whole."""
        return 0 <= slot < self.shape.slots and self._sequence(slot) == sequence

    def _spare(self) -> NDArray[np.uint8]:
        """Memory for a frame that nobody looks at any more: fresh memory costs as much again as the copy."""
        if (spare := _held_by_nobody_else(self._copies)) is not None:
            return spare
        copy = np.empty(self.shape.pixel_bytes, np.uint8)
        self._copies = [*self._copies[-_MOST_COPIES + 1 :], copy]
        return copy

    def _sequence(self, slot: int) -> int:
        at = self.shape.sequence_offset(slot)
        return int(self._bytes[at : at + 8].view("<u8")[0])  # one aligned load

    def close(self) -> None:
        self._bytes = np.empty(0, np.uint8)
        self._map.close()


def _references(copies: list[NDArray[np.uint8]]) -> list[int]:
    """How many references each has; every frame, and every slice of one, holds one to its copy."""
    return [sys.getrefcount(copy) for copy in copies]


_ONLY_OURS: Final = _references([np.empty(1, np.uint8)])[0]  # the list's own, and what counting adds in this Python


def _held_by_nobody_else(copies: list[NDArray[np.uint8]]) -> NDArray[np.uint8] | None:
    counts = _references(copies)
    return copies[counts.index(_ONLY_OURS)] if _ONLY_OURS in counts else None


def open_ring(name: str, width: int, height: int) -> FrameRingReader | None:
    """The ring of a WELCOME, or None where it cannot be read: pixels then travel in the message."""
    if not name:
        return None
    try:
        ring = FrameRingReader(name)
    except (OSError, ValueError) as exc:
        log.info("ring.closed name=%s reason=%s", name, exc)
        return None
    if (ring.shape.width, ring.shape.height) != (width, height):
        ring.close()
        return None
    return ring


def create_ring(width: int, height: int, credit: int) -> FrameRingWriter | None:
    """A ring for one session, or None where there is no shared memory for it."""
    try:
        return FrameRingWriter(RingShape(slots=credit + SPARE_SLOTS, width=width, height=height))
    except OSError as exc:
        log.warning("ring.none reason=%s", exc)
        return None


def _check_free(needed_bytes: int) -> None:
    """Raises: OSError: writing the ring would end the process with SIGBUS."""
    if sys.platform == "linux":
        free = os.statvfs("/dev/shm")
        free_bytes = free.f_bavail * free.f_frsize
        if free_bytes < needed_bytes:
            raise OSError(f"/dev/shm: got {free_bytes} bytes free, expected {needed_bytes}")


def _open_read_only(name: str) -> mmap.mmap:
    """Maps a named shared memory. multiprocessing's own class would unlink it when this process ends (CPython 82300).

    Raises: OSError: there is none of that name, or not for us. ValueError: the name is not one of a ring.
    """
    if "/" in name or "\\" in name or not name.startswith("hlb_"):
        raise ValueError(f"shared memory: got the name {name!r}, expected hlb_ and letters")
    if sys.platform == "win32":
        return _open_on_windows(name)
    posix = importlib.import_module("_posixshmem")  # what multiprocessing itself calls; it has no types
    descriptor: int = posix.shm_open(f"/{name}", os.O_RDONLY, mode=0)
    try:
        return mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
    finally:
        os.close(descriptor)


def _open_on_windows(name: str) -> mmap.mmap:
    """Windows maps whole pages and would make an absent mapping anew, empty: the head tells one from the other."""
    with contextlib.closing(mmap.mmap(-1, HEAD_BYTES, tagname=name, access=mmap.ACCESS_READ)) as head:  # type: ignore[call-arg,attr-defined,unused-ignore]
        magic, slots, stride, *_ = _HEAD.unpack_from(head)
    if magic != MAGIC:
        raise OSError(f"no shared memory {name}")
    return mmap.mmap(-1, HEAD_BYTES + slots * stride, tagname=name, access=mmap.ACCESS_READ)  # type: ignore[call-arg,attr-defined,unused-ignore]
