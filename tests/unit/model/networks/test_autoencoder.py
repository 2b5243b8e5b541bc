"""The video autoencoder: shapes, streaming, and the layout of the public checkpoints."""

from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from model.networks.autoencoder import DEMO, TAEW2_1, MemBlock, TGrow, TinyAutoencoder  # noqa: E402 (torch may be absent)

pytestmark = pytest.mark.torch
PLAIN = replace(DEMO, guide_channels=0)


def guide_of(latents: int) -> torch.Tensor:
    """Of a 32x48 picture."""
    return torch.randn(1, 4 * latents, DEMO.guide_channels, 16, 24)


@pytest.fixture(scope="module")
def autoencoder():
    torch.manual_seed(0)
    return TinyAutoencoder(PLAIN).eval().requires_grad_(requires_grad=False)


@pytest.fixture(scope="module")
def guided():
    torch.manual_seed(0)
    return TinyAutoencoder(DEMO).eval().requires_grad_(requires_grad=False)


def test_shapes(autoencoder):
    latents, _ = autoencoder.encode(torch.rand(2, 8, 3, 32, 48))
    assert latents.shape == (2, 2, 16, 4, 6)
    frames, memory = autoencoder.decode(latents)
    assert frames.shape == (2, 8, 3, 32, 48)
    assert [tuple(m.shape)[1:] for m in memory] == [s[1:] for s in autoencoder.decoder_memory_shapes(4, 6)]


def test_chunk_by_chunk_equals_all_at_once(autoencoder):
    latents = torch.randn(1, 5, 16, 4, 6)
    whole, _ = autoencoder.decode(latents)
    memory, parts = None, []
    for part in latents.split([2, 1, 2], dim=1):
        frames, memory = autoencoder.decode(part, memory)
        parts.append(frames)
    torch.testing.assert_close(torch.cat(parts, 1), whole)
    video = torch.rand(1, 12, 3, 32, 48)
    together, _ = autoencoder.encode(video)
    first, memory = autoencoder.encode(video[:, :4])
    rest, _ = autoencoder.encode(video[:, 4:], memory)
    torch.testing.assert_close(torch.cat([first, rest], 1), together)


def test_memory_matters(autoencoder):
    latents = torch.randn(1, 2, 16, 4, 6)
    with_past, _ = autoencoder.decode(latents)
    alone, _ = autoencoder.decode(latents[:, 1:])
    assert (with_past[:, 4:] - alone).abs().max() > 1e-4


def test_growing_before_upsampling_changes_nothing(autoencoder):
    """The decoder layer by layer in the checkpoint's own order gives the same frames."""
    latents = torch.randn(1, 2, 16, 4, 6)
    x = latents
    for layer in autoencoder.decoder:
        if isinstance(layer, MemBlock):
            x, _ = layer(x, torch.zeros_like(x[:, :1]))
        elif isinstance(layer, TGrow):
            x = layer(x)
        else:
            x = layer(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    frames = torch.nn.functional.pixel_shuffle(x, 2) * DEMO.pixel_std + DEMO.pixel_mean
    torch.testing.assert_close(autoencoder.decode(latents)[0], frames)


def test_a_guided_decoder_streams_as_well(guided):
    latents, guide = torch.randn(1, 3, 16, 4, 6), guide_of(3)
    whole, _ = guided.decode(latents, None, guide)
    memory, parts = None, []
    for first in range(3):
        own = guide[:, 4 * first : 4 * first + 4]
        frames, memory = guided.decode(latents[:, first : first + 1], memory, own)
        parts.append(frames)
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_a_ray_reaches_the_pixels_around_it_in_its_frame_alone(guided):
    latents, guide = torch.randn(1, 1, 16, 4, 6), guide_of(1)
    other = guide.clone()
    other[:, 1, :, 8, 12] += 3
    before, after = (guided.decode(latents, None, rays)[0] for rays in (guide, other))
    changed = (after - before).abs().amax(2)[0] > 1e-4  # (4, 32, 48)
    frames, rows, cols = changed.nonzero(as_tuple=True)
    assert frames.unique().tolist() == [1]
    assert (rows // 2 - 8).abs().max() <= 1
    assert (cols // 2 - 12).abs().max() <= 1


def test_a_guide_is_given_where_it_is_wanted_only(autoencoder, guided):
    latents = torch.randn(1, 1, 16, 4, 6)
    with pytest.raises(ValueError, match="takes one, got none"):
        guided.decode(latents)
    with pytest.raises(ValueError, match="takes none, got one"):
        autoencoder.decode(latents, None, guide_of(1))


@pytest.mark.parametrize("shape", [(1, 6, 3, 32, 48), (1, 4, 3, 30, 48), (1, 4, 3, 32, 44)])
def test_frames_that_do_not_divide_are_refused(autoencoder, shape):
    with pytest.raises(ValueError, match="frames must be"):
        autoencoder.encode(torch.rand(shape))


def test_public_layout():
    """Names and shapes of a few layers of taew2_1.pth, as the reference implementation builds them."""
    state = TinyAutoencoder(TAEW2_1).state_dict()
    assert tuple(state["encoder.0.weight"].shape) == (64, 3, 3, 3)
    assert tuple(state["encoder.2.conv.weight"].shape) == (64, 128, 1, 1)
    assert tuple(state["encoder.4.conv.0.weight"].shape) == (64, 128, 3, 3)
    assert tuple(state["decoder.1.weight"].shape) == (256, 16, 3, 3)
    assert tuple(state["decoder.3.conv.0.weight"].shape) == (256, 512, 3, 3)
    assert tuple(state["decoder.7.conv.weight"].shape) == (256, 256, 1, 1)
    assert tuple(state["decoder.8.weight"].shape) == (128, 256, 3, 3)
    assert tuple(state["decoder.13.conv.weight"].shape) == (256, 128, 1, 1)
    assert tuple(state["decoder.22.weight"].shape) == (3, 64, 3, 3)
    assert 11.2e6 < sum(t.numel() for t in state.values()) < 11.4e6  # "11.3 M parameters"
