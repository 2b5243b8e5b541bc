"""Turns a session's texts into what the denoiser reads: tokenised, encoded, remembered or blended. Numpy only.

A text encoder with a state (the demo's) reads every text in turn, and its state says what holds. One without
(Helios's) encodes each text once, and blends a new one in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import ModelError
from model.pipeline.prompt_cache import PromptCache, PromptMix
from model.pipeline.state import PipelineState
from model.pipeline.word_hash_tokenizer import WordHashTokenizer
from model.runners.base import Arrays, ModuleRunner
from model.spec import Graph, ModelSpec

Tokenize = Callable[[str], Arrays]
"""A text -> the text encoder's inputs by name, all but `state`."""


@dataclass(frozen=True, slots=True)
class TextConditioning:
    """After some texts: the encoder's state (1, S), what the denoiser is told (1, L, D), and the texts in force."""

    text_state: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    mix: PromptMix


class TextReader:
    """One model's text encoder. `prefetch_prompt` may be called from any thread, everything else from one."""

    def __init__(
        self,
        spec: ModelSpec,
        runner: ModuleRunner,
        *,
        tokenize: Tokenize | None,
        blend_chunks: int,
        beside: bool,
    ) -> None:
        """tokenize: None takes the spec's word-hash tokeniser. blend_chunks: over how many chunks a new text is blended
        in, 1 being at once; an encoder with a state blends nothing. beside: nobody else uses `runner`.

        Raises: ModelError: there is no tokeniser, or nothing to blend over.
        """
        if blend_chunks < 1:
            raise ModelError(f"a prompt is blended in over 1 chunk or more, got {blend_chunks}")
        self._has_state = spec.text_state_size > 0
        self._initial = np.array([spec.initial_text_state], dtype=np.float32)
        self._nothing = np.zeros((1, 0, spec.text_dim), np.float32)
        self._runner, self._blend_chunks = runner, blend_chunks
        self._tokenize = tokenize or _word_hash(spec)
        self._book = PromptCache(self._encode, beside=beside)

    def open(self, text: str) -> TextConditioning:
        """A new session's. Raises: RunnerError."""
        if self._has_state:
            return self._heard(text, self._initial)
        self._book.embeddings(text)
        return TextConditioning(self._initial, self._nothing, PromptMix.of(text))

    def read(self, texts: tuple[str, ...], state: PipelineState) -> TextConditioning:
        """After a chunk's texts, one a latent frame.

        Cross-attention has one text for the whole chunk: the newest latent frame's. An encoder with a state reads those
        before it too, so that nothing said is lost.

        Raises: RunnerError.
        """
        if not self._has_state:
            mix = state.mix.advanced(texts[-1], self._blend_chunks)
            return TextConditioning(state.text_state, self._book.mixed(mix), mix)
        reading = TextConditioning(state.text_state, state.text_embeddings, state.mix)
        for text in texts:
            if text != reading.mix.target:
                reading = self._heard(text, reading.text_state)
        return reading

    def kept(self, reading: TextConditioning) -> NDArray[np.float32]:
        """Those embeddings that a session's state must hold: none where they can be made of the texts anew."""
        return reading.embeddings if self._has_state else self._nothing

    def prefetch_prompt(self, text: str) -> None:
        """A chunk will soon be told `text`. Returns at once."""
        if not self._has_state:
            self._book.prefetch_prompt(text)

    def close(self) -> None:
        self._book.close()

    def _heard(self, text: str, before: NDArray[np.float32]) -> TextConditioning:
        outputs = self._runner.run(Graph.TEXT_ENCODER, {**self._tokenize(text), "state": before})
        state, embeddings = (np.asarray(outputs[name], dtype=np.float32) for name in ("next_state", "embeddings"))
        return TextConditioning(state, embeddings, PromptMix.of(text))

    def _encode(self, text: str) -> NDArray[np.float32]:
        outputs = self._runner.run(Graph.TEXT_ENCODER, self._tokenize(text))
        return np.asarray(outputs["embeddings"], dtype=np.float32)


def _word_hash(spec: ModelSpec) -> Tokenize:
    if not spec.text_vocabulary:
        raise ModelError(f"{spec.name} has no word-hash tokeniser; pass `tokenize`")
    tokenizer = WordHashTokenizer(vocabulary=spec.text_vocabulary, tokens=spec.text_words)
    return lambda text: {"tokens": tokenizer(text)}
