"""Texts encoded once, ahead of time where there is a thread for it, and blended in over chunks."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import RunnerError
from model.pipeline.prompt_cache import MOST_KEPT, PromptCache, PromptMix


class Encoder:
    """A text's embedding is its number of letters."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.fails = False

    def __call__(self, text: str) -> NDArray[np.float32]:
        self.calls.append((text, threading.current_thread().name))
        if self.fails:
            raise RunnerError("no")
        return np.full((1, 1, 2), len(text), np.float32)


@pytest.fixture(params=[False, True], ids=["here", "beside"])
def book(request: pytest.FixtureRequest) -> Iterator[tuple[PromptCache, Encoder]]:
    encoder = Encoder()
    made = PromptCache(encoder, beside=request.param)
    yield made, encoder
    made.close()


def test_a_text_is_encoded_once(book: tuple[PromptCache, Encoder]) -> None:
    prompts, encoder = book
    for _ in range(3):
        assert prompts.embeddings("day")[0, 0, 0] == 3
    prompts.prefetch_prompt("day")
    assert [text for text, _ in encoder.calls] == ["day"]


def test_what_was_heard_is_encoded_on_another_thread() -> None:
    encoder = Encoder()
    prompts = PromptCache(encoder, beside=True)
    prompts.prefetch_prompt("night falls")
    assert prompts.embeddings("night falls")[0, 0, 0] == 11
    prompts.close()
    assert len(encoder.calls) == 1
    assert encoder.calls[0][1] != threading.current_thread().name


def test_a_failure_is_told_and_forgotten(book: tuple[PromptCache, Encoder]) -> None:
    prompts, encoder = book
    encoder.fails = True
    with pytest.raises(RunnerError):
        prompts.embeddings("day")
    encoder.fails = False
    assert prompts.embeddings("day")[0, 0, 0] == 3


def test_what_is_kept_is_bounded(book: tuple[PromptCache, Encoder]) -> None:
    prompts, encoder = book
    for number in range(MOST_KEPT):
        prompts.embeddings(f"text {number}")
    prompts.embeddings("text 0")  # used again: the next to go is text 1
    prompts.embeddings("one more")
    before = len(encoder.calls)
    prompts.embeddings("text 0")
    assert len(encoder.calls) == before
    prompts.embeddings("text 1")
    assert len(encoder.calls) == before + 1


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_a_new_text_comes_in_equal_steps(book: tuple[PromptCache, Encoder], chunks: int) -> None:
    """Those of torch.lerp over torch.linspace(0, 1, chunks + 1), without the first, which is the old text."""
    prompts, _ = book
    mix = PromptMix.of("aa")
    told = []
    for _ in range(chunks + 1):
        mix = mix.advanced("aaaaaa", chunks)
        told.append(float(prompts.mixed(mix)[0, 0, 0]))
    steps = np.linspace(0, 1, chunks + 1)[1:]
    np.testing.assert_allclose(told, [*(2 + 4 * steps), 6], rtol=1e-6)
    assert mix == PromptMix.of("aaaaaa")


def test_a_change_of_mind_starts_from_what_is_told_now(book: tuple[PromptCache, Encoder]) -> None:
    prompts, _ = book
    mix = PromptMix.of("").advanced("a" * 8, 4)  # 2 of 8
    told = []
    for _ in range(2):
        mix = mix.advanced("", 2)
        told.append(float(prompts.mixed(mix)[0, 0, 0]))
    assert told == [1, 0]


def test_a_mix_survives_json() -> None:
    mix = PromptMix.of("dämmerung").advanced("night", 3)
    assert PromptMix.from_json(mix.to_json()) == mix
    for wrong in ("", "{}", "[[], 1]", '[[], "a", 0]', '[[["a", 1]], "a", -1]', '[[["a"]], "a", 0]'):
        with pytest.raises(ValueError, match="not a prompt mix"):
            PromptMix.from_json(wrong)
