"""Encodes each text once, and blends a new prompt in over some chunks.

The blend is that of Helios's interactive mode (`interpolate_prompt_embeds`): embeddings move in equal steps from the
old prompt's to the new one's. There the first chunk after a change still has the old prompt; here that chunk is left
out, so that a new prompt shows at once: its `interpolation_steps` 3 is 2 chunks here. Numpy only.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[np.float32]

MOST_KEPT = 64
"""Texts whose embeddings are kept; 8 MB each for Helios-14B."""


@dataclass(frozen=True, slots=True)
class PromptMix:
    """Which texts are in force, with weights that add up to 1, and in how many chunks `target` will be alone."""

    shares: tuple[tuple[str, float], ...]
    target: str
    chunks_left: int = 0

    @staticmethod
    def of(text: str) -> PromptMix:
        return PromptMix(((text, 1.0),), text)

    def advanced(self, text: str, blend_chunks: int) -> PromptMix:
        """For the next chunk, whose newest text is `text`; a change takes `blend_chunks` chunks, 1 being at once."""
        left = self.chunks_left if text == self.target else blend_chunks
        if left == 0:
            return self
        step = 1 / left
        weights: dict[str, float] = {}
        if left > 1:
            weights = {told: weight * (1 - step) for told, weight in self.shares}
        weights[text] = weights.get(text, 0.0) + step
        return PromptMix(tuple(weights.items()), text, left - 1)

    def to_json(self) -> str:
        return json.dumps([self.shares, self.target, self.chunks_left])

    @staticmethod
    def from_json(text: str) -> PromptMix:
        """Raises: ValueError: it is not what `to_json` writes."""
        try:
            shares, target, left = json.loads(text)
            mix = PromptMix(tuple((str(told), float(weight)) for told, weight in shares), str(target), int(left))
        except (TypeError, ValueError) as exc:
            raise ValueError(f"not a prompt mix: {text[:80]!r}") from exc
        if not mix.shares or mix.chunks_left < 0:
            raise ValueError(f"not a prompt mix: {text[:80]!r}")
        return mix


class PromptCache:
    """Embeddings by text. `prefetch_prompt` may be called from any thread, everything else from one."""

    def __init__(self, encode: Callable[[str], Embeddings], *, beside: bool) -> None:
        """beside: `encode` may run on a thread of its own, so that a text can be encoded before a chunk needs it."""
        self._encode = encode
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Future[Embeddings]] = OrderedDict()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="prompts") if beside else None

    def prefetch_prompt(self, text: str) -> None:
        """A chunk will soon need `text`. Returns at once; without a thread of its own nothing is done yet."""
        if self._executor is not None:
            self._future(text)

    def embeddings(self, text: str) -> Embeddings:
        """(1, L, D) float32, not to be changed. Waits for it. Raises: RunnerError."""
        future = self._future(text)
        try:
            return future.result()
        except BaseException:
            with self._lock:
                self._known.pop(text, None)  # it may go better the next time
            raise

    def mixed(self, mix: PromptMix) -> Embeddings:
        """Raises: RunnerError."""
        if len(mix.shares) == 1:
            return self.embeddings(mix.shares[0][0])
        parts = [np.float32(weight) * self.embeddings(text) for text, weight in mix.shares]
        return np.asarray(sum(parts[1:], parts[0]), dtype=np.float32)

    def close(self) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _future(self, text: str) -> Future[Embeddings]:
        with self._lock:
            known = self._known.get(text)
            if known is not None:
                self._known.move_to_end(text)
                return known
            future: Future[Embeddings] = (
                Future() if self._executor is None else self._executor.submit(self._encode, text)
            )
            self._known[text] = future
            while len(self._known) > MOST_KEPT:
                self._known.popitem(last=False)
        if self._executor is None:
            try:
                future.set_result(self._encode(text))
            except BaseException as exc:
                future.set_exception(exc)
        return future
