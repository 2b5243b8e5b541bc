"""A runner whose graphs are a few lines of numpy, and the chunk loop over it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.pipeline.state import ChunkRequest
from model.pipeline.video_pipeline import VideoPipeline
from model.runners.base import Arrays, GraphSignature, TensorSignature
from model.spec import Decode, ModelSpec

HEIGHT, WIDTH, CHANNELS = 64, 128, 2
LATENT = (HEIGHT // 8, WIDTH // 8)


def spec(**changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": "fake", "frame_height": HEIGHT, "frame_width": WIDTH, "fps": 24.0, "decode": Decode.STREAMING,
        "chunk_latents": 2, "latents_mean": (0.5,) * 16, "latents_inv_std": (4.0,) * 16, "text_tokens": 1,
        "text_dim": 1, "history_sizes": (4, 2, 1), "keep_prefix": True, "conditioning_channels": CHANNELS,
        "initial_text_state": (7.0,), "text_vocabulary": 64, "text_words": 4,
    }  # fmt: skip
    return ModelSpec(**{**fields, **changes})


class FakeRunner:
    """Text counts up, conditioning is the rays' mean, the flow is zero, and the decoder counts its chunks."""

    def __init__(self, *, decoder_outputs: tuple[str, ...] = ("frames", "next_memory_0")) -> None:
        memory = TensorSignature("float32", (1, 3))
        self.calls: list[tuple[str, dict[str, NDArray[np.generic]]]] = []
        self.bound: dict[str, NDArray[np.generic]] = {}
        self.frame_rows = HEIGHT
        self._decoder = GraphSignature({"latents": memory, "memory_0": memory}, dict.fromkeys(decoder_outputs, memory))

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return {"decoder": self._decoder}

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        self.calls.append((graph, dict(inputs)))
        if graph == "text_encoder":
            after = np.asarray(inputs["state"]) + 1
            return {"next_state": after, "embeddings": after[:, None]}
        if graph == "conditioner":
            rays: Any = inputs["rays"]
            return {"conditioning": np.repeat(rays.mean(1, keepdims=True)[..., ::4, ::4], CHANNELS, 1)}
        if graph == "denoiser":
            return {"sample": np.zeros_like(inputs["hidden_states"][:, :16])}
        memory: Any = inputs["memory_0"]
        frames = np.zeros((4 * inputs["latents"].shape[2], self.frame_rows, WIDTH, 3), np.uint8)
        return {"frames": frames, "next_memory_0": memory + 1}

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None:
        assert graph == "denoiser"
        self.bound[name] = array

    def close(self) -> None:
        self.calls.clear()

    def inputs_of(self, graph: str) -> list[dict[str, Any]]:
        return [inputs for name, inputs in self.calls if name == graph]


def rollout(runner: FakeRunner, **changes: Any) -> VideoPipeline:
    ticks = itertools.count()
    return VideoPipeline(spec(**changes), runner, clock=lambda: next(ticks) / 1e3)


def request(*texts: str, cut: bool = False, steps: tuple[int, ...] = (1, 1, 1), value: float = 1.0) -> ChunkRequest:
    rays = np.full((1, 5, len(texts), 4 * LATENT[0], 4 * LATENT[1]), value, np.float32)
    return ChunkRequest(texts=texts, steps=steps, features={"rays": rays}, cut=cut)
