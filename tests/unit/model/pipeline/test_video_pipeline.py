"""The chunk loop's own duties, over a runner whose graphs are a few lines of numpy."""

from __future__ import annotations

import pickle
from collections.abc import Mapping

import numpy as np
import pytest

from model.deferred import Deferred
from model.errors import ModelError, RunnerError
from model.pipeline.state import ChunkRequest, PipelineState
from model.runners.base import GraphSignature, TensorSignature
from tests.fake_runner import HEIGHT, LATENT, WIDTH, FakeRunner, request, rollout


def test_a_chunk_has_its_frames_latents_and_timings() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    result, after = loop.chunk(loop.open(1), request("", ""))
    assert result.frames.shape == (8, HEIGHT, WIDTH, 3)
    assert result.latents.shape == (1, 16, 2, *LATENT)
    assert dict(result.stage_ms) == pytest.approx(
        dict.fromkeys(["text", "conditioning", "stage0", "stage1", "stage2", "decode"], 1.0)
    )
    assert after.chunk_index == 1


def test_the_same_state_and_request_give_the_same_latents() -> None:
    loop = rollout(FakeRunner())
    state = loop.open(5)
    first, again = (loop.chunk(state, request("", ""))[0].latents for _ in range(2))
    np.testing.assert_array_equal(first, again)
    _, after = loop.chunk(state, request("", ""))
    assert not np.any(loop.chunk(after, request("", ""))[0].latents == first)


class HearingRunner(FakeRunner):
    """Its conditioner has an input for the text."""

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        some = TensorSignature("float32", (1,))
        return {**super().graphs, "conditioner": GraphSignature({"rays": some, "text": some}, {"conditioning": some})}


def test_a_conditioner_that_hears_the_text_is_told_the_one_of_its_chunk() -> None:
    runner, deaf = HearingRunner(), FakeRunner()
    loop = rollout(runner)
    _, after = loop.chunk(loop.open(1), request("rain"))
    loop.chunk(after, request("snow"))
    told = [call["text"] for call in runner.inputs_of("conditioner")]
    heard = [call["encoder_hidden_states"] for call in runner.inputs_of("denoiser")[::3]]
    np.testing.assert_array_equal(told, heard)
    assert not np.array_equal(told[0], told[1])
    loop = rollout(deaf)
    loop.chunk(loop.open(1), request("rain"))
    assert set(deaf.inputs_of("conditioner")[0]) == {"rays"}


def test_history_holds_latents_and_conditioning_of_what_was_made() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    first, state = loop.chunk(loop.open(1), request("", "", value=1.0))
    second, state = loop.chunk(state, request("", "", value=2.0))
    runner.calls.clear()
    loop.chunk(state, request("", "", value=3.0))
    call = runner.inputs_of("denoiser")[0]
    newest, prefix = call["latents_history_short"][:, :, 1:], call["latents_history_short"][:, :, :1]
    np.testing.assert_array_equal(newest[:, :16], second.latents[:, :, 1:])
    np.testing.assert_array_equal(prefix[:, :16], first.latents[:, :, :1])
    assert (newest[:, 16:] == 2).all()
    assert (prefix[:, 16:] == 1).all()
    np.testing.assert_array_equal(call["latents_history_mid"][:, :16, 1:], second.latents[:, :, :1])
    np.testing.assert_array_equal(call["latents_history_long"][:, :, :3], 0)
    np.testing.assert_array_equal(call["latents_history_long"][:, :16, 3:], first.latents[:, :, :1])
    assert call["indices_hidden_states"].tolist() == [[8, 9]]
    assert runner.bound["indices_latents_history_short"].tolist() == [[0, 7]]


def test_without_a_prefix_the_short_history_is_one_frame() -> None:
    runner = FakeRunner()
    loop = rollout(runner, keep_prefix=False)
    loop.chunk(loop.open(1), request(""))
    assert runner.inputs_of("denoiser")[0]["latents_history_short"].shape[2] == 1
    assert runner.bound["indices_latents_history_short"].tolist() == [[6]]


def test_equal_texts_are_encoded_once_and_the_newest_is_used() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    state = loop.open(1, "a")
    _, state = loop.chunk(state, request("a", "a"))
    assert len(runner.inputs_of("text_encoder")) == 1
    _, state = loop.chunk(state, request("a", "b", "b", "c"))
    assert len(runner.inputs_of("text_encoder")) == 3
    assert state.text_state.tolist() == [[10.0]]
    assert runner.inputs_of("denoiser")[-1]["encoder_hidden_states"].tolist() == [[[10.0]]]
    assert state.text == "c"


