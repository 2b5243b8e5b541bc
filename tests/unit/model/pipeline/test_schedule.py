"""The schedule against diffusers' scheduler, which nobody here wrote."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from model.pipeline.schedule import Schedule, denoised, renoised
from model.spec import Decode, ModelSpec, TimeShift

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),  # diffusers' scheduler, numpy 2
]

RANGES = ((0.0, 1 / 3, 2 / 3, 1.0), (0.0, 0.5, 0.8, 1.0))
CONFIGS = [
    {"shift": shift, "gamma": gamma, "stage_range": stage_range}
    for shift, gamma, stage_range in itertools.product((1.0, 5.0), (1 / 3, 0.2), RANGES)
]
DYNAMIC = [{"use_dynamic_shifting": True, "time_shift_type": kind} for kind in TimeShift]
TOKENS = 1234


def spec(**changes: Any) -> ModelSpec:
    return ModelSpec(
        name="s", frame_height=384, frame_width=640, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=9,
        latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=1, text_dim=1, **changes,
    )  # fmt: skip


def reference(config: dict[str, Any]) -> Any:
    given = {**config, "stage_range": list(config.get("stage_range", RANGES[0]))}
    if "time_shift_type" in given:
        given["time_shift_type"] = str(given["time_shift_type"])
    return diffusers.HeliosDMDScheduler(**given)


@pytest.mark.parametrize("config", CONFIGS + DYNAMIC)
@pytest.mark.parametrize(("steps", "doubled"), [(1, False), (2, False), (5, False), (1, True), (3, True)])
def test_timesteps_and_levels_equal_the_reference(config: dict[str, Any], steps: int, doubled: bool) -> None:
    from diffusers.pipelines.helios.pipeline_helios_pyramid import calculate_shift

    scheduler, schedule = reference(config), Schedule(spec(**config))
    for stage in range(3):
        scheduler.set_timesteps(steps, stage, mu=calculate_shift(TOKENS), is_amplify_first_chunk=doubled)
        ours = schedule.stage(stage, steps, tokens=TOKENS, doubled=doubled)
        np.testing.assert_array_equal(ours.timesteps, scheduler.timesteps.to(torch.int64).numpy())
        np.testing.assert_allclose(ours.sigmas, scheduler.sigmas[:-1].numpy(), rtol=1e-12)


@pytest.mark.parametrize("config", CONFIGS)
def test_weights_between_stages_keep_signal_and_variance(config: dict[str, Any]) -> None:
    scheduler, schedule = reference(config), Schedule(spec(**config))
    for stage in (1, 2):
        weights = schedule.upsampling(stage)
        sigma = scheduler.ori_start_sigmas[stage]
        # Helios, section 3.2: upsampled x = (1 - sigma) x0 + sigma n has signal alpha (1 - sigma) = 1 - start_sigma ...
        assert weights.alpha * (1 - sigma) == pytest.approx(1 - scheduler.start_sigmas[stage])
        # ... and 2x2 copies of n plus block noise become independent: alpha^2 sigma^2 = gamma beta^2.
        assert weights.alpha * sigma == pytest.approx(math.sqrt(config["gamma"]) * weights.beta)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_a_step_equals_the_reference(steps: int) -> None:
    scheduler, schedule = reference({}), Schedule(spec())
    draws = np.random.default_rng(7).standard_normal((3, 1, 2, 1, 4, 4)).astype(np.float32)
    flow, start, sample = draws
    theirs = torch.from_numpy(sample)
    for stage in range(3):
        scheduler.set_timesteps(steps, stage)
        plan = schedule.stage(stage, steps, tokens=0, doubled=False)
        for step, timestep in enumerate(scheduler.timesteps):
            theirs = scheduler.step(
                torch.from_numpy(flow), timestep, theirs, return_dict=False, cur_sampling_step=step,
                dmd_noisy_tensor=torch.from_numpy(start), dmd_sigmas=scheduler.sigmas,
                dmd_timesteps=scheduler.timesteps, all_timesteps=scheduler.timesteps,
            )[0]  # fmt: skip
            sample = denoised(sample, flow, plan.sigmas[step])
            if step + 1 < steps:
                sample = renoised(sample, start, plan.sigmas[step + 1])
        np.testing.assert_allclose(sample, theirs.numpy(), atol=1e-6)
