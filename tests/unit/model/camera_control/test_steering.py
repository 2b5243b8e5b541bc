"""From cameras to a request's hints."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.camera_control.layout import first_stage
from model.camera_control.method import CameraMethod
from model.camera_control.steering import Hints, Steering, latent_frames, layout_frames
from model.camera_control.warp import View, Warped
from model.scene.blockout import Blockout, Part, Shape
from model.scene.camera import Camera, quaternion_from_yaw_pitch
from model.scene.raycast import cast
from model.spec import Decode, ModelSpec

SPEC = ModelSpec(
    name="small", frame_height=64, frame_width=64, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=2,
    latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=4, text_dim=8,
)  # fmt: skip
FLOOR = Part(id=1, shape=Shape.PLANE, position=(0, 0, 0), size=(50, 0, 50), rotation=(0, 0, 0, 1), material="grass",
             colour=(0.2, 0.8, 0.2))  # fmt: skip


FLOOR_ALONE = Blockout().add([FLOOR]).pack()


def cameras(turn_deg: float, count: int = 5) -> list[Camera]:
    return [
        Camera(
            position=np.array([0.0, 1.6, 0.0]), vertical_fov_deg=60.0, height=64, width=64,
            rotation=quaternion_from_yaw_pitch(np.radians(turn_deg) * index / (count - 1), 0.0),
        )
        for index in range(count)
    ]  # fmt: skip


def last_view() -> View:
    frame = np.full((64, 64, 3), 200, np.uint8)
    return View(frame=frame, camera=cameras(0)[0], depth=None)


def encode(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness in every channel, one latent frame for frames 0 and 4."""
    small = frames[::4].astype(np.float32).mean(-1).reshape(-1, 8, 8, 8, 8).mean(axis=(2, 4))
    return np.broadcast_to(small, (1, 16, *small.shape)).copy()


def test_a_view_that_turned_away_leaves_its_unseen_tokens_out() -> None:
    steering = Steering(CameraMethod.WARP_HISTORY, SPEC, encode)
    still = steering.hints(None, cameras(0), last_view()).view
    turned = steering.hints(None, cameras(25), last_view()).view
    assert still is not None
    assert turned is not None
    assert still.latents.shape == (1, 16, 2, 8, 8)
    np.testing.assert_array_equal(still.tokens, np.arange(2 * 4 * 4))
    columns = turned.tokens[turned.tokens >= 16] % 4
    assert 0 < len(columns) < 16
    assert 3 in columns
    assert 0 not in columns  # it turned left
    assert set(range(16)) <= set(turned.tokens)  # the chunk's first frame has not turned yet


def test_a_first_chunk_has_no_view_and_is_steered_by_what_there_is() -> None:
    steering = Steering(CameraMethod.WARP_HISTORY, SPEC, encode)
    assert steering.hints(None, cameras(10), None) == Hints(clause="The camera pans left.")
    drawn = steering.hints(FLOOR_ALONE, cameras(10), None)
    assert drawn.view is None
    assert drawn.first_stage is not None


def test_a_view_that_is_out_of_sight_leaves_its_place_to_the_layout() -> None:
    away = Steering(CameraMethod.WARP_HISTORY, SPEC, encode).hints(FLOOR_ALONE, [cameras(180)[-1]] * 5, last_view())
    assert away.view is None
    assert away.first_stage is not None


def test_the_blockouts_depth_comes_along() -> None:
    hints = Steering(CameraMethod.LAYOUT, SPEC, encode, threads=2).hints(FLOOR_ALONE, cameras(0), None)
    assert hints.depth is not None
    assert hints.part is not None
    assert hints.depth.shape == hints.part.shape == (5, 16, 16)
    assert np.isinf(hints.depth[0, 0]).all()
    np.testing.assert_allclose(hints.depth[0, -1], 1.6 / (np.tan(np.radians(30)) * 15 / 16), rtol=1e-5)
    assert (hints.part[0, -1] == 0).all()
    assert (hints.part[0, 0] == -1).all()


def test_the_number_of_tokens_is_one_of_a_few() -> None:
    steering = Steering(CameraMethod.WARP_HISTORY, SPEC, encode)
    counts = steering.token_counts(5)
    assert counts == [4, 8, 12, 16, 20, 24, 28, 32]
    for turn in (3, 10, 25, 40):
        view = steering.hints(None, cameras(turn), last_view()).view
        assert view is not None
        assert len(view.tokens) in counts
        assert (np.diff(view.tokens) > 0).all()


def test_a_layout_is_the_warp_where_it_was_seen_and_the_blockout_elsewhere() -> None:
    hits = [cast(np, FLOOR_ALONE, camera, step_px=4) for camera in cameras(0)]
    drawn = layout_frames(hits, None)
    ground, sky = drawn[0, -1, 32].astype(int), drawn[0, 0, 32].astype(int)
    assert ground[1] > ground[2] + 40
    assert sky[2] > sky[0]
    seen = Warped(frame=last_view().frame, seen=np.ones((64, 64), bool))
    hidden = Warped(frame=last_view().frame, seen=np.zeros((64, 64), bool))
    assert (layout_frames(hits, [seen] * 5) == 200).all()
    np.testing.assert_array_equal(layout_frames(hits, [hidden] * 5), drawn)
    stage = Steering(CameraMethod.LAYOUT, SPEC, encode).hints(None, cameras(0), last_view()).first_stage
    assert stage is not None
    assert stage.shape == (1, 16, 2, 2, 2)
    np.testing.assert_allclose(stage, 200, rtol=1e-6)


def test_first_stage_keeps_the_mean() -> None:
    latents = np.arange(64, dtype=np.float32).reshape(1, 1, 1, 8, 8)
    assert first_stage(latents, 3).mean() == pytest.approx(latents.mean())


def test_words_reach_the_prompt_method_alone() -> None:
    assert Steering(CameraMethod.PROMPT, SPEC, encode).hints(None, cameras(10), None).clause.startswith("The camera")
    assert Steering(CameraMethod.CHANNELS, SPEC, encode).hints(None, cameras(10), None) == Hints()


def test_latent_frames_of_both_decoders() -> None:
    assert [list(group) for group in latent_frames(SPEC, 5)] == [[0], [1, 2, 3, 4]]
