from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.errors import CheckpointError, some

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch


def module() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))


def transformer(channels: int = 16) -> Any:
    return diffusers.HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=channels, out_channels=16, text_dim=4, freq_dim=8,
        ffn_dim=8, num_layers=1, rope_dim=(4, 2, 2),
    ).eval()  # fmt: skip


def test_saved_weights_load(tmp_path: Path) -> None:
    from model.networks.checkpoints import load_weights, save_weights

    saved, loaded = module(), module()
    save_weights(saved, tmp_path / "w.safetensors")
    load_weights(loaded, tmp_path / "w.safetensors")
    torch.testing.assert_close(loaded.state_dict(), saved.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (lambda: torch.nn.Sequential(torch.nn.Linear(3, 4)), "has unknown 1.bias, 1.weight"),
        (lambda: torch.nn.Sequential(*module(), torch.nn.Linear(2, 2)), "lacks 2.bias, 2.weight"),
        (lambda: torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 2)), r"0.weight is \(4, 3\)"),
    ],
)
def test_weights_of_another_model_are_refused_by_name(tmp_path: Path, other: Any, named: str) -> None:
    from model.networks.checkpoints import load_weights, save_weights

    save_weights(module(), tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match=named):
        load_weights(other(), tmp_path / "w.safetensors")


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    from model.networks.checkpoints import load_weights

    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 20)
    for name in ("w.safetensors", "none.safetensors"):
        with pytest.raises(CheckpointError, match="cannot read"):
            load_weights(module(), tmp_path / name)


def test_a_diffusers_folder_loads_and_takes_new_channels_without_changing_its_output(tmp_path: Path) -> None:
    from model.networks.checkpoints import load_transformer

    saved = transformer()
    saved.save_pretrained(tmp_path)
    plain, wider = load_transformer(tmp_path), load_transformer(tmp_path, extra_channels=3)
    assert wider.config.in_channels == 19

    def flow(model: Any, extra: int) -> Any:
        generator = torch.Generator().manual_seed(0)
        grids = {"hidden_states": 1, "latents_history_short": 1, "latents_history_mid": 2, "latents_history_long": 4}
        inputs = {name: torch.randn(1, 16, frames, 8, 8, generator=generator) for name, frames in grids.items()}
        if extra:
            inputs = {name: torch.cat([x, torch.randn(1, extra, *x.shape[2:])], 1) for name, x in inputs.items()}
        indices = {f"indices_{name}": torch.arange(frames)[None] for name, frames in grids.items()}
        with torch.no_grad():
            return model(
                **inputs, **indices, timestep=torch.tensor([500]), encoder_hidden_states=torch.ones(1, 2, 4),
                return_dict=False,
            )[0]  # fmt: skip

    torch.testing.assert_close(flow(plain, 0), flow(saved, 0), rtol=0, atol=0)
    torch.testing.assert_close(flow(wider, 3), flow(saved, 0), rtol=1e-5, atol=1e-6)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    from model.networks.checkpoints import load_transformer

    with pytest.raises(CheckpointError, match=r"no config\.json"):
        load_transformer(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="does not load"):
        load_transformer(tmp_path)


def test_of_many_names_a_few_are_shown() -> None:
    assert (some({"b", "a"}), some("dcba")) == ("a, b", "a, b, c, d")
    assert some("fedcba") == "a, b, c, d and 2 more"
