"""What the demo's denoiser is trained on: which clips, and which past a sample has."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from model.demo.train import main as train_main
from model.demo.training.clips import Clip, film
from model.demo.training.prepared_data import SWITCHED, Geometry, PreparedFolder, latent_statistics
from model.demo.training.train_denoiser import HISTORY, draw_sample, rare_clips
from model.demo.world.conditions import Conditions, column_of
from model.scene.blockout import MATERIALS, Blockout, Part, Shape
from model.scene.ray_features import GLOW_CHANNEL, MATERIAL_CHANNELS, RAY_CHANNELS

pytestmark = pytest.mark.torch
DOOR, FOUNTAIN = (MATERIAL_CHANNELS.start + MATERIALS.index(name) for name in ("door", "fountain"))


def write_clip(folder, name, channel, covered, *, latents=0.0, frames=2, **in_force):
    rays = np.zeros((RAY_CHANNELS, frames, 8, 8), np.float16)
    rays[channel, :, : round(8 * covered)] = 1
    conditions = np.stack([Conditions(**in_force).vector()] * frames)
    folder.write(name, Geometry(rays=rays, flow=np.zeros((4, frames, 2, 2), np.float16), weights=conditions))
    folder.write_latents(name, np.full((16, frames, 2, 2), latents, np.float16))


def test_clips_of_what_is_seldom_seen_are_found(tmp_path):
    folder = PreparedFolder(tmp_path / "full")
    write_clip(folder, "clip_1", GLOW_CHANNEL, 0.5, time="night", lamps="on")
    write_clip(folder, "clip_2", GLOW_CHANNEL, 0.5, time="night")
    write_clip(folder, "clip_3", GLOW_CHANNEL, 0.5, lamps="on")
    write_clip(folder, "clip_4", GLOW_CHANNEL, 0.0, time="night", lamps="on")
    write_clip(folder, "clip_5", DOOR, 0.25)
    write_clip(folder, "clip_6", MATERIAL_CHANNELS.start, 1.0)
    folder.refresh()
    assert rare_clips(folder) == {"lamps": ["clip_1", "clip_2"], "door": ["clip_5"]}
    write_clip(folder, "clip_7", FOUNTAIN, 0.25)
    folder.refresh()
    assert rare_clips(folder) == {"lamps": ["clip_1", "clip_2"], "door": ["clip_5"], "fountain": ["clip_7"]}


def test_a_sample_may_have_the_past_in_which_its_things_were_the_other_way_round(tmp_path):
    """Or a network learns that a door is as it was, and no word opens it."""
    folder = PreparedFolder(tmp_path / "full")
    write_clip(folder, "clip_1", DOOR, 0.25, latents=1.0, frames=8, door="closed")
    folder.refresh()
    assert folder.counterpart("clip_1") is None
    write_clip(folder, "clip_1" + SWITCHED, DOOR, 0.25, latents=2.0, frames=8, door="open")
    folder.refresh()
    assert folder.counterpart("clip_1") == "clip_1" + SWITCHED
    assert folder.counterpart("clip_1" + SWITCHED) == "clip_1"
    is_open = column_of("door", "open")
    seen = set()
    for seed in range(60):
        latents, _, _, conditions, present = draw_sample(folder, rare_clips(folder), np.random.default_rng(seed), 3)
        now, past = latents[:, HISTORY:], latents[:, :HISTORY][:, present > 0]
        assert len(np.unique(now)) == 1
        assert (conditions[HISTORY:, is_open] == now.max() - 1).all()
        if past.size:
            assert len(np.unique(past)) == 1
            assert (conditions[:HISTORY, is_open] == past.max() - 1).all()
            seen.add((float(past.max()), float(now.max())))
        assert (latents[:, :HISTORY][:, present == 0] == 0).all()
    assert seen == {(1.0, 1.0), (2.0, 2.0), (1.0, 2.0), (2.0, 1.0)}


def test_statistics_of_latents_do_not_count_a_walk_twice(tmp_path):
    folder = PreparedFolder(tmp_path / "crops")
    write_clip(folder, "clip_1", DOOR, 0.25, latents=1.0)
    write_clip(folder, "clip_1" + SWITCHED, DOOR, 0.25, latents=5.0)
    folder.refresh()
    mean, std = latent_statistics(folder)
    np.testing.assert_array_equal((mean[0], std[0]), (1.0, 0.0))


def test_clips_that_show_things_are_rendered_once_more_with_those_the_other_way_round(tmp_path):
    wall = Part(id=1, shape=Shape.BOX, position=(0, 1.5, -4), size=(8, 3, 0.2), material="brick")
    door = Part(id=2, shape=Shape.BOX, position=(0, 1, -3.9), size=(1.6, 2, 0.2), material="door")
    clips, prepared = tmp_path / "clips" / "crops", tmp_path / "prepared" / "crops"
    clips.mkdir(parents=True)
    for name, parts in (("clip_1", [wall, door]), ("clip_2", [wall])):
        clip = Clip(
            frames=np.zeros((4, 64, 96, 3), np.uint8), positions=np.tile([0, 1.6, 0.0], (4, 1)),
            rotations=np.tile([0, 0, 0, 1.0], (4, 1)), weights=np.tile(Conditions(lamps="on").vector(), (4, 1)),
            vertical_fov_deg=65.0, window=(64, 112, 64, 96), parts=Blockout().add(parts).pack(), start_s=3.0,
        )  # fmt: skip
        film(clip)
        clip.save(clips / f"{name}.npz")
    for stage in ("prepare", "switch", "switch"):  # what is there is not made again
        assert train_main([stage, "--resume", str(tmp_path), "--threads", "1"]) == 0
    folder = PreparedFolder(prepared)
    assert folder.names == ["clip_1", "clip_1" + SWITCHED, "clip_2"]
    before, after = (Clip.load(clips / f"clip_1{end}.npz") for end in ("", SWITCHED))
    assert Conditions.from_vector(after.weights[0]) == Conditions(lamps="on", door="open")  # lamps are not in sight
    changed = (before.frames != after.frames).any(-1).mean((1, 2))
    assert (changed > 0.05).all()
    assert (changed < 0.8).all()
    assert after.start_s == 3.0
    one, other = (folder.read(f"clip_1{end}") for end in ("", SWITCHED))
    np.testing.assert_array_equal(one.rays, other.rays)
    np.testing.assert_array_equal(other.weights, after.weights[::4])
