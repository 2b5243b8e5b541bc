from __future__ import annotations

import numpy as np
import pytest

from model.pipeline.noise import block_cholesky, block_correlated, halved, philox_normal

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
