"""What a denoiser makes of training clips, and starting from a checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from model.autoencoder import DEMO, TinyAutoencoder  # noqa: E402 (torch may be absent)
from model.demo.checkpoint import SHIPPED, fill_from, graphs_of, load_checkpoint  # noqa: E402
from model.demo.data import draw_clip  # noqa: E402
from model.demo.network import DemoDenoiser  # noqa: E402
from model.demo.painted import ClipPainter  # noqa: E402
from model.demo.prepared import PreparedFolder, geometry_of, latents_of  # noqa: E402
from model.runners.torch import TorchRunner  # noqa: E402

pytestmark = pytest.mark.torch


def test_painted_latents_are_nearer_to_a_clip_s_own_than_their_mean_is(tmp_path: Path) -> None:
    spec, model = load_checkpoint()
    clip = draw_clip(np.random.default_rng(3), latents=2, rows=spec.frame_height, cols=spec.frame_width)
    painter = ClipPainter(spec, TorchRunner(graphs_of(model, spec)))
    folder = PreparedFolder(tmp_path / "full")
    folder.write("clip_1", geometry_of(clip))
    folder.write_painted("clip_1", painter.paint(folder.read("clip_1"), np.random.default_rng(0))[None])
    folder.refresh()
    assert folder.painted == ["clip_1"]
    painted = folder.read_painted("clip_1", np.random.default_rng(0)).astype(np.float32)
    true = latents_of(clip, model.autoencoder).astype(np.float32)
    assert painted.shape == true.shape
    spread = true - true.mean((1, 2, 3), keepdims=True)
    assert np.square(painted - true).mean() < 0.5 * np.square(spread).mean()


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