def test_a_cut_drops_what_was_shown_and_keeps_the_text_and_the_noise() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    _, state = loop.chunk(loop.open(1), request("night", "night"))
    uncut = loop.chunk(state, request("night", "night"))[0]
    runner.calls.clear()
    result, after = loop.chunk(state, request("night", "night", cut=True))
    call = runner.inputs_of("denoiser")[0]
    assert not call["latents_history_long"].any()
    assert not call["latents_history_short"].any()
    assert not runner.inputs_of("decoder")[0]["memory_0"].any()
    assert not runner.inputs_of("text_encoder")
    np.testing.assert_array_equal(after.prefix_latent, result.latents[:, :, :1])
    np.testing.assert_array_equal(uncut.latents, result.latents)  # this runner looks at noise alone


def test_decoder_memory_goes_on_from_chunk_to_chunk() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    state = loop.open(1)
    for _ in range(3):
        _, state = loop.chunk(state, request(""))
    assert [call["memory_0"][0, 0] for call in runner.inputs_of("decoder")] == [0, 1, 2]


def test_the_decoder_gets_latents_that_are_not_normalised() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    result, _ = loop.chunk(loop.open(1), request(""))
    np.testing.assert_allclose(runner.inputs_of("decoder")[0]["latents"], result.latents / 4 + 0.5, rtol=1e-6)


def test_a_state_survives_flattening_and_pickling() -> None:
    loop = rollout(FakeRunner())
    _, state = loop.chunk(loop.open(2**63 + 1, "dämmerung"), request("dämmerung", "x"))
    arrays = pickle.loads(pickle.dumps(state.to_arrays()))
    restored = PipelineState.from_arrays({**arrays, "engine_extra": np.zeros(1)})
    assert (restored.seed, restored.text, restored.chunk_index, restored.continues) == (2**63 + 1, "x", 1, True)
    straight, resumed = (loop.chunk(s, request("x", "y")) for s in (state, restored))
    np.testing.assert_array_equal(straight[0].latents, resumed[0].latents)
    for name, array in straight[1].to_arrays().items():
        np.testing.assert_array_equal(array, resumed[1].to_arrays()[name], err_msg=name)


def test_an_incomplete_state_is_refused_by_name() -> None:
    arrays = rollout(FakeRunner()).open(1).to_arrays()
    del arrays["seed"]
    with pytest.raises(ModelError, match="lacks seed"):
        PipelineState.from_arrays(arrays)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (request(), "1..9 latent frames, got 0"),
        (request(*[""] * 10), "got 10"),
        (request("", steps=(1, 1)), "steps must be 3"),
        (request("", steps=(1, 0, 1)), "steps must be 3"),
        (request("", steps=(0, 0, 0)), "steps must be 3"),
        (request("", steps=(1, 1, -1)), "steps must be 3"),
        (ChunkRequest(texts=("",), steps=(1, 1, 1)), "features or conditioning"),
        (
            ChunkRequest(
                texts=("", ""),
                steps=(1, 1, 1),
                guide=[Deferred.known({})],
                conditioning=np.zeros((1, 3, 2, *LATENT), np.float32),
            ),
            "2 latent frames, or of none, got 1",
        ),
        (ChunkRequest(texts=("",), steps=(1, 1, 1), conditioning=np.zeros((1, 3, 1, *LATENT), np.float32)), "must be"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(wrong: ChunkRequest, named: str) -> None:
    loop = rollout(FakeRunner())
    with pytest.raises(ModelError, match=named):
        loop.chunk(loop.open(1), wrong)


def test_a_decoder_that_gives_other_frames_is_refused() -> None:
    runner = FakeRunner()
    runner.frame_rows = HEIGHT // 2
    loop = rollout(runner)
    with pytest.raises(RunnerError, match="decoder must give"):
        loop.chunk(loop.open(1), request(""))


def test_a_decoder_that_keeps_its_memory_is_refused() -> None:
    with pytest.raises(RunnerError, match="next_memory_0"):
        rollout(FakeRunner(decoder_outputs=("frames",)))


def test_a_decoder_that_gives_no_frames_is_to_be_exported_again() -> None:
    with pytest.raises(RunnerError, match="decoder gives pixels, next_memory_0, expected frames; export"):
        rollout(FakeRunner(decoder_outputs=("pixels", "next_memory_0")))


def test_a_model_without_a_tokeniser_asks_for_one() -> None:
    with pytest.raises(ModelError, match="tokenize"):
        rollout(FakeRunner(), text_vocabulary=0)
