"""The warp against views that are cast afresh from the new camera."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.geometry import Pose, quaternion_from_rotation_vector
from bridge.presentation.reprojection import NO_PART, MovedPart, Warper, coverage

WIDTH, HEIGHT, FOV_DEG = 160, 96, 70.0
WALL_M = 4.0


def camera(
    x: float = 0.0, y: float = 0.0, z: float = 0.0, *, yaw: float = 0.0, pitch: float = 0.0, fov: float = FOV_DEG
) -> Pose:
    turn = quaternion_from_rotation_vector(np.radians([pitch, yaw, 0.0]))
    return Pose(position=np.array([x, y, z]), rotation=turn, vertical_fov_deg=fov)


def rays(pose: Pose, width: int, height: int) -> NDArray[np.float64]:
    """World directions of unit view depth (H, W, 3), written out by Rodrigues' formula, not by the code under test."""
    tan = math.tan(math.radians(pose.vertical_fov_deg) / 2)
    x, y = np.meshgrid(
        ((np.arange(width) + 0.5) / width * 2 - 1) * tan * width / height,
        (1 - (np.arange(height) + 0.5) / height * 2) * tan,
    )
    local = np.stack([x, y, -np.ones_like(x)], axis=-1)
    vector, scalar = pose.rotation[:3], pose.rotation[3]
    return local + 2 * np.cross(np.broadcast_to(vector, local.shape), np.cross(vector, local) + scalar * local)


def sky(pose: Pose) -> NDArray[np.uint8]:
    """A pattern infinitely far away."""
    way = rays(pose, WIDTH, HEIGHT)
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    return (127.5 + 120 * np.sin(way * 14.0)).astype(np.uint8)


