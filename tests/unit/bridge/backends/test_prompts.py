"""What a chunk's latent frames are told, with and without a text encoder that remembers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bridge.backends.helios import chunk_texts, prompt_arrays, prompt_in_force
from bridge.backends.loading import SHIPPED_MODEL
from bridge.engine.interface import ControlWindow
from bridge.protocol.messages import SceneUpdate
from model.spec import read_spec

REMEMBERS = read_spec(SHIPPED_MODEL)  # four frames a latent frame
FORGETS = replace(REMEMBERS, initial_text_state=())
STATE = prompt_arrays("ein Gärtchen. ")


def window(*scenes: SceneUpdate) -> ControlWindow:
    """Eight frames, whose actions are "0" to "7"."""
    return ControlWindow(
        positions=np.zeros((8, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (8, 1)),
        vertical_fov_deg=np.full(8, 60.0), actions=tuple(map(str, range(8))), scene_updates=scenes, cut=False,
        newest_control_t_us=0,
    )  # fmt: skip


def test_a_latent_frame_is_told_the_action_of_its_newest_frame() -> None:
    assert chunk_texts(REMEMBERS, window(), "a garden", 2, "") == ("3", "7")


def test_an_encoder_that_remembers_reads_a_new_prompt_once() -> None:
    assert chunk_texts(REMEMBERS, window(SceneUpdate(prompt="snow")), "snow", 2, "") == ("snow", "7")
    assert chunk_texts(REMEMBERS, window(SceneUpdate(seed=1)), "snow", 2, "") == ("3", "7")


def test_an_encoder_that_forgets_is_told_the_prompt_and_the_camera_each_time() -> None:
    assert chunk_texts(FORGETS, window(), "a garden. ", 2, "") == ("a garden. 3", "a garden. 7")
    assert chunk_texts(FORGETS, window(), "", 1, "The camera rises.") == ("3. The camera rises.",)


def test_the_newest_prompt_is_in_force() -> None:
    updates = (SceneUpdate(prompt="rain"), SceneUpdate(prompt="snow"), SceneUpdate(seed=1))
    assert prompt_in_force(STATE, window(*updates)) == "snow"
    assert prompt_in_force(STATE, window(SceneUpdate(seed=1))) == "ein Gärtchen. "
