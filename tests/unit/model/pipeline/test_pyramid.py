"""The stages that a chunk's latents pass, alone and with other sessions', over a runner of a few lines of numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import ModelError
from model.pipeline.history import HistoryView
from model.pipeline.state import ChunkRequest
from model.runners.base import Arrays, GraphSignature, TensorSignature, is_frozen
from tests.fake_runner import CHANNELS, LATENT, FakeRunner, request, rollout


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


def test_what_stays_the_same_through_a_chunk_is_frozen() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    loop.chunk(loop.open(1), request("", "", steps=(2, 1, 1)))
    first, *others = runner.inputs_of("denoiser")
    staying = {name for name, array in first.items() if all(other[name] is array for other in others)}
    assert staying == set(first) - {"hidden_states", "timestep"}
    assert all(is_frozen(first[name]) for name in staying)
    assert not is_frozen(first["hidden_states"])


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
    together = loop.begin_batch(asked)
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
    together = loop.begin_batch(asked)
    sizes = [len(inputs["hidden_states"]) for inputs in runner.inputs_of("denoiser")]
    assert sizes == [2, 2, 2] + [2] * 6 + [1, 1, 1] + [1, 1]
    for (state, wanted), found in zip(asked, together, strict=True):
        np.testing.assert_allclose(found.latents, loop.chunk(state, wanted)[0].latents, atol=1e-6)


def test_a_denoiser_for_one_video_gets_one_after_another() -> None:
    runner = FakeRunner()
    loop = rollout(runner)
    assert not loop.denoises_batches
    loop.begin_batch([(loop.open(seed), request("", "")) for seed in (1, 2)])
    assert [len(inputs["hidden_states"]) for inputs in runner.inputs_of("denoiser")] == [1] * 6
