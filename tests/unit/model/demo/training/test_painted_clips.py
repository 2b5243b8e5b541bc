"""What a denoiser makes of training clips, and starting from a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from model.demo.checkpoint import SHIPPED, fill_from, graphs_of, load_checkpoint  # noqa: E402
from model.demo.network import DemoDenoiser  # noqa: E402
from model.demo.training.clips import draw_clip  # noqa: E402
from model.demo.training.painted_clips import ClipPainter  # noqa: E402
from model.demo.training.prepared_data import PreparedFolder, geometry_of, latents_of  # noqa: E402
from model.networks.autoencoder import DEMO, TinyAutoencoder  # noqa: E402 (torch may be absent)
from model.runners.torch import TorchRunner  # noqa: E402

pytestmark = pytest.mark.torch


def test_painted_latents_are_a_clip_s_own_under_its_conditions_and_no_other(tmp_path: Path) -> None:
    spec, model = load_checkpoint()
    clip = draw_clip(np.random.default_rng(6), latents=2, rows=spec.frame_height, cols=spec.frame_width)
    assert clip.weights[0, 2] == 1, "it is night in this clip"
    painter = ClipPainter(spec, TorchRunner(graphs_of(model, spec)))
    true = latents_of(clip, model.autoencoder).astype(np.float32)

    def error(weights: np.ndarray) -> float:
        painted = painter.paint(replace(geometry_of(clip), weights=weights), np.random.default_rng(0))
        assert painted.shape == true.shape
        return float(np.square(painted - true).mean())

    night = clip.weights[::4]
    by_day = np.concatenate([np.eye(3, dtype=np.float32)[[0, 0]], night[:, 3:]], 1)
    spread = float(np.square(true - true.mean((1, 2, 3), keepdims=True)).mean())
    assert error(night) < min(0.5 * spread, 0.5 * error(by_day))


def test_painted_attempts_are_kept_beside_the_clip(tmp_path: Path) -> None:
    folder = PreparedFolder(tmp_path / "full")
    attempts = np.arange(2 * 16 * 3).reshape(2, 16, 3, 1, 1).astype(np.float16)
    folder.write_painted("clip_1", attempts)
    folder.refresh()
    assert folder.painted == ["clip_1"]
    read = [folder.read_painted("clip_1", np.random.default_rng(seed)) for seed in range(8)]
    assert {float(one[0, 0, 0, 0]) for one in read} == {0.0, 48.0}


def test_a_checkpoint_fills_what_it_fits_and_names_the_rest() -> None:
    _, model = load_checkpoint()
    denoiser = DemoDenoiser()
    assert fill_from(SHIPPED, "denoiser.", denoiser) == []
    torch.testing.assert_close(denoiser.state_dict(), model.denoiser.state_dict(), rtol=0, atol=0)
    other = TinyAutoencoder(replace(DEMO, guide_channels=0))
    left = fill_from(SHIPPED, "autoencoder.", other)
    assert left
    assert all(name.startswith("decoder.") for name in left)
    assert torch.equal(other.state_dict()["encoder.0.weight"], model.autoencoder.state_dict()["encoder.0.weight"])
