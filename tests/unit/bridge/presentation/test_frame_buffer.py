"""Finding the frame of a moment, and who owns which slot of the ring."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from bridge.engine.chunk_pool import ChunkPool, PoolLayout
from bridge.engine.interface import ControlWindow, EngineInfo, FrameChunk, Plan
from bridge.errors import EngineUnavailable, StepFailed
from bridge.presentation.frame_buffer import FrameBuffer, StoredChunk, encode_pixels
from bridge.protocol.messages import PixelFormat

INFO = EngineInfo(
    model="t", runner="t", frame_width=8, frame_height=6, frames_per_chunk=(2, 3), depth_width=4, depth_height=3,
    camera_method="none", default_map="t",
)  # fmt: skip


def chunk(number: int, start_us: int, frames: int = 3, fps: float = 24.0, made: int | None = None) -> StoredChunk:
    window = ControlWindow(
        positions=np.zeros((frames, 3)),
        rotations=np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1)),
        vertical_fov_deg=np.full(frames, 70.0),
        actions=("",) * frames,
        scene_updates=(),
        cut=False,
        newest_control_t_us=0,
    )
    return StoredChunk(
        number=number, start_us=start_us, fps=fps, frames=np.zeros((frames, 6, 8, 3), np.uint8), depth=None,
        window=window, actions=window.actions, plan=Plan(frames=frames, steps=(1,), rung="full"), stage_ms={},
        slot=number, made=frames if made is None else made,
    )  # fmt: skip


def key_at(store: FrameBuffer, now_us: int) -> tuple[int, int] | None:
    ref = store.newest_due(now_us)
    return None if ref is None else ref.key


def test_every_moment_of_a_chunk_finds_the_frame_whose_slot_holds_it() -> None:
    store = FrameBuffer()
    assert store.newest_due(0) is None
    assert store.buffered_until_us is None
    store.add(chunk(0, 1000))
    edges = [1000 + round(k * 1e6 / 24.0) for k in range(1, 3)]
    for now_us in [1000, 1001, *(edge + off for edge in edges for off in (-2, -1, 0, 1, 2)), 125_999]:
        ref = store.newest_due(now_us)
        assert ref is not None
        assert ref.due_us <= now_us < ref.until_us, now_us
    assert store.buffered_until_us == 126_000


def test_of_a_chunk_that_grows_only_what_is_made_is_found() -> None:
    store = FrameBuffer()
    store.add(chunk(0, 1_000_000, made=1))
    assert [key_at(store, now_us) for now_us in (0, 1_010_000, 1_050_000, 1_110_000)] == [(0, 0)] * 4
    turned = store.nearest(np.array([0.0, 0.0, 0.0, 1.0]))
    assert turned is not None
    assert turned.index == 0  # the last of equals, were it there
    store.add(chunk(0, 1_000_000, made=2))
    assert key_at(store, 1_110_000) == (0, 1)
    store.add(chunk(0, 1_000_000))
    assert key_at(store, 1_110_000) == (0, 2)
    assert store.clear() == [0]


def test_a_chunk_that_will_never_be_whole_leaves_no_slot_behind() -> None:
    store = FrameBuffer()
    store.add(chunk(7, 0))
    store.add(chunk(8, 1_000_000, made=2))
    assert store.clear() == [7]  # the other is still being written
    store.add(chunk(8, 0))
    store.add(chunk(9, 1_000_000, made=1))
    store.drop_growing()
    store.drop_growing()
    assert key_at(store, 1_010_000) == (8, 2)
    assert store.clear() == [8]


def test_a_delivered_chunk_whose_last_frames_never_come_ends_with_those_that_are_there() -> None:
    store = FrameBuffer()
    store.add(chunk(7, 0))
    store.add(dataclasses.replace(chunk(8, 1_000_000, made=2), delivered=True))
    store.cut_short()
    newest = store.newest
    assert newest is not None
    assert (len(newest.frames), store.buffered_until_us) == (2, newest.due_us(2))
    assert key_at(store, 9_000_000) == (8, 1)
    assert not store.ripen(newest.slot, 3)
    assert store.clear() == [7, 8]


def test_before_the_first_and_after_the_last_frame_the_nearest_is_found() -> None:
    store = FrameBuffer()
    store.add(chunk(0, 1_000_000))
    assert key_at(store, 0) == (0, 0)
    assert key_at(store, 9_000_000) == (0, 2)


def test_of_overlapping_chunks_the_newer_one_is_right() -> None:
    store = FrameBuffer()
    store.add(chunk(0, 0))
    store.add(chunk(1, 50_000))
    assert key_at(store, 49_999) == (0, 1)
    assert key_at(store, 50_000) == (1, 0)


def test_eviction_frees_what_has_been_replaced_and_nothing_else() -> None:
    store = FrameBuffer()
    for number in range(3):
        store.add(chunk(number, number * 125_000))
    assert store.evict(124_999) == []
    assert store.evict(125_000) == [0]
    assert key_at(store, 125_000) == (1, 0)
    assert store.evict(999_999) == [1]
    assert store.clear() == [2]
    assert store.newest_due(0) is None


def test_ring_slots_are_separate_and_reused_only_when_released() -> None:
    ring = ChunkPool.create(INFO, 2)
    try:
        other = ChunkPool.attach(ring.layout)
        slots = [ring.acquire(), ring.acquire()]
        assert sorted(slot for slot in slots if slot is not None) == [0, 1]
        assert ring.acquire() is None
        for slot, value in ((0, 10), (1, 20)):
            other.write(
                slot,
                FrameChunk(
                    frames=np.full((3, 6, 8, 3), value, np.uint8),
                    depth=np.full((3, 3, 4), value, np.float32) if slot else None,
                    actions=("",) * 3,
                    stage_ms={},
                ),
            )
        frames, depth = ring.view(0, 3, with_depth=False)
        assert frames.min() == frames.max() == 10
        assert depth is None
        frames, depth = ring.view(1, 3, with_depth=True)
        assert frames.min() == frames.max() == 20
        assert depth is not None
        assert depth.min() == depth.max() == 20.0
        ring.release(1)
        assert ring.acquire() == 1
        with pytest.raises(ValueError, match="expected one that was acquired"):
            ring.release(7)
        ring.release(0)
        with pytest.raises(ValueError, match="expected one that was acquired"):
            ring.release(0)
        del frames, depth
        other.close()
    finally:
        ring.close()
    with pytest.raises(FileNotFoundError):
        ChunkPool.attach(ring.layout)


@pytest.mark.parametrize(
    ("shape", "depth_shape"),
    [((4, 6, 8, 3), None), ((2, 6, 9, 3), None), ((0, 6, 8, 3), None), ((2, 6, 8, 3), (2, 4, 4))],
    ids=["too many", "too wide", "none", "depth size"],
)
def test_a_chunk_of_another_shape_is_refused(shape: tuple[int, ...], depth_shape: tuple[int, ...] | None) -> None:
    ring = ChunkPool.create(INFO, 1)
    try:
        with pytest.raises(StepFailed, match="expected"):
            ring.write(
                0,
                FrameChunk(
                    frames=np.zeros(shape, np.uint8),
                    depth=None if depth_shape is None else np.zeros(depth_shape, np.float32),
                    actions=("",) * shape[0],
                    stage_ms={},
                ),
            )
    finally:
        ring.close()


def test_too_little_shared_memory_is_said_before_anything_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.engine.chunk_pool._free_shared_bytes", lambda: 100)
    with pytest.raises(EngineUnavailable, match="shm-size"):
        ChunkPool.create(INFO, 2)


def test_slots_hold_the_longest_chunk() -> None:
    assert PoolLayout.slot_bytes_of(INFO) == 3 * (6 * 8 * 3 + 4 * 3 * 4)


def test_pixels_are_rows_from_the_top_or_a_jpeg_in_the_right_colours() -> None:
    frame = np.zeros((16, 32, 3), np.uint8)
    frame[..., 0] = 200
    assert encode_pixels(frame, PixelFormat.RGB8).tobytes() == frame.tobytes()
    assert encode_pixels(frame[::-1, ::2], PixelFormat.RGB8).nbytes == 16 * 16 * 3
    data = np.frombuffer(encode_pixels(frame, PixelFormat.JPEG), np.uint8)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert np.abs(decoded[..., ::-1].astype(int) - frame).max() < 8
