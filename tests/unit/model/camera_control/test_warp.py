"""The last view from other cameras: exact where the blockout says so, honest about what nobody has seen."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.camera_control.warp import View, depth_of, seen_share, warped
from model.scene.blockout import Blockout, PackedParts, Part, Shape
from model.scene.camera import Camera, quaternion_from_yaw_pitch, ray_directions

HEIGHT, WIDTH = 48, 80


def camera(x: float = 0.0, z: float = 0.0, yaw: float = 0.0) -> Camera:
    return Camera(
        position=np.array([x, 0.0, z]), rotation=quaternion_from_yaw_pitch(yaw, 0.0), vertical_fov_deg=60.0,
        height=HEIGHT, width=WIDTH,
    )  # fmt: skip


def wall() -> Part:
    return Part(id=1, shape=Shape.BOX, position=(0, 0, -6), size=(60, 40, 0.2), rotation=(0, 0, 0, 1), material="brick")


def pillar() -> Part:
    return Part(id=2, shape=Shape.BOX, position=(0, 0, -3), size=(0.8, 9, 0.8), rotation=(0, 0, 0, 1), material="metal")


def packed(*parts: Part) -> PackedParts:
    return Blockout().add(parts).pack()


def painted(parts: PackedParts, seen_by: Camera) -> NDArray[np.uint8]:
    """A smooth colour that belongs to places in the world, so that the truth of any view is known."""
    places = seen_by.position + depth_of(parts, seen_by)[..., None] * ray_directions(seen_by, 1.0)
    return np.round(127.5 + 120 * np.sin(places * 0.6)).astype(np.uint8)


def error_of(found: NDArray[np.uint8], truth: NDArray[np.uint8], where: NDArray[np.bool_]) -> float:
    return float(np.abs(found.astype(float) - truth)[where].mean())


def test_walking_is_exact_by_the_blockouts_depth_and_not_without() -> None:
    parts, here, there = packed(wall()), camera(), camera(x=0.7, z=-1.0)
    truth = painted(parts, there)
    view = View(frame=painted(parts, here), camera=here, depth=depth_of(parts, here))
    exact = warped(view, there, depth_of(parts, there))
    blind = warped(view, there, None)
    assert exact.seen.mean() > 0.95
    assert error_of(exact.frame, truth, exact.seen) < 1.5
    assert error_of(blind.frame, truth, blind.seen) > 5


def test_rotation_is_exact_without_depth() -> None:
    parts, here, there = packed(wall()), camera(), camera(yaw=0.15)
    bent = warped(View(frame=painted(parts, here), camera=here, depth=None), there, None)
    assert error_of(bent.frame, painted(parts, there), bent.seen) < 1.5
    assert not bent.seen[:, 0].any()  # it turned left: that side is new
    assert bent.seen[:, -1].all()


def test_what_stood_behind_something_counts_as_unseen() -> None:
    parts, here, there = packed(wall(), pillar()), camera(), camera(x=1.2)
    view = View(frame=painted(parts, here), camera=here, depth=depth_of(parts, here))
    bent = warped(view, there, depth_of(parts, there))
    truth = painted(parts, there)
    wrong = np.abs(bent.frame.astype(float) - truth).max(-1) > 25
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[:, 4:-22] = True  # what left the picture is another matter
    at_edges = 4 * HEIGHT  # bilinear fetching mixes two pixels on either side of the pillar
    assert (wrong & inside & bent.seen).sum() <= at_edges < (wrong & inside).sum() / 2


def test_seen_share_counts_pixels_of_a_cell() -> None:
    seen = np.zeros((4, 8), bool)
    seen[:2, :3] = True
    np.testing.assert_allclose(seen_share(seen, 2, 4), [[1, 0.5, 0, 0], [0, 0, 0, 0]])
