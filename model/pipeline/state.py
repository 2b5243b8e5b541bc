"""The values that go into and come out of the chunk loop: request, result, and a session's state. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from model.deferred import Deferred
from model.errors import ModelError
from model.pipeline.history import HistoryView
from model.pipeline.prompt_cache import PromptMix
from model.runners.base import Arrays
from model.scene.edge_antialiasing import Edges

_ARRAYS = (
    "history_latents",
    "history_conditioning",
    "prefix_latent",
    "prefix_conditioning",
    "text_state",
    "text_embeddings",
)
_MIX, _SEED, _CHUNK_INDEX = "prompt_mix_json", "seed", "chunk_index"
_CONTINUES, _PREFIXED = "continues", "prefixed"
_MEMORY = "memory_"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkRequest:
    """What one chunk of T latent frames shall show.

    texts: T action texts, one a latent frame. steps: denoising steps, one number a stage.
    features: the conditioner's inputs by name (frames on axis 2); or `conditioning` (1, C, T, h, w) float32, ready
    made; neither for a model without conditioning.
    guide: what a guided decoder takes of each latent frame beside latents and memory, by name, with that latent frame
    alone on axis 2; empty for one that is not guided. edges: of each frame, painted anew when it is decoded; only for a
    guided decoder, and empty for none. Both are asked for when their latent frame is decoded, not before.
    view: a picture of where the camera will be, put into the history; only for a denoiser that has room for one.
    first_stage: (1, 16, T, h / 2**(stages - 1), w / ...) float32 normalised latents that stand for what the first stage
    would make; its step is not run then.
    cut: what was shown before is not to be continued: history and decoder memory start anew, the text goes on.
    tiny_decoder: the one beside the model's own makes the frames; only where the rollout has one.
    """

    texts: tuple[str, ...]
    steps: tuple[int, ...]
    features: Arrays | None = None
    conditioning: NDArray[np.float32] | None = None
    guide: Sequence[Deferred[Arrays]] = ()
    edges: Sequence[Deferred[Edges]] = ()
    view: HistoryView | None = None
    first_stage: NDArray[np.float32] | None = None
    cut: bool = False
    tiny_decoder: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """frames: (N, H, W, 3) uint8 RGB. latents: (1, 16, T, h, w) float32, normalised.

    stage_ms: text, conditioning, stage0 .. stageN, decode; milliseconds by the rollout's clock. What the decoder has to
    wait for (its guide, edges) counts for decode.
    """

    frames: NDArray[np.uint8]
    latents: NDArray[np.float32]
    stage_ms: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineState:
    """Arrays are never changed in place; a step makes new ones.

    history_latents: (1, 16, sum(history_sizes), h, w) float32 normalised, history_conditioning: (1, C, ...) alike.
    prefix_*: (1, channels, 1, h, w), zeros until they are known (`prefixed`). mix: the texts in force. text_state:
    (1, S) float32 and text_embeddings: (1, L, D) float32 of a text encoder with a state; a state without has length 0,
    its embeddings are made of `mix` anew. memory: the decoder's, by input name. chunk_index: of the chunk to make next,
    never reset. continues: whether a chunk was made that the next one continues.
    """

    history_latents: NDArray[np.float32]
    history_conditioning: NDArray[np.float32]
    prefix_latent: NDArray[np.float32]
    prefix_conditioning: NDArray[np.float32]
    text_state: NDArray[np.float32]
    text_embeddings: NDArray[np.float32]
    mix: PromptMix
    memory: Mapping[str, NDArray[np.generic]]
    seed: int
    chunk_index: int
    continues: bool
    prefixed: bool

    @property
    def text(self) -> str:
        """The last text taken in."""
        return self.mix.target

    def after_cut(self, memory: Mapping[str, NDArray[np.generic]]) -> PipelineState:
        """The state with nothing shown yet; the text in force and the place in the noise stay."""
        return replace(
            self,
            history_latents=np.zeros_like(self.history_latents),
            history_conditioning=np.zeros_like(self.history_conditioning),
            prefix_latent=np.zeros_like(self.prefix_latent),
            prefix_conditioning=np.zeros_like(self.prefix_conditioning),
            memory=memory,
            continues=False,
            prefixed=False,
        )

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Flat and picklable; shares the arrays."""
        return {
            **{name: getattr(self, name) for name in _ARRAYS},
            **self.memory,
            _MIX: np.frombuffer(self.mix.to_json().encode(), dtype=np.uint8),
            _SEED: np.array(self.seed, dtype=np.uint64),
            _CHUNK_INDEX: np.array(self.chunk_index, dtype=np.int64),
            _CONTINUES: np.array(self.continues, dtype=np.bool_),
            _PREFIXED: np.array(self.prefixed, dtype=np.bool_),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[np.generic]]) -> PipelineState:
        """The inverse of `to_arrays`; names it does not know are left alone, so that an engine can add its own.

        Raises: ModelError: an array is missing, or the prompt in it is not one.
        """
        needed = (*_ARRAYS, _MIX, _SEED, _CHUNK_INDEX, _CONTINUES, _PREFIXED)
        if missing := [name for name in needed if name not in arrays]:
            raise ModelError(f"a rollout state lacks {', '.join(missing)}")
        try:
            mix = PromptMix.from_json(arrays[_MIX].tobytes().decode())
        except ValueError as exc:
            raise ModelError(f"a rollout state's {_MIX} is {exc}") from exc
        return PipelineState(
            **{name: np.asarray(arrays[name], dtype=np.float32) for name in _ARRAYS},
            mix=mix,
            memory={name: array for name, array in arrays.items() if name.startswith(_MEMORY)},
            seed=int(arrays[_SEED]),
            chunk_index=int(arrays[_CHUNK_INDEX]),
            continues=bool(arrays[_CONTINUES]),
            prefixed=bool(arrays[_PREFIXED]),
        )
