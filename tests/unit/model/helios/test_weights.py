"""Loading a folder: shards, dtypes, and everything that does not fit refused by name before anything is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from model.errors import CheckpointError

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.torch

PART = "transformer"


def rehearse(folder: Path) -> Any:
    from model.helios.components import rehearse
    from model.helios.layout import read_folder

    return rehearse(read_folder(folder), dtypes={})


@pytest.fixture
def folder(helios_folder: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(helios_folder, tmp_path / "helios"))


def shard_with(folder: Path, name: str) -> Path:
    index = json.loads((folder / PART / "diffusion_pytorch_model.safetensors.index.json").read_text())
    return folder / PART / index["weight_map"][name]


def edit(folder: Path, name: str, change: Any) -> None:
    """Rewrites the shard that holds `name`; `change` gets its tensors."""
    file = shard_with(folder, name)
    tensors = safetensors_torch.load_file(file)
    change(tensors)
    safetensors_torch.save_file(tensors, file)


def test_every_part_loads_as_its_own_library_loads_it(helios_folder: Path) -> None:
    from diffusers import AutoencoderKLWan, HeliosTransformer3DModel
    from transformers import UMT5EncoderModel

    from model.helios.components import load

    assert len(list((helios_folder / PART).glob("*.safetensors"))) > 2  # it is sharded
    parts = rehearse(helios_folder)
    loaders = {"transformer": HeliosTransformer3DModel, "vae": AutoencoderKLWan, "text_encoder": UMT5EncoderModel}
    for name, loader in loaders.items():
        told: list[tuple[str, int, int]] = []
        got = load(parts[name], device="cpu", report=lambda *progress: told.append(progress))  # noqa: B023
        wanted = loader.from_pretrained(helios_folder / name, torch_dtype=torch.bfloat16).state_dict()
        assert got.state_dict().keys() == wanted.keys()
        for key, tensor in got.state_dict().items():
            assert tensor.dtype == wanted[key].dtype, key
            assert torch.equal(tensor, wanted[key]), key
        assert not any(buffer.is_meta for buffer in got.buffers())
        assert told[-1][1] == told[-1][2] > 0
        dtypes = {tensor.dtype for tensor in wanted.values()}
        assert dtypes == {torch.bfloat16, torch.float32} if name == PART else {torch.bfloat16}


def test_tied_embeddings_are_held_once(helios_folder: Path) -> None:
    from model.helios.components import load

    encoder = load(rehearse(helios_folder)["text_encoder"], device="cpu")
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("proj_out.bias"), r"index.json names tensors that its shards lack: proj_out.bias"),
        (lambda t: t.update(extra=torch.zeros(2)), r"transformer do not fit its config: has unexpected extra"),
        (
            lambda t: t.update({"proj_out.bias": torch.zeros(7)}),
            r"proj_out.bias is \(7,\), the config says \(64,\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(folder: Path, change: Any, named: str) -> None:
    edit(folder, "proj_out.bias", change)
    with pytest.raises(CheckpointError, match=named):
        rehearse(folder)


def test_a_tensor_that_no_shard_was_said_to_hold_is_missing(folder: Path) -> None:
    index = folder / PART / "diffusion_pytorch_model.safetensors.index.json"
    loaded = json.loads(index.read_text())
    edit(folder, "proj_out.bias", lambda t: t.pop("proj_out.bias"))
    del loaded["weight_map"]["proj_out.bias"]
    index.write_text(json.dumps(loaded))
    with pytest.raises(CheckpointError, match=r"transformer do not fit its config: lacks proj_out\.bias"):
        rehearse(folder)


def test_every_part_is_looked_at_before_one_complaint(folder: Path) -> None:
    edit(folder, "proj_out.bias", lambda t: t.pop("proj_out.bias"))
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"proj_out\.bias.*vae has no weights|vae has no weights.*proj_out\.bias"):
        rehearse(folder)


def test_a_lost_or_broken_shard_is_named(folder: Path) -> None:
    shard = shard_with(folder, "proj_out.bias")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=shard.name):
        rehearse(folder)
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"^{folder}: transformer lacks {shard.name}, which its index"):
        rehearse(folder)


def tokeniser(folder: Path) -> Any:
    from model.helios.text import PromptTokenizer

    return PromptTokenizer(folder / "tokenizer")


@pytest.mark.parametrize(
    ("name", "read"), [(f"{PART}/*.safetensors", rehearse), ("tokenizer/tokenizer.json", tokeniser)]
)
def test_a_pointer_of_git_lfs_is_called_so(folder: Path, name: str, read: Any) -> None:
    for file in folder.glob(name):
        file.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 4976698672\n")
    with pytest.raises(CheckpointError, match=r"is a Git LFS pointer, not .*`git lfs pull` fetches"):
        read(folder)


def test_an_index_cannot_lead_out_of_its_folder(folder: Path) -> None:
    index = folder / PART / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"proj_out.bias": "../../elsewhere.safetensors"}}))
    with pytest.raises(CheckpointError, match="a file beside the index"):
        rehearse(folder)


def test_nothing_is_allocated_by_a_rehearsal(helios_folder: Path) -> None:
    parts = rehearse(helios_folder)
    assert all(tensor.is_meta for part in parts.values() for tensor in part.module.state_dict().values())
