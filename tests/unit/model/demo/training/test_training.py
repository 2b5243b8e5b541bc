"""The training loop and its optimizer, on models of a few numbers."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 (torch may be absent)

from model.demo.network import DemoDenoiser, TextReader  # noqa: E402
from model.demo.training.loop import TrainConfig, load_ema, train  # noqa: E402
from model.demo.training.muon import build_optimizer, orthogonalised  # noqa: E402
from model.demo.training.train_autoencoder import resolved  # noqa: E402
from model.demo.training.train_denoiser import (  # noqa: E402
    ACTION_WEIGHT,
    action_weights,
    conditioned,
    raise_stage,
)
from model.demo.world.conditions import STATE_SIZE, column_of  # noqa: E402
from model.pipeline.noise import block_correlated  # noqa: E402
from model.scene.blockout import MATERIALS, Blockout, Part, Shape  # noqa: E402
from model.scene.camera import Camera  # noqa: E402
from model.scene.edge_antialiasing import Edges, resolve  # noqa: E402
from model.scene.ray_features import RAY_CHANNELS, condition  # noqa: E402

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


def noisy(model, rng):
    """A loss that depends on what is drawn, and names a second one from the tenth step on."""
    target = WANTED + torch.from_numpy(rng.normal(0, 0.3, (16, 16)).astype(np.float32))
    loss = (model.weight - target).square().mean()
    return {"loss": loss} if rng.random() < 0.6 else {"loss": loss, "late": loss.detach() * 2}


def config_of(folder, **fields) -> TrainConfig:
    return TrainConfig(
        **{"folder": folder, "minutes": 10, "peak_rate": 0.05, "warmup_steps": 5, "last_step": 45, **fields}
    )


def state_of(folder):
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same_state(one, other):
    assert one["step"] == other["step"]
    for part in ("model", "ema"):
        for name, value in one[part].items():
            assert torch.equal(value, other[part][name]), (part, name)
    for key, slots in one["optimizer"]["state"].items():
        for name, value in slots.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other["optimizer"]["state"][key][name]))


def test_the_same_seed_gives_the_same_run_bit_for_bit(tmp_path):
    for name in ("a", "b"):
        train(config_of(tmp_path / name), small(), noisy)
    train(config_of(tmp_path / "c", seed=1), small(), noisy)
    assert_same_state(state_of(tmp_path / "a"), state_of(tmp_path / "b"))
    assert not torch.equal(state_of(tmp_path / "a")["ema"]["weight"], state_of(tmp_path / "c")["ema"]["weight"])


class Killed(Exception):
    pass


def test_a_killed_run_that_is_resumed_equals_one_that_was_not(tmp_path):
    """Killed twice: with every step saved, and with nothing saved since the last resumption."""
    train(config_of(tmp_path / "whole"), small(), noisy)
    for dies_at, save_every_s in ((17, 0.0), (31, 1e9), (None, 1e9)):
        made = [0]

        def dying(model, rng, dies_at=dies_at, made=made):
            made[0] += 1
            if dies_at is not None and made[0] == dies_at:
                raise Killed
            return noisy(model, rng)

        try:
            train(config_of(tmp_path / "killed", save_every_s=save_every_s), small(), dying)
        except Killed:
            assert dies_at is not None
        if dies_at == 17:
            assert state_of(tmp_path / "killed")["step"] == 16
    assert_same_state(state_of(tmp_path / "whole"), state_of(tmp_path / "killed"))


def test_a_run_that_is_asked_to_stop_saves_and_ends(tmp_path):
    asked = iter([False] * 7 + [True])
    train(config_of(tmp_path, should_stop=lambda: next(asked)), small(), noisy)
    assert state_of(tmp_path)["step"] == 7


def test_a_state_without_seconds_is_resumed(tmp_path):
    train(config_of(tmp_path, last_step=20), small(), noisy)
    old = state_of(tmp_path)
    del old["seconds"]
    torch.save(old, tmp_path / "state.pt")
    train(config_of(tmp_path, last_step=23), small(), noisy)
    assert state_of(tmp_path)["step"] == 23


def test_the_rate_rises_stays_and_falls():
    by_steps = config_of(None, last_step=300, warmup_steps=10)
    assert by_steps.rate(0, 1e9) == pytest.approx(0.05 / 10)
    assert by_steps.rate(150, 0.0) == 0.05
    assert by_steps.rate(250, 0.0) == pytest.approx(0.05 * (0.01 + 0.99 / 2))
    by_clock = config_of(None, last_step=None)
    assert by_clock.rate(10**6, 300.0) == 0.05
    assert by_clock.rate(10**6, 600.0) == pytest.approx(0.0005)


def test_losses_met_late_and_samples_are_written(tmp_path):
    train(config_of(tmp_path, last_step=60), small(), noisy, samples=lambda ema: np.full((4, 6, 3), 200, np.uint8))
    with (tmp_path / "losses.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [float(row["step"]) for row in rows] == [20, 40, 60]
    assert float(rows[-1]["late"]) > float(rows[-1]["loss"])
    assert cv2.imread(str(tmp_path / "samples.png")).shape == (4, 6, 3)
    curves = cv2.imread(str(tmp_path / "losses.png"))
    assert curves.shape[0] == 2 * 200  # one panel a loss


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


def test_edges_are_trained_as_they_are_served():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (2, 3, 8, 12, 3), dtype=np.uint8)
    some = [Edges(rng.permutation(96)[:20], rng.integers(0, 24, (20, 4))) for _ in range(3)]
    none = [Edges(np.arange(0), np.zeros((0, 4), np.int64))] * 3
    drawn = [some, none]
    given = torch.from_numpy(frames).permute(0, 1, 4, 2, 3).float().requires_grad_()
    trained = resolved(given, drawn)
    trained.sum().backward()
    assert torch.isfinite(given.grad).all()
    for clip in range(2):
        for frame in range(3):
            served = frames[clip, frame].copy()
            resolve(served, drawn[clip][frame])
            difference = trained[clip, frame].detach().permute(1, 2, 0).numpy() - served
            assert np.abs(difference).max() <= 1.0  # 8 bits
    np.testing.assert_array_equal(trained[1].detach().numpy(), given[1].detach().numpy())


def test_the_loss_looks_at_what_actions_change():
    parts = Blockout().add([
        Part(id=1, shape=Shape.BOX, position=(0, 0, -3), size=(2, 40, 0.1), material="door"),
        Part(id=2, shape=Shape.BOX, position=(20, 0, -3), size=(38, 40, 0.1), material="brick"),
    ]).pack()  # fmt: skip
    camera = Camera(
        position=np.zeros(3), rotation=np.array([0.0, 0, 0, 1]), vertical_fov_deg=65.0, height=64, width=128
    )
    weights = action_weights(torch.from_numpy(condition(parts, [camera] * 4).rays))[0, 0, 0]
    assert weights.shape == (8, 16)
    assert (weights[:, 8] == 1 + ACTION_WEIGHT).all()  # the door, one metre to either side
    assert (weights[:, 12:] == 1).all()  # the wall
    assert (weights[:, :5] == 1).all()  # the sky


def test_what_the_conditioner_says_of_a_surface_depends_on_what_is_in_force():
    torch.manual_seed(0)
    model = DemoDenoiser()
    rays, flow = torch.zeros(1, RAY_CHANNELS, 2, 8, 8), torch.zeros(1, 4, 2, 2, 2)
    rays[:, 9 + MATERIALS.index("door")] = 1
    conditions = torch.zeros(1, 2, STATE_SIZE)
    conditions[:, 1, column_of("door", "open")] = 1
    before = conditioned(model, rays, flow, conditions)
    torch.testing.assert_close(before[:, :, 0], before[:, :, 1])  # it learns to hear
    nn.init.normal_(model.conditioner.told.weight)
    heard = conditioned(model, rays, flow, conditions)
    assert (heard[:, :, 0] - heard[:, :, 1]).abs().max() > 0.01
    together = model.conditioner(rays[:, :, 1:], flow[:, :, 1:], model.embedding(conditions[:, 1]))
    torch.testing.assert_close(heard[:, :, 1:], together)
