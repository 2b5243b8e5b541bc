"""What a folder lacks, by its own indices; and what no index says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.helios.files import index_of, is_pointer, missing_files, missing_nbytes, missing_weights

INDEX = "diffusion_pytorch_model.safetensors.index.json"


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


def test_an_empty_folder_lacks_everything(tmp_path: Path) -> None:
    assert missing_files(tmp_path) == [
        "model_index.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json", "transformer/config.json",
        "text_encoder/config.json", "vae/config.json", "transformer/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors", "vae/diffusion_pytorch_model.safetensors",
    ]  # fmt: skip


def test_shards_are_counted_by_their_index(tmp_path: Path) -> None:
    part = tmp_path / "transformer"
    shards = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "../3.safetensors"}}
    write(part / INDEX, {"metadata": {"total_size": 100}, **shards})
    assert missing_weights(tmp_path, "transformer") == ["transformer/1.safetensors", "transformer/2.safetensors"]
    assert missing_nbytes(tmp_path, "transformer") == 100
    write(part / "2.safetensors", b"0" * 60)
    assert missing_weights(tmp_path, "transformer") == ["transformer/1.safetensors"]
    assert missing_nbytes(tmp_path, "transformer") == 40
    (part / "1.safetensors").symlink_to(tmp_path / "a blob that is gone")
    assert missing_weights(tmp_path, "transformer") == ["transformer/1.safetensors"]
    write(part / "1.safetensors.blob", b"0" * 50)
    (part / "1.safetensors").unlink()
    (part / "1.safetensors").symlink_to(part / "1.safetensors.blob")
    assert missing_weights(tmp_path, "transformer") == []
    assert missing_nbytes(tmp_path, "transformer") == 0


@pytest.mark.parametrize("content", [b"{", [], {}, {"weight_map": []}, {"weight_map": {}, "metadata": 3}])
def test_what_is_no_index_says_nothing(tmp_path: Path, content: Any) -> None:
    write(tmp_path / "vae" / INDEX, content)
    assert index_of(tmp_path / "vae") is not None
    assert missing_nbytes(tmp_path, "vae") is None
    assert missing_weights(tmp_path, "vae") == []


def test_one_file_needs_no_index(tmp_path: Path) -> None:
    write(tmp_path / "vae" / "diffusion_pytorch_model.safetensors", b"0")
    assert (missing_weights(tmp_path, "vae"), missing_nbytes(tmp_path, "vae")) == ([], None)
    assert not is_pointer(tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
