"""Adapters: bit-equal output until one is loaded, and all or nothing when it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model.errors import CheckpointError

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch

QUERY = "blocks.0.attn1.to_q"


def transformer() -> Any:
    torch.manual_seed(0)
    return diffusers.HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=16, out_channels=16, text_dim=4, freq_dim=8,
        ffn_dim=8, num_layers=2, rope_dim=(4, 2, 2),
    ).eval()  # fmt: skip


def narrower() -> Any:
    """It takes nine channels."""
    return diffusers.HeliosTransformer3DModel(**dict(transformer().config, in_channels=9))


def written(path: Path, tensors: dict[str, Any]) -> Path:
    import safetensors.torch

    safetensors.torch.save_file(tensors, path)
    return path


def flow_of(model: Any, values: Any) -> Any:
    """One plain prediction without history."""
    frames = values.shape[2]
    with torch.no_grad():
        return model(
            hidden_states=values, timestep=torch.tensor([500]), encoder_hidden_states=torch.ones(1, 2, 4),
            indices_hidden_states=torch.arange(frames)[None], return_dict=False,
        )[0]  # fmt: skip


def test_camera_channels_change_no_bit_until_an_adapter_fills_them(tmp_path: Path) -> None:
    from model.networks.checkpoints import widened
    from model.networks.lora import apply_adapter

    plain, wider = transformer(), widened(transformer(), 3)
    values, camera = torch.randn(1, 16, 2, 4, 4), torch.randn(1, 3, 2, 4, 4)
    before = flow_of(plain, values)
    assert torch.equal(flow_of(wider, torch.cat([values, camera], 1)), before)
    filled = wider.patch_embedding.weight.detach().clone()
    filled[:, 16:] = 0.3
    apply_adapter(wider, written(tmp_path / "a.safetensors", {"transformer.patch_embedding.weight": filled}))
    assert not torch.equal(flow_of(wider, torch.cat([values, camera], 1)), before)
    assert torch.equal(flow_of(wider, torch.cat([values, camera * 0], 1)), before)


def test_a_lora_is_merged_with_its_scale(tmp_path: Path) -> None:
    from model.networks.lora import apply_adapter

    model = transformer()
    before = model.get_parameter(f"{QUERY}.weight").detach().clone()
    down, up = torch.randn(2, 16), torch.randn(16, 2)
    tensors = {f"{QUERY}.lora_A.weight": down, f"{QUERY}.lora_B.weight": up, f"{QUERY}.alpha": torch.tensor(6.0)}
    apply_adapter(model, written(tmp_path / "a.safetensors", tensors))
    torch.testing.assert_close(model.get_parameter(f"{QUERY}.weight").detach(), before + 3 * up @ down)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({f"{QUERY}.lora_A.weight": (2, 16)}, "has no lora_B.weight beside it"),
        ({f"{QUERY}.lora_A.weight": (2, 9), f"{QUERY}.lora_B.weight": (16, 2)}, r"would be \(16, 9\)"),
        ({"patch_embedding.weight": (16, 5, 1, 2, 2)}, r"would be \(16, 5, 1, 2, 2\)"),
        ({"nothing.weight": (1,)}, "got nothing.weight"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_changes(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]], said: str
) -> None:
    from model.networks.lora import apply_adapter

    model = transformer()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    good = {
        "blocks.1.attn1.to_k.lora_A.weight": torch.ones(1, 16),
        "blocks.1.attn1.to_k.lora_B.weight": torch.ones(16, 1),
    }
    given = good | {name: torch.ones(shape) for name, shape in tensors.items()}
    with pytest.raises(CheckpointError, match=said):
        apply_adapter(model, written(tmp_path / "a.safetensors", given))
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_its_header_alone_is_checked_as_the_whole_file_is(tmp_path: Path) -> None:
    """What `doctor` reads of an adapter whose weights nobody wants yet."""
    from model.networks.lora import read_adapter

    tensors = {f"{QUERY}.lora_A.weight": torch.ones(2, 16), f"{QUERY}.lora_B.weight": torch.ones(16, 2)}
    tensors |= {f"{QUERY}.alpha": torch.tensor(6.0), "patch_embedding.weight": torch.ones(16, 16, 1, 2, 2)}
    path = written(tmp_path / "a.safetensors", tensors)
    header = read_adapter(path, device="meta")
    assert (
        header.brings == "LoRA of rank 2 for 1 of the weights, 1 of the patch embeddings' tensors, no camera channels"
    )
    assert header.pairs[f"{QUERY}.weight"].scale == 3
    assert all(tensor.is_meta for tensor in header.patches.values())
    for adapter in (header, read_adapter(path)):
        adapter.check(transformer())
        with pytest.raises(CheckpointError, match=r"would be \(16, 16, 1, 2, 2\), the transformer has \(16, 9"):
            adapter.check(narrower())
