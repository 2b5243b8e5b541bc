"""Prompts against the reference pipeline's own cleaning, tokenising and encoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import CheckpointError

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytestmark = pytest.mark.torch

PROMPTS = [
    "a walled garden at night",
    "",
    "  spaces \n and\ttabs  ",
    "rain &amp;amp; snow &lt;b&gt;",
    "l&#39;Ã©tÃ© â€” a river",  # UTF-8 that was read as Latin-1
    "castle " * 600,
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_embeddings_equal_the_pipelines(helios_folder: Path, pipeline: Any, prompt: str) -> None:
    from model.helios.prompt_encoder import PromptEncoder
    from model.helios.text import PromptTokenizer

    inputs = PromptTokenizer(helios_folder / "tokenizer")(prompt)
    with torch.no_grad():
        wanted, mask = pipeline._get_t5_prompt_embeds(prompt, max_sequence_length=512)
        got = PromptEncoder(pipeline.text_encoder)(*(torch.from_numpy(inputs[name]) for name in ("tokens", "mask")))
    np.testing.assert_array_equal(inputs["mask"], mask.numpy())
    assert got.shape == (1, 512, 32)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def pipeline(helios_folder: Path) -> Any:
    from diffusers import HeliosPyramidPipeline
    from transformers import AutoTokenizer, UMT5EncoderModel

    encoder = UMT5EncoderModel.from_pretrained(helios_folder / "text_encoder").eval()
    tokenizer = AutoTokenizer.from_pretrained(helios_folder / "tokenizer")
    return HeliosPyramidPipeline(
        tokenizer=tokenizer, text_encoder=encoder, vae=None, scheduler=None, transformer=None, is_distilled=True
    )


def test_a_folder_without_a_tokeniser_says_how_to_get_one(tmp_path: Path) -> None:
    from model.helios.text import PromptTokenizer

    with pytest.raises(CheckpointError, match="save_pretrained"):
        PromptTokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="is no tokeniser"):
        PromptTokenizer(tmp_path)