def wall(pose: Pose, width: int = WIDTH, height: int = HEIGHT) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A textured wall across -Z at `WALL_M`, and its view-axis depth."""
    way = rays(pose, width, height)
    depth = (-WALL_M - pose.position[2]) / way[..., 2]
    point = pose.position + way * depth[..., None]
    pixels = (127.5 + 120 * np.sin(point[..., [0, 1, 0]] * [5.0, 4.0, 3.0])).astype(np.uint8)
    return pixels, depth.astype(np.float32)


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8], margin: int = 12) -> float:
    inner = np.s_[margin:-margin, margin:-margin]
    error = np.mean((a[inner].astype(np.float64) - b[inner]) ** 2)
    return float(10 * np.log10(255.0**2 / max(error, 1e-9)))


@pytest.mark.parametrize("size", [(160, 96), (161, 97), (2, 3)])
def test_the_same_pose_changes_nothing_and_copies(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    same = Warper(*size).warp(frame, source=camera(1, yaw=20), target=camera(1, yaw=20))
    assert np.array_equal(same, frame)
    assert not np.shares_memory(same, frame)


def test_a_map_that_moves_nothing_changes_nothing() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (97, 161, 3), np.uint8)
    # Another position without depth is another pose with the same map: no shortcut is taken here.
    moved = Warper(161, 97).warp(frame, source=camera(), target=camera(5.0))
    assert np.array_equal(moved, frame)


@pytest.mark.parametrize(("yaw", "pitch"), [(3, 0), (-3, 0), (0, 3), (0, -3), (2, -2)])
def test_rotation_matches_a_fresh_view(yaw: float, pitch: float) -> None:
    source, target = camera(yaw=40, pitch=10), camera(yaw=40 + yaw, pitch=10 + pitch)
    bent = Warper(WIDTH, HEIGHT).warp(sky(source), source=source, target=target)
    assert psnr_db(bent, sky(target)) > 38
    assert psnr_db(sky(source), sky(target)) < 22


def test_a_field_of_view_change_matches_a_fresh_view() -> None:
    source, target = camera(fov=75), camera(fov=68)
    bent = Warper(WIDTH, HEIGHT).warp(sky(source), source=source, target=target)
    assert psnr_db(bent, sky(target)) > 38


def test_infinite_depth_is_rotation_alone() -> None:
    source, target = camera(), camera(0.5, 0.1, -0.4, yaw=2)
    depth = np.full((24, 40), np.inf, np.float32)
    warper = Warper(WIDTH, HEIGHT)
    with_depth = warper.warp(sky(source), source=source, target=target, depth=depth)
    without = warper.warp(sky(source), source=source, target=target)
    assert np.array_equal(with_depth, without)


@pytest.mark.parametrize(
    "target",
    [camera(0.2), camera(0.0, 0.15), camera(0.0, 0.0, -0.5), camera(0.0, 0.0, 0.3), camera(0.15, 0.0, -0.2, yaw=2)],
    ids=["right", "up", "forward", "back", "walk and turn"],
)
def test_translation_along_a_wall_matches_a_fresh_view(target: Pose) -> None:
    source = camera()
    frame, _ = wall(source)
    _, depth = wall(source, WIDTH // 4, HEIGHT // 4)
    truth, _ = wall(target)
    bent = Warper(WIDTH, HEIGHT).warp(frame, source=source, target=target, depth=depth)
    assert psnr_db(bent, truth) > 32
    assert psnr_db(bent, truth) > psnr_db(frame, truth) + 10


def test_a_wall_seen_aslant_and_walking_into_it_stay_finite() -> None:
    source = camera(yaw=50)
    frame, depth = wall(source)
    for target in (camera(0.1, yaw=50), camera(0, 0, -3.99, yaw=10), camera(0, 0, -9.0), camera(yaw=180)):
        bent = Warper(WIDTH, HEIGHT).warp(frame, source=source, target=target, depth=np.abs(depth))
        assert bent.shape == frame.shape


def test_coverage_is_the_share_of_the_new_view_that_was_seen() -> None:
    aspect = WIDTH / HEIGHT
    assert coverage(camera(yaw=10), camera(yaw=10), aspect) == 1.0
    assert coverage(camera(), camera(yaw=180), aspect) == 0.0
    assert coverage(camera(), camera(fov=60), aspect) == 1.0
    wide, narrow = np.tan(np.radians(45)), np.tan(np.radians(22.5))
    assert coverage(camera(fov=45), camera(fov=90), aspect) == pytest.approx((narrow / wide) ** 2, abs=0.06)
    shares = [coverage(camera(), camera(yaw=yaw), aspect) for yaw in range(0, 120, 10)]
    assert shares == sorted(shares, reverse=True)
    assert shares[5] < 0.6


PATCH, PATCH_M = 7, 2.0  # a part: a plate across -Z, nearer than the wall


def plate(
    pose: Pose, at: float, width: int = WIDTH, height: int = HEIGHT
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint32]]:
    """The wall with a plate of 0.8 m before it, its middle at x = `at`: pixels, view-axis depth, part ids."""
    pixels, depth = wall(pose, width, height)
    way = rays(pose, width, height)
    near = (-PATCH_M - pose.position[2]) / way[..., 2]
    point = pose.position + way * near[..., None]
    on_it = (np.abs(point[..., 0] - at) < 0.4) & (np.abs(point[..., 1]) < 0.4) & (near > 0)
    own = (127.5 + 120 * np.sin((point - [at, 0, 0])[..., [1, 0, 1]] * [9.0, 8.0, 7.0] + 2.0)).astype(np.uint8)
    ids = np.where(on_it, np.uint32(PATCH), np.uint32(NO_PART)).astype(np.uint32)
    return np.where(on_it[..., None], own, pixels), np.where(on_it, near, depth).astype(np.float32), ids


def shifted(by_m: float) -> MovedPart:
    return MovedPart(part=PATCH, rotation=np.array([0.0, 0.0, 0.0, 1.0]), offset=np.array([by_m, 0.0, 0.0]))


@pytest.mark.parametrize("target", [camera(), camera(0.1, yaw=1)], ids=["still", "walking"])
def test_a_part_that_moved_is_shown_where_it_is_now(target: Pose) -> None:
    source = camera()
    frame, _, _ = plate(source, 0.0)
    _, depth, ids = plate(source, 0.0, WIDTH // 4, HEIGHT // 4)
    truth, _, _ = plate(target, 0.25)
    warper = Warper(WIDTH, HEIGHT)
    still = warper.warp(frame, source=source, target=target, depth=depth)
    warper.keep(plate(source, 0.24)[0], source)  # a tick ago; it saw what the plate hid where the frame has it
    moved = warper.warp(frame, source=source, target=target, depth=depth, parts=ids, moved=[shifted(0.25)])
    assert psnr_db(moved, truth) > psnr_db(still, truth) + 3
    # Inside the plate, away from its edges, it is the same plate.
    inner = plate(target, 0.25)[2] == PATCH
    inner[:, :-8] &= inner[:, 8:]
    inner[:, 8:] &= inner[:, :-8]
    inner[:-8] &= inner[8:]
    inner[8:] &= inner[:-8]
    assert inner.sum() > 100
    assert np.mean(np.abs(moved[inner].astype(float) - truth[inner])) < 6
    assert np.mean(np.abs(still[inner].astype(float) - truth[inner])) > 25


def test_a_part_that_did_not_move_and_one_that_is_not_seen_change_nothing() -> None:
    source, target = camera(), camera(0.1)
    frame, _, _ = plate(source, 0.0)
    _, depth, ids = plate(source, 0.0, WIDTH // 4, HEIGHT // 4)
    warper = Warper(WIDTH, HEIGHT)
    plain = warper.warp(frame, source=source, target=target, depth=depth)
    warper.forget()
    stranger = MovedPart(part=99, rotation=np.array([0.0, 0.0, 0.0, 1.0]), offset=np.array([1.0, 0.0, 0.0]))
    assert np.array_equal(
        warper.warp(frame, source=source, target=target, depth=depth, parts=ids, moved=[stranger]), plain
    )


def test_a_turned_part_is_seen_by_the_camera_turned_back() -> None:
    quarter = quaternion_from_rotation_vector(np.radians([0.0, 90.0, 0.0]))
    moved = MovedPart(part=1, rotation=quarter, offset=np.array([0.0, 0.0, 1.0]))
    before = moved.camera_before(camera(2.0, 0.0, 1.0))
    # A quarter turn about +Y takes -Z to -X: back, +X goes to +Z.
    assert before.position == pytest.approx([0.0, 0.0, 2.0], abs=1e-12)
    assert before.matrix() @ [0.0, 0.0, -1.0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-12)


def test_what_comes_back_into_view_is_taken_from_the_picture_before() -> None:
    """The frame was made for a camera turned too far; the picture before saw what lies behind its border."""
    was, predicted, now = camera(yaw=0), camera(yaw=-14), camera(yaw=-1)
    warper = Warper(WIDTH, HEIGHT)
    smeared = warper.warp(sky(predicted), source=predicted, target=now)
    warper.forget()
    warper.keep(sky(was), was)
    filled = warper.warp(sky(predicted), source=predicted, target=now)
    assert psnr_db(filled, sky(now), margin=4) > 30
    assert psnr_db(smeared, sky(now), margin=4) < 22


def test_a_bent_picture_is_itself_the_picture_before_and_a_jump_forgets_it() -> None:
    warper = Warper(WIDTH, HEIGHT)
    warper.keep(sky(camera(yaw=4)), camera(yaw=4))
    far = camera(yaw=-16)
    for yaw in (2, 0, -2):
        bent = warper.warp(sky(far), source=far, target=camera(yaw=yaw))
    assert psnr_db(bent, sky(camera(yaw=-2)), margin=4) > 26
    warper.forget()
    fresh = warper.warp(sky(far), source=far, target=camera(yaw=-2))
    assert psnr_db(fresh, sky(camera(yaw=-2)), margin=4) < 22


@pytest.mark.parametrize("size", [(160, 96), (161, 97), (18, 11)])
@pytest.mark.parametrize("yaw", [-40.0, -3.0, 3.0, 40.0])
def test_holes_at_any_border_and_size_are_filled_within_the_picture(size: tuple[int, int], yaw: float) -> None:
    width, height = size
    frame, before = np.full((height, width, 3), 50, np.uint8), np.full((height, width, 3), 200, np.uint8)
    warper = Warper(width, height)
    target = camera(yaw=yaw, pitch=yaw / 2)
    warper.keep(before, target)
    bent = warper.warp(frame, source=camera(), target=target)
    assert set(np.unique(bent)) <= {50, 200}
    assert np.mean(bent == 200) == pytest.approx(1 - coverage(camera(), target, width / height), abs=0.12)
