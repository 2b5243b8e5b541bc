"""A Helios folder with the tiny decoder's weights beside it: one more rung of the quality ladder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.backends.quality_levels import TINY_DECODER
from bridge.engine.interface import ControlWindow, FrameChunk, Plan, SessionStart, State

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from bridge.backends.helios import HeliosEngine, create  # noqa: E402  # torch may be missing

SMALL = {"frame_size": (128, 64), "chunk_latents": (1, 2, 3), "camera": "prompt"}  # no chunk begins with a picture


@pytest.fixture(scope="module")
def folder(helios_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with random weights of the tiny decoder."""
    from safetensors.torch import save_file

    from model.networks.autoencoder import TAEW2_1, TinyAutoencoder

    path = tmp_path_factory.mktemp("with-tiny") / "helios"
    shutil.copytree(helios_folder, path)
    torch.manual_seed(0)
    save_file(TinyAutoencoder(TAEW2_1).state_dict(), path / "taew2_1.safetensors")
    return path


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[HeliosEngine]:
    made = create(model=str(folder), **SMALL)
    yield made
    made.close()


def chunk(engine: HeliosEngine, state: State, rung: str, frames: int = 9) -> tuple[FrameChunk, State]:
    window = ControlWindow(
        positions=np.zeros((frames, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1)),
        vertical_fov_deg=np.full(frames, 60.0), actions=("walk",) * frames, scene_updates=(), cut=False,
        newest_control_t_us=0,
    )  # fmt: skip
    return engine.step(state, window, Plan(frames=frames, steps=(1, 1, 1), rung=rung))


def test_the_ladder_has_a_rung_for_it_only_where_its_weights_are(engine: HeliosEngine, helios_folder: Path) -> None:
    names = [rung.name for rung in engine.info.rungs]
    assert TINY_DECODER in names
    assert names.index(TINY_DECODER) < names.index("half-latents")
    without = create(model=str(helios_folder), **SMALL)
    assert TINY_DECODER not in [rung.name for rung in without.info.rungs]
    without.close()


def test_its_rung_and_those_below_decode_with_it_and_nothing_else_changes(engine: HeliosEngine) -> None:
    opened = engine.open(SessionStart(seed=3, prompt="a garden", scene=None))
    full, after_full = chunk(engine, opened, "full")
    tiny, after_tiny = chunk(engine, opened, TINY_DECODER)
    below, _ = chunk(engine, opened, "half-latents")
    assert full.frames.shape == tiny.frames.shape == below.frames.shape
    assert not np.array_equal(full.frames, tiny.frames)
    assert set(after_full) == set(after_tiny)
    latents = after_full["history_latents"]
    assert np.array_equal(latents, after_tiny["history_latents"])


def test_a_session_goes_down_and_up_again_between_two_chunks(engine: HeliosEngine) -> None:
    opened = engine.open(SessionStart(seed=3, prompt="a garden", scene=None))
    _, straight = chunk(engine, opened, "full")
    wanted, _ = chunk(engine, straight, "full")
    _, detour = chunk(engine, opened, TINY_DECODER)
    found, _ = chunk(engine, detour, "full")
    assert np.array_equal(found.frames, wanted.frames)


def test_its_frames_are_those_of_the_tiny_decoder_alone(folder: Path, engine: HeliosEngine) -> None:
    """A service told to use it throughout shows the very same frames."""
    opened = engine.open(SessionStart(seed=3, prompt="a garden", scene=None))
    found, _ = chunk(engine, opened, TINY_DECODER)
    alone = create(model=str(folder), decoder="tiny", **SMALL)
    wanted, _ = chunk(alone, alone.open(SessionStart(seed=3, prompt="a garden", scene=None)), "full")
    alone.close()
    assert np.array_equal(found.frames, wanted.frames)
