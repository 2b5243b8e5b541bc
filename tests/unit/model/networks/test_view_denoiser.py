"""The denoiser with a view in its history: the plain one until there are tokens, then the same as a longer history."""

from __future__ import annotations

from typing import Any

import pytest

from model.spec import Decode, ModelSpec

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch

SPEC = ModelSpec(
    name="small", frame_height=64, frame_width=64, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=3,
    latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=2, text_dim=4, history_sizes=(4, 2, 1),
)  # fmt: skip


def transformer() -> Any:
    torch.manual_seed(0)
    return diffusers.HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=16, out_channels=16, text_dim=4, freq_dim=8,
        ffn_dim=8, num_layers=2, rope_dim=(4, 2, 2),
    ).eval()  # fmt: skip


def test_view_tokens_are_history_at_the_new_frames_places() -> None:
    from model.networks.denoiser import denoiser_graph
    from model.networks.view_denoiser import view_denoiser_graph

    model = transformer()
    graph, plain = view_denoiser_graph(model, SPEC), denoiser_graph(model, SPEC)
    inputs = dict(graph.inputs)
    own = {name: inputs[name] for name in plain.inputs}
    without = graph.run(inputs | {"tokens_view": torch.zeros(0, dtype=torch.int64)})["sample"]
    assert torch.equal(without, plain.run(own)["sample"])
    # a plain denoiser told of the view as three more short frames, at the same places in time
    longer = own | {
        "latents_history_short": torch.cat([own["latents_history_short"], inputs["latents_view"]], dim=2),
        "indices_latents_history_short": torch.cat(
            [own["indices_latents_history_short"], own["indices_hidden_states"]], dim=1
        ),
    }
    every = torch.arange(3 * 4 * 4)
    found = graph.run(inputs | {"tokens_view": every})["sample"]
    torch.testing.assert_close(found, plain.run(longer)["sample"], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found, without, atol=1e-4)


def test_tokens_that_are_left_out_have_no_effect() -> None:
    from model.networks.view_denoiser import view_denoiser_graph

    graph = view_denoiser_graph(transformer(), SPEC)
    kept = torch.arange(16, 48)  # the first latent frame's sixteen are left out
    inputs = graph.inputs | {"tokens_view": kept}
    other = graph.inputs["latents_view"].clone()
    other[:, :, 0] = 9
    assert torch.equal(graph.run(inputs)["sample"], graph.run(inputs | {"latents_view": other})["sample"])
