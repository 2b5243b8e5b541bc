"""Cutting the shipped model's chunk at a latent frame leaves what a chunk that ended there would have left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.backends.loading import ModelOptions, load_model
from model.deferred import Deferred
from model.pipeline.frame_decoder import Decoder
from model.pipeline.history import appended
from model.pipeline.loaded_model import LoadedModel
from model.pipeline.state import ChunkRequest, PipelineState
from model.pipeline.video_pipeline import VideoPipeline
from model.spec import Graph

LATENTS = 3


@pytest.fixture(scope="module")
def loaded() -> Iterator[LoadedModel]:
    made, _ = load_model(ModelOptions(model="demo"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def rollout(loaded: LoadedModel) -> VideoPipeline:
    return loaded.rollout(lambda: 0.0)


@pytest.fixture(scope="module")
def request_of(loaded: LoadedModel) -> Callable[[int], ChunkRequest]:
    """Requests by seed: noise where rays would be, for the loop does not know what they mean."""
    graphs = loaded.runner.graphs

    def drawn(graph: Graph, rng: np.random.Generator) -> dict[str, NDArray[np.float32]]:
        return {
            name: rng.normal(0.0, 0.2, [LATENTS if n is None else n for n in tensor.shape]).astype(np.float32)
            for name, tensor in graphs[graph].inputs.items()
            if name != "latents" and not name.startswith("memory_")
        }

    def made(seed: int) -> ChunkRequest:
        rng = np.random.default_rng(seed)
        features, guides = drawn(Graph.CONDITIONER, rng), drawn(Graph.DECODER, rng)
        guide = [
            Deferred.known({name: array[:, :, at : at + 1] for name, array in guides.items()}) for at in range(LATENTS)
        ]
        return ChunkRequest(texts=("let it rain",) * LATENTS, steps=(1, 1, 1), features=features, guide=guide)

    return made


def same(a: PipelineState, b: PipelineState) -> None:
    left, right = a.to_arrays(), b.to_arrays()
    assert set(left) == set(right)
    for name, array in left.items():
        assert np.array_equal(array, right[name]), name


@pytest.mark.parametrize(("latents", "taken"), [(1, False), (2, True)], ids=["before its frames", "after its frames"])
def test_memory_and_history_are_those_of_a_chunk_that_ended_there(
    loaded: LoadedModel,
    rollout: VideoPipeline,
    request_of: Callable[[int], ChunkRequest],
    latents: int,
    taken: bool,
) -> None:
    _, before = rollout.chunk(rollout.open(5), request_of(0))
    asked = request_of(1)
    begun = rollout.begin(before, asked)
    frames = begun.result().frames if taken else None
    inside = begun.state_after(latents)
    decoder = Decoder(loaded.spec, loaded.runner)
    alone = decoder.begin(begun.latents[:, :, :latents], asked.guide[:latents], before.memory)
    shown = np.concatenate(list(alone))
    for name, array in alone.memory().items():
        assert np.array_equal(inside.memory[name], array), name
        assert not np.array_equal(inside.memory[name], begun.state.memory[name]), name
    assert np.array_equal(inside.history_latents, appended(before.history_latents, begun.latents[:, :, :latents]))
    assert inside.chunk_index == before.chunk_index + 1  # the noise of what was cut is not drawn again
    if frames is not None:
        assert np.array_equal(frames[: len(shown)], shown)


def test_what_is_made_after_a_cut_knows_nothing_of_what_was_cut(
    rollout: VideoPipeline, request_of: Callable[[int], ChunkRequest]
) -> None:
    """Two chunks that differ past the cut alone lead to the same one after it; frames and state, bit for bit."""
    _, before = rollout.chunk(rollout.open(5), request_of(0))
    begun = rollout.begin(before, request_of(1))
    inside = begun.state_after(1)
    first, after = rollout.chunk(inside, request_of(2))
    # The same state again, once the whole chunk has been decoded and another one made in between.
    begun.result()
    rollout.chunk(begun.state, request_of(3))
    second, after_again = rollout.chunk(begun.state_after(1), request_of(2))
    assert np.array_equal(first.frames, second.frames)
    same(after, after_again)
    uncut, _ = rollout.chunk(begun.state, request_of(2))
    assert not np.array_equal(first.frames, uncut.frames)


def test_a_cut_after_all_its_frames_is_none(rollout: VideoPipeline, request_of: Callable[[int], ChunkRequest]) -> None:
    _, before = rollout.chunk(rollout.open(5), request_of(0))
    begun = rollout.begin(before, request_of(1))
    begun.result()
    same(begun.state_after(LATENTS), begun.state)
