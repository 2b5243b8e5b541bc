"""A chunk at the decoder: what is handed out before it is whole, and what waits for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.runners.base import Arrays, GraphSignature, TensorSignature
from model.spec import Decode
from tests.fake_runner import HEIGHT, WIDTH, FakeRunner, request, rollout


class LateRunner(FakeRunner):
    """Starts the decoder and finishes it only when asked for the result."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded: list[int] = []

    def start(self, graph: str, inputs: Arrays) -> Any:
        runner, number = self, len(self.inputs_of("denoiser"))

        class Late:
            def ready(self) -> bool:
                return number in runner.decoded

            def result(self) -> dict[str, NDArray[np.generic]]:
                if graph == "decoder":
                    runner.decoded.append(number)
                return runner.run(graph, inputs)

        return Late()


def test_the_next_chunk_is_denoised_before_the_last_one_is_decoded() -> None:
    runner = LateRunner()
    loop = rollout(runner)
    first = loop.begin(loop.open(1), request("", ""))
    assert not first.ready()
    assert runner.decoded == []
    assert first.state.continues
    second = loop.begin(replace(first.state, memory=loop.open(1).memory), request("", ""))
    assert len(runner.inputs_of("denoiser")) == 6
    assert runner.decoded == []
    assert first.result().frames.shape == (8, HEIGHT, WIDTH, 3)
    assert first.ready()
    assert not second.ready()


def test_a_decoder_that_continues_its_memory_waits_for_it_only_when_it_starts() -> None:
    runner = LateRunner()
    loop = rollout(runner)
    first = loop.begin(loop.open(1), request("", ""))
    second = loop.begin(first.state, request("", ""))
    assert [graph for graph, _ in runner.calls if graph not in ("text_encoder", "decoder")] == (
        ["conditioner", *["denoiser"] * 3, "conditioner", *["denoiser"] * 3]
    )
    decoder = [place for place, (graph, _) in enumerate(runner.calls) if graph == "decoder"]
    last_denoised = max(place for place, (graph, _) in enumerate(runner.calls) if graph == "denoiser")
    assert min(decoder) > last_denoised  # the second decoder's memory is the first one's: it is read, and not before
    assert float(np.asarray(second.state.memory["memory_0"]).max()) == 4


def test_a_latent_frames_pictures_leave_before_the_next_one_is_decoded() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    pieces = loop.begin(loop.open(1), request("", "", "")).pieces()
    for count in (1, 2, 3):
        assert next(pieces).shape == (4, HEIGHT, WIDTH, 3)
        assert [call["latents"].shape[2] for call in runner.inputs_of("decoder")] == [1] * count
    assert next(pieces, None) is None


class KeepingRunner(FakeRunner):
    """Its decoder remembers within a chunk by itself, as one on a GPU does; counts what each latent frame saw."""

    def __init__(self) -> None:
        super().__init__(decoder_outputs=("frames",))
        anything = TensorSignature("float32", (1, 3))
        self._decoder = GraphSignature({"latents": anything}, {"frames": anything})
        self.seen = 0

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return {"decoder": self._decoder, "decoder_first": self._decoder}

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        if not graph.startswith("decoder"):
            return super().run(graph, inputs)
        self.calls.append((graph, dict(inputs)))
        first = graph == "decoder_first"
        self.seen = 1 if first else self.seen + 1
        return {"frames": np.full((1 if first else 4, HEIGHT, WIDTH, 3), self.seen, np.uint8)}


def test_a_decoder_with_a_memory_of_its_own_gets_each_chunk_from_its_first_latent_frame_on() -> None:
    runner = KeepingRunner()
    loop = rollout(runner, decode=Decode.PER_CHUNK)
    result, state = loop.chunk(loop.open(1), request("", "", ""))
    assert result.frames[:, 0, 0, 0].tolist() == [1, *[2] * 4, *[3] * 4]
    assert dict(state.memory) == {}
    assert [graph for graph, _ in runner.calls if "decoder" in graph] == ["decoder_first", "decoder", "decoder"]


def test_a_chunk_that_is_begun_does_not_come_between_another_ones_latent_frames() -> None:
    runner = KeepingRunner()
    loop = rollout(runner, decode=Decode.PER_CHUNK)
    first = loop.begin(loop.open(1), request("", "", ""))
    one = first.pieces()
    next(one)
    second = loop.begin(first.state, request("", ""))
    assert [piece[0, 0, 0, 0] for piece in second.pieces()] == [1, 2]
    assert [piece[0, 0, 0, 0] for piece in one] == [2, 3]
    assert first.result().frames.shape[0] == 9


def test_beginning_and_waiting_is_the_chunk() -> None:
    loop, late = rollout(FakeRunner()), rollout(LateRunner())
    wanted, wanted_state = loop.chunk(loop.open(1), request("a", "b"))
    begun = late.begin(late.open(1), request("a", "b"))
    np.testing.assert_array_equal(begun.result().latents, wanted.latents)
    assert begun.result() is begun.result()
    assert begun.state.to_arrays().keys() == wanted_state.to_arrays().keys()
    assert list(begun.result().stage_ms) == list(wanted.stage_ms)
