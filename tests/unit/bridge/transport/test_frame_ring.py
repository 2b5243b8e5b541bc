"""The ring of shared memory: its layout byte by byte, its lock, and everything that makes a client fall back."""

from __future__ import annotations

import mmap
import multiprocessing.shared_memory
import re
import struct
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from bridge.protocol.codec import MAX_PIXELS_BYTES
from bridge.protocol.fields import MAX_FRAME_SIDE_PX
from bridge.transport.frame_ring import FrameRingReader, FrameRingWriter, RingShape, create_ring, open_ring

SHAPE = RingShape(slots=4, width=5, height=3)
RED, BLUE = b"\xff\x00\x00" * 15, b"\x00\x00\xff" * 15


@pytest.fixture
def writer() -> Iterator[FrameRingWriter]:
    ring = FrameRingWriter(SHAPE)
    yield ring
    ring.close()


@pytest.fixture
def reader(writer: FrameRingWriter) -> Iterator[FrameRingReader]:
    ring = FrameRingReader(writer.name)
    yield ring
    ring.close()


def memory(ring: FrameRingWriter) -> memoryview:
    """The ring's bytes, writable, by its name alone."""
    shared = multiprocessing.shared_memory.SharedMemory(name=ring.name)
    held.append(shared)
    assert shared.buf is not None
    return shared.buf


held: list[multiprocessing.shared_memory.SharedMemory] = []


def same(pixels: np.ndarray | None, expected: bytes) -> bool:
    return pixels is not None and pixels.tobytes() == expected


def test_the_layout_is_the_documents(writer: FrameRingWriter) -> None:
    """Offsets are written out from unity_plugin_protocol.md, section "Shared memory"."""
    assert writer.write(RED) == (0, 2)
    assert writer.write(BLUE) == (1, 2)
    data = bytes(memory(writer))
    assert data[0:8] == b"HLBRING1"
    assert struct.unpack("<IIII", data[8:24]) == (4, 128, 5, 3)  # 45 bytes of pixels: a head line and a pixel line
    assert data[24:64] == bytes(40)
    assert struct.unpack("<Q", data[64:72]) == (2,)
    assert data[128 : 128 + 45] == RED
    assert struct.unpack("<Q", data[64 + 128 : 72 + 128]) == (2,)
    assert data[128 + 128 : 128 + 128 + 45] == BLUE
    assert len(data) >= 64 + 4 * 128


def test_what_is_written_is_read(writer: FrameRingWriter, reader: FrameRingReader) -> None:
    assert reader.shape == SHAPE
    slot, sequence = writer.write(RED)
    pixels = reader.read(slot, sequence)
    assert pixels is not None
    assert (pixels.shape, pixels.tobytes()) == ((3, 5, 3), RED)
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 1


def test_a_frame_that_is_kept_is_not_written_over(writer: FrameRingWriter, reader: FrameRingReader) -> None:
    first = reader.read(*writer.write(RED))
    assert first is not None
    kept = [first[:1], *(reader.read(*writer.write(BLUE)) for _ in range(12))]  # a part of it keeps all of it
    del first
    for _ in range(12):
        reader.read(*writer.write(b"\x01" * 45))
    assert bytes(kept[0]) == RED[:15]
    assert all(frame is not None and frame.tobytes() == BLUE for frame in kept[1:])


def test_memory_of_frames_that_nobody_keeps_is_used_again(writer: FrameRingWriter, reader: FrameRingReader) -> None:
    for _ in range(20):
        assert reader.read(*writer.write(RED)) is not None
    assert len(reader._copies) <= 2


def test_slots_are_used_in_turn_and_a_frame_written_over_is_gone(
    writer: FrameRingWriter, reader: FrameRingReader
) -> None:
    first = writer.write(RED)
    others = [writer.write(BLUE) for _ in range(3)]
    assert same(reader.read(*first), RED)
    assert [slot for slot, _ in [first, *others]] == [0, 1, 2, 3]
    again = writer.write(BLUE)
    assert again == (0, 4)
    assert reader.read(*first) is None
    assert same(reader.read(*again), BLUE)


