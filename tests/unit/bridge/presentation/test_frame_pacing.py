"""Which picture answers a control."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.engine.interface import ControlWindow, Plan
from bridge.geometry import Pose, quaternion_from_rotation_vector
from bridge.presentation.frame_buffer import FrameRef, StoredChunk
from bridge.presentation.frame_pacing import Decision, PacingConfig, decide
from bridge.protocol.messages import Source

ORIGIN = np.zeros(3)


def camera(x: float = 0.0, yaw_deg: float = 0.0, fov: float = 70.0) -> Pose:
    turn = quaternion_from_rotation_vector(np.array([0.0, np.radians(yaw_deg), 0.0]))
    return Pose(position=np.array([x, 0.0, 0.0]), rotation=turn, vertical_fov_deg=fov)


def frame(index: int = 1) -> FrameRef:
    """Frame `index` of chunk 3, whose frames are due at 1000, 1040 and 1080 ms."""
    window = ControlWindow(
        positions=np.zeros((3, 3)),
        rotations=np.tile([0.0, 0.0, 0.0, 1.0], (3, 1)),
        vertical_fov_deg=np.full(3, 70.0),
        actions=("",) * 3,
        scene_updates=(),
        cut=False,
        newest_control_t_us=0,
    )
    chunk = StoredChunk(
        number=3, start_us=1_000_000, fps=25.0, frames=np.zeros((3, 2, 2, 3), np.uint8), depth=None, window=window,
        actions=window.actions, plan=Plan(frames=3, steps=(1,), rung="full"), stage_ms={}, slot=0, made=3,
    )  # fmt: skip
    return FrameRef(chunk=chunk, index=index)


def decided(
    now_ms: float, pose: Pose, *, ref: FrameRef | None, shown: tuple[int, int] | None = None
) -> tuple[Source, bool]:
    decision: Decision = decide(
        round(now_ms * 1000), frame=ref, newest_shown=shown, camera=pose, aspect=1.6, config=PacingConfig()
    )
    return decision.source, decision.frame is ref


def test_without_a_frame_the_picture_is_held() -> None:
    assert decided(0, camera(), ref=None)[0] is Source.HELD


@pytest.mark.parametrize(
    ("now_ms", "pose", "shown", "expected"),
    [
        (1040, camera(), None, Source.GENERATED),
        (1079.9, camera(0.049, 0.49), (3, 0), Source.GENERATED),
        (1050, camera(), (2, 7), Source.GENERATED),
        (1050, camera(), (3, 1), Source.REPROJECTED),  # shown before
        (1050, camera(), (3, 2), Source.REPROJECTED),  # a later one was shown before
        (1039.9, camera(), None, Source.REPROJECTED),  # not due yet
        (1080, camera(), None, Source.REPROJECTED),  # its time is over
        (1050, camera(0.051), None, Source.REPROJECTED),
        (1050, camera(0.0, 0.51), None, Source.REPROJECTED),
        (1050, camera(0.0, 0.0, 71.0), None, Source.REPROJECTED),
        (1050, camera(0.0, 40.0), None, Source.REPROJECTED),
        (1050, camera(0.0, 90.0), None, Source.REPROJECTED),  # a sixth of it was seen
        (1050, camera(0.0, 110.0), None, Source.HELD),
        (1050, camera(0.0, 180.0), None, Source.HELD),
    ],
)
def test_generated_only_at_its_own_moment_for_its_own_camera(
    now_ms: float, pose: Pose, shown: tuple[int, int] | None, expected: Source
) -> None:
    source, carries_frame = decided(now_ms, pose, ref=frame(), shown=shown)
    assert source is expected
    assert carries_frame == (expected is not Source.HELD)
