"""The chunk loop's own duties, over a runner whose graphs are a few lines of numpy."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import ModelError, RunnerError
from model.history import HistoryView
from model.rollout import Rollout
from model.runners.base import Arrays, GraphSignature, TensorSignature
from model.spec import Decode, ModelSpec
from model.state import ChunkRequest, RolloutState

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


def rollout(runner: FakeRunner, **changes: Any) -> Rollout:
    ticks = itertools.count()
    return Rollout(spec(**changes), runner, clock=lambda: next(ticks) / 1e3)


def request(*texts: str, cut: bool = False, steps: tuple[int, ...] = (1, 1, 1), value: float = 1.0) -> ChunkRequest:
    rays = np.full((1, 5, len(texts), 4 * LATENT[0], 4 * LATENT[1]), value, np.float32)
    return ChunkRequest(texts=texts, steps=steps, features={"rays": rays}, cut=cut)


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


def test_conditioning_is_pooled_for_each_stage_and_stands_after_the_latents() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    rays = np.random.default_rng(0).standard_normal((1, 5, 2, 4 * LATENT[0], 4 * LATENT[1])).astype(np.float32)
    loop.chunk(loop.open(1), ChunkRequest(texts=("", ""), steps=(1, 1, 1), features={"rays": rays}))
    full = rays.mean(1)[:, :, ::4, ::4]
    for call, factor in zip(runner.inputs_of("denoiser"), (4, 2, 1), strict=True):
        sample = call["hidden_states"]
        assert sample.shape == (1, 16 + CHANNELS, 2, LATENT[0] // factor, LATENT[1] // factor)
        for row, column in ((0, 0), (1, 2)):
            block = full[..., row * factor : (row + 1) * factor, column * factor : (column + 1) * factor]
            np.testing.assert_allclose(sample[:, 16, :, row, column], block.mean((-2, -1)), atol=1e-6)


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


def test_the_first_chunk_doubles_its_steps_where_the_model_wants_it() -> None:
    runner = FakeRunner()
    loop = rollout(runner, amplify_first_chunk=True)
    state = loop.open(1)
    counts = []
    for cut in (False, False, True):
        runner.calls.clear()
        _, state = loop.chunk(state, request("", cut=cut, steps=(1, 2, 1)))
        counts.append(len(runner.inputs_of("denoiser")))
    assert counts == [8, 4, 8]


def test_a_state_survives_flattening_and_pickling() -> None:
    loop = rollout(FakeRunner())
    _, state = loop.chunk(loop.open(2**63 + 1, "dämmerung"), request("dämmerung", "x"))
    arrays = pickle.loads(pickle.dumps(state.to_arrays()))
    restored = RolloutState.from_arrays({**arrays, "engine_extra": np.zeros(1)})
    assert (restored.seed, restored.text, restored.chunk_index, restored.continues) == (2**63 + 1, "x", 1, True)
    straight, resumed = (loop.chunk(s, request("x", "y")) for s in (state, restored))
    np.testing.assert_array_equal(straight[0].latents, resumed[0].latents)
    for name, array in straight[1].to_arrays().items():
        np.testing.assert_array_equal(array, resumed[1].to_arrays()[name], err_msg=name)


@pytest.mark.parametrize(("steps", "runs"), [((1, 1, 0), 2), ((2, 0, 0), 2), ((1, 1, 1), 3)])
def test_last_stages_can_be_left_out_and_their_latents_are_enlarged(steps: tuple[int, ...], runs: int) -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    result, state = loop.chunk(loop.open(1), request("", "", steps=steps))
    assert len(runner.inputs_of("denoiser")) == runs
    assert result.latents.shape[3:] == LATENT
    factor = 2 ** sum(n == 0 for n in steps)
    corners = result.latents[..., ::factor, ::factor].repeat(factor, 3).repeat(factor, 4)
    assert np.array_equal(result.latents, corners)
    loop.chunk(state, request("", ""))  # a full chunk goes on from it


def test_an_incomplete_state_is_refused_by_name() -> None:
    arrays = rollout(FakeRunner()).open(1).to_arrays()
    del arrays["seed"]
    with pytest.raises(ModelError, match="lacks seed"):
        RolloutState.from_arrays(arrays)


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


def test_a_model_without_a_tokeniser_asks_for_one() -> None:
    with pytest.raises(ModelError, match="tokenize"):
        rollout(FakeRunner(), text_vocabulary=0)


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


def test_a_given_first_stage_stands_for_the_networks_own() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    given = np.full((1, 16, 2, LATENT[0] // 4, LATENT[1] // 4), 100.0, np.float32)
    result, _ = loop.chunk(loop.open(1), replace(request("", ""), first_stage=given))
    assert [inputs["hidden_states"].shape[3] for inputs in runner.inputs_of("denoiser")] == [LATENT[0] // 2, LATENT[0]]
    assert result.latents.mean() > 20  # the flow is zero: it reaches the result through both upsamplings
    with pytest.raises(ModelError, match=r"first_stage must be \(1, 16, 2, 2, 4\), got \(1, 16, 1, 2, 4\)"):
        loop.chunk(loop.open(1), replace(request("", ""), first_stage=given[:, :, :1]))


class RunnerWithView(FakeRunner):
    """Its denoiser has room for a view."""

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        names = ("latents_view", "indices_view", "tokens_view")
        return {**super().graphs, "denoiser": GraphSignature(dict.fromkeys(names, TensorSignature("float32", ())), {})}


def test_a_view_enters_at_the_new_frames_places_and_without_conditioning() -> None:
    runner = RunnerWithView()
    loop = rollout(runner)
    view = HistoryView(np.ones((1, 16, 2, *LATENT), np.float32), np.array([1, 5, 40]))
    loop.chunk(loop.open(1), replace(request("", ""), view=view))
    loop.chunk(loop.open(1), request("", ""))
    with_view, without = runner.inputs_of("denoiser")[0], runner.inputs_of("denoiser")[3]
    np.testing.assert_array_equal(with_view["indices_view"], with_view["indices_hidden_states"])
    assert (with_view["latents_view"][:, :16] == 1).all()
    assert not with_view["latents_view"][:, 16:].any()
    assert with_view["tokens_view"].tolist() == [1, 5, 40]
    assert without["tokens_view"].size == 0


def test_a_view_is_refused_by_a_denoiser_without_room_for_one() -> None:
    loop = rollout(FakeRunner())
    view = HistoryView(np.ones((1, 16, 2, *LATENT), np.float32), np.array([1]))
    with pytest.raises(ModelError, match="no room for a view"):
        loop.chunk(loop.open(1), replace(request("", ""), view=view))


class TogetherRunner(FakeRunner):
    """Its denoiser takes any number of videos; what it says of one depends on all that it is told of that one."""

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        varies = TensorSignature("float32", (None, 16 + CHANNELS, None, None, None))
        return {**super().graphs, "denoiser": GraphSignature({"hidden_states": varies}, {})}

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        outputs = super().run(graph, inputs)
        if graph == "denoiser":
            told: Any = [inputs[name] for name in ("latents_history_short", "latents_history_mid", "hidden_states")]
            mean = np.stack([array.mean(axis=(1, 2, 3, 4)) for array in told]).sum(axis=0)
            text: Any = inputs["encoder_hidden_states"]
            outputs["sample"] = outputs["sample"] + (mean + text.mean(axis=(1, 2)))[:, None, None, None, None] * 0.01
        return {name: np.asarray(array, array.dtype) for name, array in outputs.items()}


def test_chunks_of_several_sessions_are_denoised_at_once_and_are_those_that_each_alone_would_get() -> None:
    runner = TogetherRunner()
    loop = rollout(runner)
    states = [loop.chunk(loop.open(seed), request("", "", value=seed))[1] for seed in (1, 2, 3)]
    asked = [(state, request("", f"text {index}", value=index)) for index, state in enumerate(states)]
    alone = [loop.chunk(*each) for each in asked]
    runner.calls.clear()
    together = loop.begin_together(asked)
    assert len(runner.inputs_of("denoiser")) == 3  # a stage, not a session
    assert all(len(inputs["hidden_states"]) == 3 for inputs in runner.inputs_of("denoiser"))
    assert all(inputs["timestep"].shape == (1,) for inputs in runner.inputs_of("denoiser"))
    for (result, after), begun in zip(alone, together, strict=True):
        np.testing.assert_allclose(begun.latents, result.latents, atol=1e-6)
        np.testing.assert_allclose(begun.state.history_latents, after.history_latents, atol=1e-6)
        np.testing.assert_array_equal(begun.state.history_conditioning, after.history_conditioning)
        np.testing.assert_array_equal(begun.state.text_state, after.text_state)
        assert begun.state.seed == after.seed
    assert not np.allclose(together[0].latents, together[1].latents)


def test_chunks_that_do_not_agree_are_denoised_apart_and_come_back_in_their_order() -> None:
    runner = TogetherRunner()
    loop = rollout(runner, amplify_first_chunk=True)
    begun = loop.chunk(loop.open(1), request("", ""))[1]
    asked = [
        (begun, request("", "")),
        (loop.open(2), request("", "")),  # a first chunk has twice the steps
        (begun, request("")),
        (begun, request("", "", steps=(1, 1, 0))),
        (begun, request("", "", cut=True)),  # begins anew: like the second
        (begun, request("", "", value=2.0)),  # like the first
    ]
    runner.calls.clear()
    together = loop.begin_together(asked)
    sizes = [len(inputs["hidden_states"]) for inputs in runner.inputs_of("denoiser")]
    assert sizes == [2, 2, 2] + [2] * 6 + [1, 1, 1] + [1, 1]
    for (state, wanted), found in zip(asked, together, strict=True):
        np.testing.assert_allclose(found.latents, loop.chunk(state, wanted)[0].latents, atol=1e-6)


def test_a_denoiser_for_one_video_gets_one_after_another() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    assert not loop.denoises_together
    loop.begin_together([(loop.open(seed), request("", "")) for seed in (1, 2)])
    assert [len(inputs["hidden_states"]) for inputs in runner.inputs_of("denoiser")] == [1] * 6
