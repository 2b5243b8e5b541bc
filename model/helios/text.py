"""Prompts for UMT5: cleaned, tokenised, encoded, as the reference pipeline does it.

The tokeniser needs `tokenizers` and `ftfy` alone, so that a server without torch can use it; the encoder is
transformers' own and is imported where it is made.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

import ftfy
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from model.errors import CheckpointError
from model.helios.files import is_pointer
from model.helios.layout import TEXT_TOKENS, TOKENIZER_FILE

_PADDING_ID = 0
_SPACES = re.compile(r"\s+")


def cleaned(prompt: str) -> str:
    """Broken encodings mended, HTML entities resolved, white space made single (`prompt_clean` in diffusers)."""
    return _SPACES.sub(" ", html.unescape(html.unescape(ftfy.fix_text(prompt))).strip()).strip()


class PromptTokenizer:
    """A text -> the inputs of the `text_encoder` graph."""

    def __init__(self, folder: Path) -> None:
        """folder: a checkpoint's `tokenizer`. Raises: CheckpointError: it has no tokeniser that can be read."""
        file = folder / TOKENIZER_FILE
        if not file.is_file():
            raise CheckpointError(
                f"{folder} has no {TOKENIZER_FILE}; write one with "
                f"transformers.AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"
            )
        if is_pointer(file):
            raise CheckpointError(f"{file} is a Git LFS pointer, not the tokeniser: `git lfs pull` fetches it")
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as exc:  # `tokenizers` raises plain Exception
            raise CheckpointError(f"{file} is no tokeniser: {exc}") from exc
        self._tokenizer.enable_truncation(TEXT_TOKENS)
        self._tokenizer.enable_padding(length=TEXT_TOKENS, pad_id=_PADDING_ID)

    def __call__(self, prompt: str) -> dict[str, NDArray[np.generic]]:
        """Returns: tokens (1, 512) int64 and mask (1, 512) int64, 1 where there is a token."""
        encoded = self._tokenizer.encode(cleaned(prompt))
        return {
            "tokens": np.array([encoded.ids], dtype=np.int64),
            "mask": np.array([encoded.attention_mask], dtype=np.int64),
        }
