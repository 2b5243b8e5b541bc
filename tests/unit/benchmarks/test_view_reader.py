"""The network that reads a view: its samples, and that a head looks at its own place before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import HeliosTransformer3DModel

from benchmarks.view_reader import look_at_own_place, reading_loss, seen_tokens
from model.demo.checkpoint import load_checkpoint
from model.demo.training.prepared_data import Geometry, PreparedFolder
from model.demo.world.conditions import STATE_SIZE
from model.networks.rope import rotation
from model.networks.transformer import DenoiserGraph


def test_hidden_tokens_are_a_strip_and_some_here_and_there() -> None:
    for seed in range(20):
        kept = torch.zeros(3, 12, 20)
        kept.view(-1)[seen_tokens((3, 12, 20), np.random.default_rng(seed))] = 1
        assert float(kept.mean()) > 0.25
        rows, columns = kept.sum((0, 2)), kept.sum((0, 1))
        assert int((rows > 0).sum()) >= 6
        assert int((columns > 0).sum()) >= 10


def test_a_head_that_looks_at_its_own_place_does_so_before_anything_is_trained() -> None:
    """Of random tokens: its own place gets a third of a token's attention, of 240 places."""
    _, model = load_checkpoint(None)
    before = own_place_weight(model.denoiser.transformer)
    look_at_own_place(model.denoiser.transformer)
    assert before < 0.05
    assert own_place_weight(model.denoiser.transformer) > 0.3


def own_place_weight(transformer: HeliosTransformer3DModel) -> float:
    """The mean weight that the last head of the first layer gives a token's own place."""
    graph, attention = DenoiserGraph(transformer), transformer.blocks[0].attn1
    turn = rotation(transformer.rope, torch.tensor([[7]]), 12, 20, reduction=1)
    with torch.no_grad():
        tokens = torch.randn(1, 240, graph.width, generator=torch.Generator().manual_seed(0))
        query = graph._turned(attention.norm_q, attention.to_q(tokens), turn)[0, :, -64:]
        key = graph._turned(attention.norm_k, attention.to_k(tokens), turn)[0, :, -64:]
        return float(torch.softmax(query @ key.T / 8, dim=1).diagonal().mean())


@pytest.mark.parametrize("seed", range(6))
def test_a_loss_of_random_clips_is_finite_and_says_what_it_saw(tmp_path: Path, seed: int) -> None:
    spec, model = load_checkpoint(None)
    model.denoiser.transformer.requires_grad_(requires_grad=True)
    folder, rng = PreparedFolder(tmp_path), np.random.default_rng(0)
    geometry = Geometry(
        rays=np.zeros((47, 12, 96, 160), np.float16), flow=np.zeros((4, 12, 24, 40), np.float16),
        weights=np.zeros((12, STATE_SIZE), np.float32),
    )  # fmt: skip
    folder.write_latents("clip_0", rng.normal(size=(16, 12, 24, 40)).astype(np.float16))
    folder.write("clip_0", geometry)
    folder.refresh()
    losses = reading_loss(folder, spec)(model.denoiser, np.random.default_rng(seed))
    losses["loss"].backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(losses["loss"]))
    assert any(name.startswith("stage") for name in losses)
    gradient = model.denoiser.transformer.proj_out.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0
