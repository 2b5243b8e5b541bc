"""The camera benchmark: a LoRA that is trained can be merged, and gains are counted beside the right row."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch


def test_a_trained_lora_is_an_adapter_of_the_very_weights_that_were_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks import camera_lora
    from benchmarks.camera_lora import Sample, train_lora
    from model.demo.checkpoint import load_checkpoint
    from model.demo.world.conditions import STATE_SIZE
    from model.networks.lora import apply_adapter

    monkeypatch.setattr(camera_lora, "_CROP", (8, 8))
    monkeypatch.setattr(camera_lora, "_BATCH", 1)
    spec, model = load_checkpoint()
    trained = model.denoiser.transformer
    before = {name: tensor.clone() for name, tensor in trained.named_parameters()}
    torch.manual_seed(0)
    latents = torch.randn(1, 16, spec.history_latents + 1, spec.latent_height, spec.latent_width)
    view = latents[:, :, -1:]
    tokens = torch.arange(view[0, 0].numel() // 4)
    path = tmp_path / "deep" / "lora.safetensors"
    told: list[str] = []
    sample = Sample(latents, view, tokens, torch.zeros(STATE_SIZE))
    train_lora(model, spec, [sample], path, steps=20, say=told.append)
    assert len(told) == 1
    _, fresh = load_checkpoint()
    apply_adapter(fresh.denoiser.transformer, path)
    after = dict(fresh.denoiser.transformer.named_parameters())
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert {"patch_short.weight", "blocks.0.attn1.to_q.weight", "blocks.4.ffn.net.2.weight"} <= changed
    assert not {name for name in changed if "attn2" in name or "norm" in name}
    for name in changed:
        module, _, kind = name.rpartition(".")
        torch.testing.assert_close(after[name], getattr(trained.get_submodule(module), kind), rtol=1e-4, atol=1e-6)


def test_a_gain_is_over_the_baseline_of_the_same_weights() -> None:
    from benchmarks.camera import summary

    rows = summary(
        {"none": [10.0, 12.0], "warp": [11.0, 15.0], "none + LoRA": [20.0, 20.0], "warp + LoRA": [19.0, 25.0]},
        {"none": [1.0, 2.0], "none + LoRA": [0.4, 0.4], "warp + LoRA": [0.2, 0.6]},
    )
    assert rows["warp"] == pytest.approx(
        {"n": 2, "mean_db": 13.0, "gain_db": 2.0, "gain_sd_db": 2**0.5, "least_gain_db": 1.0, "won": 2}
    )
    assert (rows["warp + LoRA"]["gain_db"], rows["warp + LoRA"]["won"]) == (2.0, 1)
    assert (rows["warp + LoRA"]["latent_error"], rows["warp + LoRA"]["less_error"]) == (pytest.approx(0.4), 1)
    assert rows["warp + LoRA"]["error_ratio"] == pytest.approx(1.0)
    assert rows["none"]["error_ratio"] == 1.0
