"""Decides what answers a control: the frame made for this moment, a frame bent to the newest camera, or the last one
again.

Every control is answered at once. Pure decisions; no clock, no pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bridge.geometry import Pose, angle_between_deg
from bridge.presentation.frame_buffer import FrameRef
from bridge.presentation.reprojection import coverage
from bridge.protocol.messages import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class PacingConfig:
    """How close a predicted camera must be for its frame to go out as it is, and how far a frame may be bent.

    Half a degree is 3 px of a 384-line picture at 70 degrees, and 5 cm are below what one sees in motion; the exact
    pose stands in the header either way. Under `least_coverage` next to nothing of the new view was ever seen; above it
    a picture that turns with the player, smeared at its border, is better than one that stands still. A due frame more
    than `far_deg` off gives way to whichever frame is turned least from the camera: one made for earlier or later.
    """

    exact_angle_deg: float = 0.5
    exact_distance_m: float = 0.05
    exact_fov_deg: float = 0.25
    least_coverage: float = 0.1
    far_deg: float = 25.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Decision:
    """`frame` is what to send or bend; None (only when held) means: the last picture as it was sent."""

    source: Source
    frame: FrameRef | None


def decide(
    now_us: int,
    *,
    frame: FrameRef | None,
    newest_shown: tuple[int, int] | None,
    camera: Pose,
    aspect: float,
    config: PacingConfig,
) -> Decision:
    """What to answer a control from `camera` with.

    frame: the newest frame due, as the store has it. newest_shown: the key of the newest frame ever sent or bent in
    this session; a frame is "generated" only at its first showing, inside its own slot, near enough to the camera.
    """
    if frame is None:
        return Decision(source=Source.HELD, frame=None)
    pose = frame.pose
    angle_deg = angle_between_deg(pose.rotation, camera.rotation)
    fresh = newest_shown is None or frame.key > newest_shown
    if (
        fresh
        and frame.due_us <= now_us < frame.until_us
        and angle_deg <= config.exact_angle_deg
        and float(np.linalg.norm(pose.position - camera.position)) <= config.exact_distance_m
        and abs(pose.vertical_fov_deg - camera.vertical_fov_deg) <= config.exact_fov_deg
    ):
        return Decision(source=Source.GENERATED, frame=frame)
    # Small turns always leave enough; the exact test costs 0.1 ms.
    if angle_deg > 0.25 * min(pose.vertical_fov_deg, camera.vertical_fov_deg) and (
        coverage(pose, camera, aspect) < config.least_coverage
    ):
        return Decision(source=Source.HELD, frame=None)
    return Decision(source=Source.REPROJECTED, frame=frame)
