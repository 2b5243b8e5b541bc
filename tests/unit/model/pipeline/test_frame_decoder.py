"""A chunk at the decoder, over a runner that counts: what a long session costs, and what it keeps."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from model.deferred import Deferred
from model.pipeline.frame_decoder import Decoder, Decoding, NextMemory
from model.runners.base import Arrays, GraphSignature, TensorSignature
from model.scene.edge_antialiasing import Edges
from model.spec import Decode, ModelSpec

SPEC = ModelSpec(
    name="fake", frame_height=64, frame_width=64, fps=24.0, decode=Decode.STREAMING, chunk_latents=1,
    latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=1, text_dim=1, history_sizes=(4, 2, 1),
    text_vocabulary=8, text_words=2,
)  # fmt: skip


class Counter:
    """A decoder whose memory counts the latent frames that it has seen; its frames show that number."""

    runs = 0

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        latents, seen = TensorSignature("float32", (1, 16, None, 8, 8)), TensorSignature("float32", (1,))
        frames = TensorSignature("uint8", (None, 64, 64, 3))
        return {"decoder": GraphSignature({"latents": latents, "memory_0": seen},
                                          {"frames": frames, "next_memory_0": seen})}  # fmt: skip

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        self.runs += 1
        seen = np.asarray(inputs["memory_0"]) + 1
        return {"frames": np.full((4, 64, 64, 3), seen[0], np.uint8), "next_memory_0": seen}

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None: ...

    def close(self) -> None: ...


def chain(decoder: Decoder, chunks: int) -> list[Decoding]:
    """Each continues the one before; nobody has looked at any."""
    memory: Arrays = decoder.fresh_memory()
    made = []
    for _ in range(chunks):
        made.append(decoder.begin(np.zeros((1, 16, 1, 8, 8), np.float32), (), memory))
        memory = NextMemory(made[-1])
    return made


def test_a_long_session_decodes_each_latent_frame_once() -> None:
    runner = Counter()
    newest = chain(Decoder(SPEC, runner), 60)[-1]
    assert newest.memory()["memory_0"][0] == 60
    assert runner.runs == 60


def test_a_chunk_that_was_decoded_keeps_none_of_those_before_it() -> None:
    made = chain(Decoder(SPEC, Counter()), 3)
    oldest = weakref.ref(made[0])
    assert next(iter(made[2]))[0, 0, 0, 0] == 3
    del made[:2]
    gc.collect()
    assert oldest() is None


@pytest.mark.parametrize("writeable", [True, False])
def test_each_frame_s_own_edges_are_painted_anew(writeable: bool) -> None:
    class Painted(Counter):
        def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
            outputs = super().run(graph, inputs)
            frames = np.zeros((4, 64, 64, 3), np.uint8)
            frames[:, -2:, -2:] = 200
            frames.flags.writeable = writeable
            return {**outputs, "frames": frames}

    last_two = np.array([[32 * 32 - 1, 32 * 32 - 1, 0, 0]])  # half of it is the cell that is painted into
    edges = [Deferred.known(Edges(np.array([at]), last_two)) for at in range(8)]
    decoder = Decoder(SPEC, Painted())
    made = decoder.begin(np.zeros((1, 16, 2, 8, 8), np.float32), (), decoder.fresh_memory(), edges)
    for _ in range(2):  # whoever looks again sees the same
        first_rows = np.concatenate(list(made))[:, 0, :8, 0]
        np.testing.assert_array_equal(first_rows, 100 * np.eye(8))


def test_a_decoder_that_takes_a_chunk_whole_is_guided_in_all_of_it() -> None:
    class Whole(Counter):
        @property
        def graphs(self) -> Mapping[str, GraphSignature]:
            rays = TensorSignature("float32", (1, 4, None, 2, 3, 3))
            latents = TensorSignature("float32", (1, 16, None, 8, 8))
            frames = TensorSignature("uint8", (None, 64, 64, 3))
            return {"decoder": GraphSignature({"latents": latents, "frame_rays": rays}, {"frames": frames})}

        def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
            self.given = inputs
            return {"frames": np.zeros((9, 64, 64, 3), np.uint8)}

    runner = Whole()
    rays = np.random.default_rng(0).random((1, 4, 3, 2, 3, 3), np.float32)
    guide = [Deferred.known({"frame_rays": rays[:, :, at : at + 1]}) for at in range(3)]
    decoder = Decoder(replace(SPEC, decode=Decode.PER_CHUNK), runner)
    list(decoder.begin(np.zeros((1, 16, 3, 8, 8), np.float32), guide, {}))
    np.testing.assert_array_equal(runner.given["frame_rays"], rays)


@pytest.mark.parametrize("latents", [1, 2, 5])
def test_each_latent_frame_continues_the_memory_of_the_one_before(latents: int) -> None:
    decoder = Decoder(SPEC, Counter())
    made = decoder.begin(np.zeros((1, 16, latents, 8, 8), np.float32), (), decoder.fresh_memory())
    assert [frames[0, 0, 0, 0] for frames in made] == list(range(1, latents + 1))
    assert [made.memory_after(n)["memory_0"][0] for n in range(1, latents + 1)] == list(range(1, latents + 1))
    assert made.memory()["memory_0"][0] == latents
