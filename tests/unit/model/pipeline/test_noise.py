from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.pipeline.noise import ChunkNoise, NoisePlace, block_cholesky, block_correlated, halved, philox_normal
from model.pipeline.video_pipeline import VideoPipeline
from model.runners.base import Arrays
from tests.fake_runner import LATENT, FakeRunner, request, spec

GOLDEN = [0.3743167221546173, -0.6833474636077881, -1.6262651681900024, -0.17067545652389526]


def test_the_same_place_has_the_same_noise_and_another_place_another() -> None:
    place = {"seed": 7, "chunk": 3, "stage": 1}
    first = philox_normal(**place, shape=(4, 8))
    np.testing.assert_array_equal(first, philox_normal(**place, shape=(4, 8)))
    for name in place:
        other = philox_normal(**{**place, name: place[name] + 1}, shape=(4, 8))
        assert np.abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.6
        assert not np.any(first == other)


def test_the_stream_is_the_one_that_recorded_sessions_were_made_with() -> None:
    drawn = philox_normal(seed=1, chunk=2, stage=0, shape=(4,))
    np.testing.assert_allclose(drawn, GOLDEN, rtol=1e-6)


def test_large_seeds_are_told_apart() -> None:
    last, before = (philox_normal(seed=2**64 - n, chunk=0, stage=0, shape=(3,)) for n in (1, 2))
    assert not np.any(last == before)


def test_a_level_down_is_twice_the_mean_of_four_and_keeps_the_variance() -> None:
    noise = np.array([[1.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, -4.0]], dtype=np.float32)
    np.testing.assert_array_equal(halved(noise), [[5.0, -2.0]])
    drawn = philox_normal(seed=0, chunk=0, stage=0, shape=(1, 16, 3, 48, 80))
    assert halved(drawn).std() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("gamma", [1 / 3, 0.2])
def test_block_noise_has_the_covariance_of_the_paper(gamma: float) -> None:
    noise = block_correlated(philox_normal(seed=5, chunk=0, stage=1, shape=(1, 8, 2, 50, 50, 4)), gamma, (2, 2))
    assert noise.shape == (1, 8, 2, 100, 100)
    patches = noise.reshape(8 * 2, 50, 2, 50, 2).transpose(0, 1, 3, 2, 4).reshape(-1, 4)
    np.testing.assert_allclose(np.cov(patches.T), np.eye(4) * (1 + gamma) - gamma, atol=0.03)
    neighbours = noise[..., 1:-1:2] * noise[..., 2::2]
    assert abs(neighbours.mean()) < 0.02  # nothing is shared across patches


def test_the_factor_gives_the_covariance_back() -> None:
    factor = block_cholesky(1 / 3, 4).astype(np.float64)
    np.testing.assert_allclose(factor @ factor.T, np.eye(4) * (4 / 3) - 1 / 3, atol=1e-6)
    assert np.allclose(factor, np.tril(factor))


class Recorder:
    """Draws and what a device does, in the order in which they happen."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def draw(self, *, seed: int, chunk: int, stage: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        self.events.append(f"draw {chunk}.{stage}")
        return philox_normal(seed=seed, chunk=chunk, stage=stage, shape=shape)


class Beside(FakeRunner):
    """Tells when a denoiser's run is begun and when it is waited for."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def start(self, graph: str, inputs: Arrays) -> Any:
        outputs = self.run(graph, inputs)
        tell = self.recorder.events.append if graph == "denoiser" else lambda _: None
        tell("begin")

        class Started:
            def ready(self) -> bool:
                return True

            def result(self) -> dict[str, NDArray[np.generic]]:
                tell("wait")
                return outputs

        return Started()


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_places_noise_has_its_stages_size_and_is_the_same_however_it_is_drawn(stage: int) -> None:
    place = NoisePlace(seed=5, chunk=3, stage=stage, frames=2)
    reduction = 2 ** (2 - stage)
    noise, ahead = (ChunkNoise(spec(), philox_normal) for _ in range(2))
    ahead.draw_ahead([place, replace(place, chunk=4)])
    wanted = noise.at(place)
    assert wanted.shape == (1, 16, 2, LATENT[0] // reduction, LATENT[1] // reduction)
    assert wanted.dtype == np.float32
    np.testing.assert_array_equal(ahead.at(place), wanted)
    np.testing.assert_array_equal(ahead.at(place), wanted)  # drawn anew: it was handed out
    assert not np.array_equal(ahead.at(replace(place, chunk=4)), wanted)


def test_what_is_drawn_ahead_is_drawn_once_and_what_nobody_asks_for_is_dropped() -> None:
    recorder = Recorder()
    noise = ChunkNoise(spec(), recorder.draw)
    place = NoisePlace(seed=1, chunk=0, stage=1, frames=1)
    noise.draw_ahead([place, place])
    noise.draw_ahead([place])
    noise.at(place)
    assert recorder.events == ["draw 0.1"]
    noise.draw_ahead(replace(place, chunk=chunk) for chunk in range(40))
    recorder.events.clear()
    noise.at(replace(place, chunk=39))
    noise.at(replace(place, chunk=0))
    assert recorder.events == ["draw 0.1"]  # the oldest is gone, the newest is there


def test_a_device_is_given_its_work_before_the_next_noise_is_drawn() -> None:
    recorder = Recorder()
    ticks = itertools.count()
    loop = VideoPipeline(spec(), Beside(recorder), clock=lambda: next(ticks) / 1e3, draw=recorder.draw)
    _, state = loop.chunk(loop.open(1), request("", "", steps=(1, 2, 1)))
    assert recorder.events == [
        "draw 0.0", "begin", "draw 0.1", "wait", "begin", "draw 0.2", "wait", "begin", "wait",
        "begin", "draw 1.0", "wait",
    ]  # fmt: skip
    recorder.events.clear()
    loop.chunk(state, request("", "", steps=(1, 1, 0)))
    assert recorder.events == ["begin", "draw 1.1", "wait", "begin", "draw 2.0", "wait"]
    recorder.events.clear()
    given = np.zeros((1, 16, 2, LATENT[0] // 4, LATENT[1] // 4), np.float32)
    loop.chunk(state, replace(request("", ""), first_stage=given))
    assert recorder.events == ["draw 1.1", "begin", "draw 1.2", "wait", "begin", "draw 2.1", "wait"]


def test_a_runner_that_cannot_overlap_draws_when_noise_is_needed() -> None:
    recorder = Recorder()
    loop = VideoPipeline(spec(), FakeRunner(), clock=lambda: 0.0, draw=recorder.draw)
    loop.chunk(loop.open(1), request("", steps=(1, 1, 0)))
    assert recorder.events == ["draw 0.0", "draw 0.1"]


def test_drawing_ahead_changes_no_bit() -> None:
    results = []
    for runner in (FakeRunner(), Beside(Recorder())):
        loop = VideoPipeline(spec(), runner, clock=lambda: 0.0)
        first, state = loop.chunk(loop.open(9), request("", ""))
        second, _ = loop.chunk(replace(state, seed=10), request(""))  # neither the seed nor the length foreseen
        results.append((first.latents, second.latents))
    for plain, beside in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, beside)
