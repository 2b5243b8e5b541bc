"""Figures of pictures against their references."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from model.demo.evaluation.figures import gradient_energy, psnr_db, sharpness, ssim

RNG = np.random.default_rng(0)
BLOBS = cv2.GaussianBlur(RNG.normal(0, 1, (48, 64, 3)), (0, 0), 2.0)
PICTURE = np.clip(127 + BLOBS / BLOBS.std() * 45, 20, 235).astype(np.uint8)


def disturbed(by: float) -> np.ndarray:
    noise = np.random.default_rng(1).normal(0, by, PICTURE.shape)
    return np.clip(PICTURE + noise, 0, 255).astype(np.uint8)


def test_equal_pictures_are_perfect():
    assert (psnr_db(PICTURE, PICTURE), ssim(PICTURE, PICTURE)) == (60.0, pytest.approx(1.0))
    assert sharpness(PICTURE, PICTURE) == 1.0


def test_psnr_of_a_known_error():
    off_by_five = np.clip(PICTURE.astype(int) + 5, 0, 255).astype(np.uint8)
    assert psnr_db(off_by_five, PICTURE) == pytest.approx(20 * np.log10(255 / 5), abs=0.01)
    assert psnr_db(np.zeros_like(PICTURE), np.full_like(PICTURE, 255)) == 0.0


def test_more_noise_is_less_alike():
    figures = [(psnr_db(disturbed(by), PICTURE), ssim(disturbed(by), PICTURE)) for by in (2, 8, 30)]
    assert figures == sorted(figures, reverse=True)
    assert figures[-1][1] < 0.6


def test_ssim_forgives_brightness_and_punishes_lost_structure():
    brighter = np.clip(PICTURE.astype(int) + 10, 0, 255).astype(np.uint8)
    flat = np.full_like(PICTURE, round(float(PICTURE.mean())))
    assert ssim(brighter, PICTURE) > 0.95
    assert ssim(flat, PICTURE) < 0.4


def test_ssim_of_one_window_is_the_formula():
    """The papers' formula, summed by hand over the one window that an 11 x 11 picture has."""
    x, y = RNG.integers(0, 256, (2, 11, 11, 1)).repeat(3, -1).astype(np.uint8)
    kernel = cv2.getGaussianKernel(11, 1.5)
    weights = kernel @ kernel.T
    a, b = x[..., 0].astype(float), y[..., 0].astype(float)
    mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
    var_a, var_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
    cov = (weights * (a - mean_a) * (b - mean_b)).sum()
    c1, c2 = 2.55**2, 7.65**2
    wanted = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    assert ssim(x, y) == pytest.approx(wanted, abs=1e-3)


def test_soft_pictures_have_less_gradient_and_noisy_ones_more():
    soft = cv2.GaussianBlur(PICTURE, (0, 0), 2.0)
    assert sharpness(soft, PICTURE) < 0.5 < 1.2 < sharpness(disturbed(20), PICTURE)
    stripes = np.zeros((4, 8, 3), np.uint8)
    stripes[:, ::2] = 100
    assert gradient_energy(stripes) == pytest.approx(100.0**2, rel=1e-4)
    assert sharpness(stripes, np.zeros_like(stripes)) == 1.0
