"""Decoding latent frame by latent frame, and encoding, against diffusers' `AutoencoderKLWan`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch

HEIGHT, WIDTH = 4, 6


@pytest.fixture(scope="module")
def vae() -> Any:
    torch.manual_seed(5)
    return diffusers.AutoencoderKLWan(base_dim=8, dim_mult=[1, 2, 4, 4], num_res_blocks=1).eval().requires_grad_(False)


def decoders(vae: Any, dtype: Any = None) -> tuple[Any, Any]:
    from model.helios.streaming import DecoderMemory, StreamingDecoder
    from model.helios.wan import WanDecoderStep, memory_shapes

    shapes = memory_shapes(vae, HEIGHT, WIDTH)
    memory = DecoderMemory(shapes, dtype or torch.float32)
    first, after = (StreamingDecoder(WanDecoderStep(vae, shapes, first=f), memory, first=f) for f in (True, False))
    return first, after


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_pixels_equal_the_reference(vae: Any, frames: int) -> None:
    from model.helios.wan import WanDecoderStep, memory_shapes

    latents = torch.randn(1, 16, frames, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(frames))
    shapes = memory_shapes(vae, HEIGHT, WIDTH)
    made, memory = [], []
    with torch.no_grad():
        for number, latent in enumerate(latents.split(1, dim=2)):
            pixels, *memory = WanDecoderStep(vae, shapes, first=number == 0)(latent, *memory)
            assert [tuple(m.shape) for m in memory] == shapes
            made.append(pixels)
        wanted = vae.decode(latents).sample
    got = torch.cat(made, dim=2)
    assert wanted.std() > 0.01
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


def test_frames_are_the_reference_pipelines_8_bit_frames(vae: Any) -> None:
    from diffusers.video_processor import VideoProcessor

    first, after = decoders(vae)
    latents = torch.randn(1, 16, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        parts = [(first if n == 0 else after)(latent) for n, latent in enumerate(latents.split(1, dim=2))]
        images = VideoProcessor(vae_scale_factor=8).postprocess_video(vae.decode(latents).sample, output_type="pil")[0]
    got = torch.cat(parts)
    assert got.shape == (9, 8 * HEIGHT, 8 * WIDTH, 3)
    wanted = torch.stack([torch.from_numpy(np.array(image, dtype=np.int32)) for image in images])
    differ = (got.int() - wanted).abs()
    assert differ.max() <= 1  # where a value lies between two levels
    assert (differ > 0).float().mean() < 1e-3


def test_a_chunk_does_not_see_the_one_before(vae: Any) -> None:
    first, after = decoders(vae)
    one, other = torch.randn(2, 1, 16, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))

    def decoded(latents: Any) -> Any:
        with torch.no_grad():
            return torch.cat([(first if n == 0 else after)(x) for n, x in enumerate(latents.split(1, dim=2))])

    alone = decoded(one)
    decoded(other)
    assert torch.equal(decoded(one), alone)
    with torch.no_grad():
        assert not torch.equal(first(one[:, :, 1:2]), alone[1:2])  # the memory is used


def test_bf16_decodes_in_bf16(vae: Any) -> None:
    import copy

    half = copy.deepcopy(vae).to(torch.bfloat16)
    first, after = decoders(half, torch.bfloat16)
    latents = torch.randn(1, 16, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        got = torch.cat([first(latents[:, :, :1]), after(latents[:, :, 1:])])
        wanted = half.decode(latents.to(torch.bfloat16)).sample
    from model.helios.streaming import as_frames

    assert torch.equal(got, as_frames(wanted))


@pytest.mark.parametrize("frames", [1, 5, 9])
def test_encoding_equals_the_reference(vae: Any, frames: int) -> None:
    from model.helios.wan import WanEncoder

    video = torch.randint(0, 256, (frames, 8 * HEIGHT, 8 * WIDTH, 3), dtype=torch.uint8)
    with torch.no_grad():
        mean, std = WanEncoder(vae)(video)
        wanted = vae.encode(video.permute(3, 0, 1, 2)[None].float() / 255 * 2 - 1).latent_dist
    torch.testing.assert_close(mean, wanted.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(std, wanted.std, rtol=0, atol=1e-5)


def test_encoding_latent_frame_by_latent_frame_equals_the_reference(vae: Any) -> None:
    from model.helios.wan import WanEncoderStep, encoder_memory_shapes

    video = torch.randint(
        0, 256, (13, 8 * HEIGHT, 8 * WIDTH, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
    )
    shapes = encoder_memory_shapes(vae, 8 * HEIGHT, 8 * WIDTH)
    means, stds, memory = [], [], []
    with torch.no_grad():
        for number, frames in enumerate(video.split((1, 4, 4, 4))):
            mean, std, *memory = WanEncoderStep(vae, shapes, first=number == 0)(frames, *memory)
            assert [tuple(m.shape) for m in memory] == shapes
            means.append(mean)
            stds.append(std)
        wanted = vae.encode(video.permute(3, 0, 1, 2)[None].float() / 255 * 2 - 1).latent_dist
    torch.testing.assert_close(torch.cat(means, dim=2), wanted.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.cat(stds, dim=2), wanted.std, rtol=0, atol=1e-5)
    assert wanted.mean[:, :, 1:].std() > 1e-3


def test_the_tiny_decoder_gives_its_own_videos_last_frames() -> None:
    """A chunk's frames are TAEHV's for the same normalised latents without its first three."""
    from model.helios.streaming import DecoderMemory, StreamingDecoder, TinyDecoderStep
    from model.networks.autoencoder import AutoencoderConfig, TinyAutoencoder

    torch.manual_seed(6)
    config = AutoencoderConfig(encoder_width=8, decoder_widths=(16, 8, 8, 8), decoder_blocks=(1, 1, 1))
    tiny = TinyAutoencoder(config).eval().requires_grad_(False)
    mean, inv_std = [0.5] * 16, [0.25] * 16
    memory = DecoderMemory(tiny.decoder_memory_shapes(HEIGHT, WIDTH), torch.float32)
    first, after = (
        StreamingDecoder(TinyDecoderStep(tiny, mean, inv_std, first=f), memory, first=f) for f in (True, False)
    )
    normalised = torch.randn(1, 16, 3, HEIGHT, WIDTH)
    latents = normalised / 0.25 + 0.5
    got = torch.cat([(first if n == 0 else after)(x) for n, x in enumerate(latents.split(1, dim=2))])
    wanted, _ = tiny.decode(normalised.transpose(1, 2))
    wanted = (wanted[0, 3:].clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    assert got.shape == (9, 8 * HEIGHT, 8 * WIDTH, 3)
    assert (got.float() - wanted).abs().max() <= 1
