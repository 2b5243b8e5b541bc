"""diffusers' own `HeliosPyramidPipeline` on the same transformer: how long it takes for a chunk."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from diffusers import HeliosDMDScheduler, HeliosPyramidPipeline
from torch import Tensor, nn

from model.pipeline.noise import block_cholesky
from model.spec import ModelSpec


@dataclass(slots=True)
class BaselineTimes:
    """Milliseconds, one number a chunk; the first chunk, which warms up, is left out."""

    chunk_ms: list[float] = field(default_factory=list)
    decode_ms: list[float] = field(default_factory=list)
    noise: str = "the pipeline's own"


class _TimedVae:
    """What the pipeline asks of its VAE, with the device's clock read before and after each chunk."""

    def __init__(self, decode: Callable[[Tensor], Tensor], spec: ModelSpec, dtype: torch.dtype, wait: Any) -> None:
        self.dtype = dtype
        self.config = _VaeConfig(
            z_dim=spec.latent_channels,
            latents_mean=list(spec.latents_mean),
            latents_std=[1 / value for value in spec.latents_inv_std],
        )
        self.laps_s: list[tuple[float, float]] = []
        self._decode, self._wait = decode, wait

    def decode(self, latents: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        assert not return_dict
        start_s = self._now_s()
        frames = self._decode(latents)
        self.laps_s.append((start_s, self._now_s()))
        # The pipeline keeps all frames of a video; a world that never ends would not.
        return (frames[:, :, :1],)

    def _now_s(self) -> float:
        self._wait()
        return time.perf_counter()


@dataclass(frozen=True, slots=True)
class _VaeConfig:
    z_dim: int
    latents_mean: list[float]
    latents_std: list[float]
    scale_factor_temporal: int = 4
    scale_factor_spatial: int = 8


def time_pipeline(
    transformer: Any,
    decoder: nn.Module,
    prompt: Tensor,
    spec: ModelSpec,
    *,
    chunks: int,
    wait: Callable[[], None],
) -> BaselineTimes:
    """Makes `chunks` + 1 chunks in one call, as its users do.

    decoder: the graph module that ours is measured with; it decodes to pixels in the call. wait: until the device is
    done.
    """
    device = transformer.proj_out.weight.device
    dtype = transformer.patch_embedding.weight.dtype

    def decode(latents: Tensor) -> Tensor:
        frames: Tensor = decoder(latents)
        return frames.permute(3, 0, 1, 2)[None]

    vae = _TimedVae(decode, spec, dtype, wait)
    times = BaselineTimes()
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning)  # its scheduler, under numpy 2
        pipeline = HeliosPyramidPipeline(
            tokenizer=None, text_encoder=None, vae=None, scheduler=HeliosDMDScheduler(), transformer=transformer,
            is_distilled=True,
        )  # fmt: skip
        pipeline.vae = vae
        pipeline.set_progress_bar_config(disable=True)
        if not _draws_noise(pipeline, device, generator):
            pipeline.sample_block_noise = _block_noise(pipeline.scheduler.config.gamma)
            times.noise = "drawn with a float64 factor: the pipeline's float32 Cholesky fails on this machine"
        pipeline(
            prompt_embeds=prompt, height=spec.frame_height, width=spec.frame_width,
            num_frames=(chunks + 1) * spec.frames_in(spec.chunk_latents), guidance_scale=1.0, output_type="latent",
            history_sizes=list(spec.history_sizes), num_latent_frames_per_chunk=spec.chunk_latents,
            keep_first_frame=spec.keep_prefix, pyramid_num_inference_steps_list=list(spec.stage_steps),
            generator=generator,
        )  # fmt: skip
    ends = [end for _, end in vae.laps_s]
    times.chunk_ms = [(end - before) * 1e3 for before, end in pairwise(ends)]
    times.decode_ms = [(end - start) * 1e3 for start, end in vae.laps_s[1:]]
    return times


def _draws_noise(pipeline: Any, device: torch.device, generator: torch.Generator) -> bool:
    """Whether the pipeline's float32 Cholesky of a covariance that is singular but for 1e-8 succeeds here."""
    try:
        noise = pipeline.sample_block_noise(1, 16, 1, 4, 4, (1, 2, 2), device, generator)
    except RuntimeError:  # torch.linalg.LinAlgError is one
        return False
    return bool(noise.isfinite().all())


def _block_noise(gamma: float) -> Callable[..., Tensor]:
    """`HeliosPyramidPipeline.sample_block_noise` with the factor that model.pipeline.noise uses."""

    def sample(
        batch: int, channels: int, frames: int, height: int, width: int, patch: tuple[int, int, int],
        device: torch.device, generator: torch.Generator,
    ) -> Tensor:  # fmt: skip
        _, rows, columns = patch
        factor = torch.from_numpy(block_cholesky(gamma, rows * columns)).to(device)
        shape = (batch, channels, frames, height // rows, width // columns, rows * columns)
        noise = torch.randn(shape, generator=generator, device=device) @ factor.T
        noise = noise.view(*shape[:5], rows, columns).permute(0, 1, 2, 3, 5, 4, 6)
        return noise.reshape(batch, channels, frames, height, width)

    return sample
