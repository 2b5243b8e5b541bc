"""From cameras to a request's hints."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.blockout import Blockout, Part, Shape
from model.camera import Camera, quaternion_from_yaw_pitch
from model.camera_methods.layout import first_stage
from model.camera_methods.method import CameraMethod
from model.camera_methods.steering import Hints, Steering, latent_frames, layout_frames
from model.camera_methods.warp import View
from model.spec import Decode, ModelSpec

SPEC = ModelSpec(
    name="small", frame_height=64, frame_width=64, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=2,
    latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=4, text_dim=8,
)  # fmt: skip
FLOOR = Part(id=1, shape=Shape.PLANE, position=(0, 0, 0), size=(50, 0, 50), rotation=(0, 0, 0, 1), material="grass",
             colour=(0.2, 0.8, 0.2))  # fmt: skip


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


def test_the_first_chunk_has_no_view() -> None:
    assert Steering(CameraMethod.WARP_HISTORY, SPEC, encode).hints(None, cameras(0), None) == Hints()


def test_a_layout_is_the_warp_where_it_was_seen_and_the_blockout_elsewhere() -> None:
    parts = Blockout().add([FLOOR]).pack()
    shaded = layout_frames(parts, cameras(0), None)
    ground, sky = shaded[0, -1, 32].astype(int), shaded[0, 0, 32].astype(int)
    assert ground[1] > ground[2] + 40
    assert sky[2] > sky[0]
    both = layout_frames(None, cameras(0), last_view())
    assert (both == 200).all()
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
