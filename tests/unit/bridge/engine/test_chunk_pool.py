"""The pool of chunk slots in shared memory."""

from __future__ import annotations

import pytest

from bridge.engine.chunk_pool import ChunkPool
from bridge.engine.interface import EngineInfo

INFO = EngineInfo(
    model="helios", runner="any", frame_width=64, frame_height=32, frames_per_chunk=(5,), depth_width=16,
    depth_height=8, camera_method="none", default_map="garden",
)  # fmt: skip


def test_a_slot_is_released_once() -> None:
    pool = ChunkPool.create(INFO, 2)
    try:
        slot = pool.acquire()
        assert slot is not None
        pool.release(slot)
        for wrong in (slot, -1, 2):
            with pytest.raises(ValueError, match="expected one that was acquired"):
                pool.release(wrong)
    finally:
        pool.close()
