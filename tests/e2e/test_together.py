"""Chunks of several sessions on a Helios whose denoiser takes them at once: each gets what it alone would have got."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bridge.engine.interface import ControlWindow, Plan, SessionStart, StepRequest
from bridge.errors import StepFailed

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from bridge.backends.helios import MOST_TOGETHER, HeliosEngine, create  # noqa: E402  # torch may be missing

PLAN = Plan(frames=5, steps=(1, 1, 1), rung="full")


@pytest.fixture(scope="module")
def engine(helios_folder: Path) -> Iterator[HeliosEngine]:
    made = create(model=str(helios_folder), frame_size=(128, 64), chunk_latents=(1, 2), camera="prompt")
    yield made
    made.close()


def window(action: str, frames: int = PLAN.frames) -> ControlWindow:
    return ControlWindow(
        positions=np.zeros((frames, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1)),
        vertical_fov_deg=np.full(frames, 60.0), actions=(action,) * frames, scene_updates=(), cut=False,
        newest_control_t_us=0,
    )  # fmt: skip


def asked(engine: HeliosEngine) -> list[StepRequest]:
    """Three sessions that differ in seed, prompt and action; one of them a chunk further than the others."""
    states = [engine.open(SessionStart(seed=seed, prompt=f"place {seed}", scene=None)) for seed in (1, 2, 3)]
    _, states[2] = engine.step(states[2], window("walk"), PLAN)
    return [
        StepRequest(state=state, window=window(action), plan=PLAN)
        for state, action in zip(states, ("walk", "let it rain", "sit down"), strict=True)
    ]


def test_sessions_stepped_at_once_are_stepped_as_each_alone(engine: HeliosEngine) -> None:
    assert engine.info.max_batch == MOST_TOGETHER
    wanted = [engine.step(each.state, each.window, each.plan) for each in asked(engine)]
    together = [begun.finish() for begun in engine.begin_batch(asked(engine))]
    for (chunk, state), (found, found_state) in zip(wanted, together, strict=True):
        # Sums are taken in another order: a rounding of the last bit, a level of a pixel here and there.
        assert np.abs(chunk.frames.astype(int) - found.frames).max() <= 1
        assert set(state) == set(found_state)
        np.testing.assert_allclose(state["history_latents"], found_state["history_latents"], atol=1e-4)
        assert found.actions == chunk.actions
        assert set(found.earlier) == set(chunk.earlier)


def test_one_that_cannot_be_made_begins_none(engine: HeliosEngine) -> None:
    first, second, _ = asked(engine)
    broken = StepRequest(state=second.state, window=window("walk", frames=4), plan=PLAN)
    with pytest.raises(StepFailed, match="4 cameras"):
        engine.begin_batch([first, broken])
