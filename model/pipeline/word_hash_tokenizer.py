"""Action text -> word numbers for the demo's text encoder. No vocabulary file: words are hashed. Numpy only."""

from __future__ import annotations

import re
import unicodedata
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PADDING = 0
_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> list[str]:
    """Lower-case words without accents, in order."""
    plain = unicodedata.normalize("NFKD", text.lower())
    return _WORD.findall("".join(c for c in plain if not unicodedata.combining(c)))


@dataclass(frozen=True, slots=True, kw_only=True)
class WordHashTokenizer:
    """A text as `tokens` numbers: its words, then padding.

    A number is 1 + crc32 mod (vocabulary - 1); 0 is padding. Words past `tokens` are dropped.
    """

    vocabulary: int = 4096
    tokens: int = 16

    def __call__(self, text: str) -> NDArray[np.int64]:
        """Returns: (1, tokens) int64, all zero for a text without words."""
        numbers = np.full((1, self.tokens), PADDING, dtype=np.int64)
        for place, word in enumerate(words_of(text)[: self.tokens]):
            numbers[0, place] = 1 + zlib.crc32(word.encode()) % (self.vocabulary - 1)
        return numbers
