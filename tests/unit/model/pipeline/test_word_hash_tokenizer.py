from __future__ import annotations

import zlib

import numpy as np
import pytest

from model.pipeline.word_hash_tokenizer import WordHashTokenizer, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Make it NIGHT!", ["make", "it", "night"]),
        ("  Été,   déjà-vu ", ["ete", "deja", "vu"]),
        ("snake_case & 3 more", ["snake", "case", "3", "more"]),
        ("夜にして", ["夜にして"]),
        ("🌧️ ... !", []),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_words_then_padding() -> None:
    numbers = WordHashTokenizer(vocabulary=4096, tokens=6)("let it rain")
    words = ["let", "it", "rain"]
    assert numbers.tolist() == [[1 + zlib.crc32(word.encode()) % 4095 for word in words] + [0, 0, 0]]
    assert numbers.dtype == np.int64


def test_a_long_text_keeps_its_first_words() -> None:
    tokenizer = WordHashTokenizer(tokens=4)
    np.testing.assert_array_equal(tokenizer("one two three four five six"), tokenizer("one two three four"))


def test_no_words_are_all_padding_and_words_never_are() -> None:
    tokenizer = WordHashTokenizer(vocabulary=5)
    assert not tokenizer("").any()
    assert (tokenizer(" ".join(f"w{i}" for i in range(16))) > 0).all()
