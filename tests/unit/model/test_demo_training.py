"""The training loop and its optimizer, on models of a few numbers."""

from __future__ import annotations

import csv

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 (torch may be absent)

from model.demo.muon import build_optimizer, orthogonalised  # noqa: E402
from model.demo.network import TextReader  # noqa: E402
from model.demo.train_denoiser import raise_stage  # noqa: E402
from model.demo.training import TrainConfig, load_ema, train  # noqa: E402
from model.noise import block_correlated  # noqa: E402

pytestmark = pytest.mark.torch
WANTED = torch.linspace(-1, 1, 16 * 16).reshape(16, 16)


def distance(model, rng):
    rng.random()
    return {"loss": (model.weight - WANTED).square().mean()}


def small() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(16, 16, bias=False)


def run(folder, last_step=300) -> nn.Linear:
    config = TrainConfig(folder=folder, minutes=10, peak_rate=0.05, warmup_steps=5, ema_decay=0.9, last_step=last_step)
    return train(config, small(), distance)


def test_training_goes_down_and_writes_its_run(tmp_path):
    ema = run(tmp_path)
    assert float((ema.weight - WANTED).square().mean()) < 0.05
    with (tmp_path / "losses.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])
    assert (tmp_path / "losses.png").exists()
    np.testing.assert_array_equal(load_ema(tmp_path, small()).weight.numpy(), ema.weight.detach().numpy())


def test_a_second_start_goes_on_where_the_first_ended(tmp_path):
    run(tmp_path, last_step=40)
    before = torch.load(tmp_path / "state.pt", weights_only=True)
    drawn = []

    def first_draw(model, rng):
        drawn.append(rng.random())
        return distance(model, rng)

    train(TrainConfig(folder=tmp_path, minutes=10, peak_rate=0.05, last_step=43), small(), first_draw)
    after = torch.load(tmp_path / "state.pt", weights_only=True)
    assert (before["step"], after["step"], len(drawn)) == (40, 43, 3)
    assert drawn[0] == np.random.default_rng([0, before["step"]]).random()


def test_muon_updates_are_nearly_orthogonal():
    # the reference's quintic brings singular values near one, not onto it
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalised(matrix))
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    torch.testing.assert_close(orthogonalised(matrix.T), orthogonalised(matrix).T, atol=1e-4, rtol=1e-4)


def test_embeddings_and_biases_are_left_to_adamw():
    model = TextReader()
    groups = {group["kind"]: {id(p) for p in group["params"]} for group in build_optimizer(
        model, rate=1e-3, weight_decay=0.0).param_groups}  # fmt: skip
    assert id(model.words.weight) in groups["adamw"]
    assert id(model.near.bias) in groups["adamw"]
    assert id(model.near.weight) in groups["muon"]
    assert len(groups["muon"]) + len(groups["adamw"]) == len(list(model.parameters()))


def test_a_stage_starts_in_training_where_it_starts_when_sampled():
    """Nearest upsampling, the same weights, and the sampler's own block noise for the same numbers."""
    before = torch.randn(1, 16, 2, 3, 5, generator=torch.Generator().manual_seed(2))
    started = raise_stage(before, 1, np.random.default_rng(5)).numpy()
    drawn = np.random.default_rng(5).standard_normal((1, 16, 2, 3, 5, 4), dtype=np.float32)
    noise = block_correlated(drawn, 1 / 3, (2, 2))
    up = before.numpy().repeat(2, 3).repeat(2, 4)
    alpha = 0.6  # 1 / (2 * (1 - s) + s) at s = 1/3
    np.testing.assert_allclose(started, alpha * up + alpha * (2 / 3) / (1 / 3) ** 0.5 * noise, atol=2e-3)