def test_a_frame_torn_while_it_is_copied_is_not_returned(
    writer: FrameRingWriter, reader: FrameRingReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot, sequence = writer.write(RED)
    looks = iter([sequence, sequence + 1])  # the server begins to write between the first look and the last
    monkeypatch.setattr(reader, "_sequence", lambda _: next(looks))
    assert reader.read(slot, sequence) is None


def test_pixels_can_be_used_where_they_lie(writer: FrameRingWriter, reader: FrameRingReader) -> None:
    slot, sequence = writer.write(RED)
    pixels = reader.view(slot, sequence)
    assert same(pixels, RED)
    assert pixels is not None
    assert not pixels.flags.writeable
    assert reader.holds(slot, sequence)
    for _ in range(4):
        writer.write(BLUE)
    assert not reader.holds(slot, sequence)
    assert reader.view(slot, sequence) is None
    del pixels


def test_a_slot_being_written_is_not_read(writer: FrameRingWriter, reader: FrameRingReader) -> None:
    slot, sequence = writer.write(RED)
    struct.pack_into("<Q", memory(writer), 64, sequence + 1)
    assert reader.read(slot, sequence) is None


@pytest.mark.parametrize("slot", [-1, 4, 2**40])
def test_a_slot_that_is_none_is_not_read(reader: FrameRingReader, slot: int) -> None:
    assert reader.read(slot, 2) is None


def test_a_client_cannot_write(reader: FrameRingReader) -> None:
    assert isinstance(reader._map, mmap.mmap)
    with pytest.raises(TypeError):
        reader._map[0] = 1


@pytest.mark.parametrize(
    ("at", "wrong"),
    [(0, b"HLBRING9"), (8, b"\0\0\0\0"), (8, b"\xff\xff\xff\xff"), (12, b"\x40\0\0\0"), (16, b"\xff\xff\0\0")],
    ids=["magic", "no slots", "too many slots", "stride", "width"],
)
def test_a_memory_that_is_no_ring_is_refused(writer: FrameRingWriter, at: int, wrong: bytes) -> None:
    memory(writer)[at : at + len(wrong)] = wrong
    with pytest.raises(ValueError, match="shared memory hlb_"):
        FrameRingReader(writer.name)
    assert open_ring(writer.name, 5, 3) is None


@pytest.mark.parametrize("name", ["", "hlb_absent", "/etc/passwd", "hlb_/../../etc/passwd", "psm_other"])
def test_what_is_not_there_or_not_ours_is_not_opened(name: str) -> None:
    assert open_ring(name, 5, 3) is None


def test_a_ring_of_another_size_is_not_used(writer: FrameRingWriter) -> None:
    assert open_ring(writer.name, 3, 5) is None
    ring = open_ring(writer.name, 5, 3)
    assert ring is not None
    ring.close()


def test_a_closed_ring_has_no_name_but_stays_mapped(writer: FrameRingWriter, reader: FrameRingReader) -> None:
    written = writer.write(RED)
    writer.close()
    writer.close()
    assert open_ring(writer.name, 5, 3) is None
    assert same(reader.read(*written), RED)


def test_a_ring_beyond_the_systems_memory_is_none() -> None:
    assert create_ring(MAX_FRAME_SIDE_PX, MAX_FRAME_SIDE_PX * 2**20, 2) is None


def test_the_largest_frame_fits() -> None:
    shape = RingShape(slots=10, width=MAX_FRAME_SIDE_PX, height=MAX_FRAME_SIDE_PX)
    assert shape.pixel_bytes == MAX_PIXELS_BYTES
    assert shape.total_bytes < 2**32  # a stride fits its uint32


READ_AND_LEAVE = """
import sys
from bridge.transport.frame_ring import FrameRingReader
print(FrameRingReader(sys.argv[1]).read(0, 2).tobytes() == b"\\xff\\x00\\x00" * 15)
"""


def test_another_process_reads_and_its_end_takes_nothing_away(writer: FrameRingWriter) -> None:
    writer.write(RED)
    for _ in range(2):
        command = [sys.executable, "-c", READ_AND_LEAVE, writer.name]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (told.stdout.strip(), told.stderr) == ("True", "")
    assert re.fullmatch(r"hlb_[0-9a-f]{16}", writer.name)
